"""Make the virtual environment and say where the time goes. Standard library only: it runs before anything exists.

Idempotent: a stamp holds a digest of what was installed, so a second call returns at once. An interrupted
installation leaves no stamp and is taken up again; what pip has downloaded stays in pip's own cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 13)
HEARTBEAT_SECONDS = 20.0


def fail(message: str) -> int:
    print(f"embedwatch setup: {message}", file=sys.stderr)
    return 1


def say(message: str) -> None:
    print(f"embedwatch setup: {message}", flush=True)


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest(requirements: Path) -> str:
    """Of everything that decides what the environment holds."""
    parts = [
        requirements.read_bytes(),
        (ROOT / "pyproject.toml").read_bytes(),
        sys.version.encode(),
        str(ROOT).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def run_with_heartbeat(command: list[str], what: str) -> int:
    """Run a command with its own output shown, and a line now and then when it is silent for long."""
    done = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"still {what} ({time.monotonic() - started:.0f} s so far)")

    ticker = threading.Thread(target=beat, daemon=True)
    ticker.start()
    try:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    finally:
        done.set()
        ticker.join(timeout=1)


def pip(*arguments: str) -> list[str]:
    return [str(venv_python()), "-m", "pip", "--disable-pip-version-check", *arguments]


def make_venv() -> str | None:
    """Return what went wrong, or None."""
    if venv_python().exists() and subprocess.run(pip("--version"), capture_output=True, check=False).returncode == 0:
        return None
    say(f"making {VENV.name}/ with Python {sys.version.split()[0]}")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode == 0:
        return None
    hint = (made.stdout + made.stderr).strip().splitlines()
    return "this Python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv).\n  " + (
        hint[0] if hint else "no further word"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=Path, required=True, help="lock file with hashes")
    requirements = (ROOT / parser.parse_args().requirements).resolve()

    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return fail(
            f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]} ({sys.executable}).\n"
            "  Install one of those, or name it: make demo PYTHON=/path/to/python3.12"
        )
    stamp = VENV / f".embedwatch-{requirements.stem}"
    wanted = digest(requirements)
    if stamp.exists() and stamp.read_text() == wanted and venv_python().exists():
        return 0
    # dev holds all that the demo needs: no second look at the packages after `make test`.
    larger = VENV / ".embedwatch-dev"
    if requirements.stem == "all" and larger.exists() and larger.read_text() == digest(requirements.with_stem("dev")):
        return 0

    started = time.monotonic()
    if (trouble := make_venv()) is not None:
        return fail(trouble)
    if sys.platform == "linux":
        say(
            "installing the locked packages. torch for Linux x86-64 brings CUDA along: about 3 GB once, "
            "from pip's cache the next time."
        )
    else:
        say("installing the locked packages (torch is about 200 MB)")
    code = run_with_heartbeat(
        pip("install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(requirements)),
        "installing packages",
    )
    if code != 0:
        return fail(
            "pip could not install the packages; its own words are above. A broken download is taken up again by "
            "the same command."
        )
    say("adding embedwatch itself")
    code = run_with_heartbeat(
        pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)),
        "adding embedwatch",
    )
    if code != 0:
        return fail("embedwatch itself could not be installed; pip's own words are above.")
    stamp.write_text(wanted)
    say(f"ready after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nembedwatch setup: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
