"""Make or check the lock files: one pinned, hashed list for each set of extras.

`make` needs uv (installed into a scratch environment on demand); `check` needs nothing and reads files only.
A lock is one for all platforms (markers), with hashes and without a single download address, so that it works
through any mirror.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# hatchling and editables are in every lock: the build of embedwatch itself is then locked too (no build isolation).
SETS: dict[str, list[str]] = {
    "worker": ["local"],
    "agents": ["agents", "alerts"],
    "all": ["all"],
    "dev": ["all", "dev"],
}
BUILD = ["hatchling>=1.27", "editables>=0.5"]
UV = "uv>=0.9,<1"


def source_digest() -> str:
    """Of the part of pyproject.toml that decides the locks."""
    text = (ROOT / "pyproject.toml").read_text()
    start = text.index("requires-python")
    return hashlib.sha256((text[start : text.index("[project.scripts]")] + repr((SETS, BUILD))).encode()).hexdigest()[
        :16
    ]


def header(name: str) -> str:
    return f"# {name}: made by `make lock` from pyproject.toml ({source_digest()}). Do not edit.\n"


def make() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = Path(scratch) / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", UV], check=True)
        build = Path(scratch) / "build.in"
        build.write_text("\n".join(BUILD) + "\n")
        dev = ROOT / "requirements" / "dev.txt"
        for name in [
            "dev",
            *(n for n in SETS if n != "dev"),
        ]:  # dev first: the others keep its versions where they can
            out = ROOT / "requirements" / f"{name}.txt"
            extras = [part for extra in SETS[name] for part in ("--extra", extra)]
            command = [
                str(python),
                "-m",
                "uv",
                "pip",
                "compile",
                "-q",
                "--universal",
                "-p",
                "3.11",
                "--generate-hashes",
            ]
            command += [
                "--no-emit-index-url",
                "--no-emit-find-links",
                "--no-header",
                "--no-annotate",
                *extras,
            ]
            if name in ("all", "dev") and name != "dev":
                command += ["-c", str(dev)]
            command += ["pyproject.toml", str(build), "-o", str(out)]
            subprocess.run(command, cwd=ROOT, check=True)
            out.write_text(header(name) + out.read_text())
            print(f"{out.relative_to(ROOT)}: {len(re.findall(r'^[a-z0-9]', out.read_text(), re.M))} packages")
    return check()


def check() -> int:
    trouble = []
    for name in SETS:
        path = ROOT / "requirements" / f"{name}.txt"
        text = path.read_text() if path.exists() else ""
        if not text.startswith(header(name)):
            trouble.append(f"{path.relative_to(ROOT)} is missing or older than pyproject.toml: run `make lock`")
        if "://" in text or "--index" in text or "--find-links" in text:
            trouble.append(f"{path.relative_to(ROOT)} holds a download address: run `make lock`")
        pinned = re.findall(r"^([a-z0-9][\w.\-\[\]]*)==[^\\\n]*(\\?)$", text, re.M)
        trouble += [f"{path.relative_to(ROOT)}: {pkg} has no hash" for pkg, more in pinned if more != "\\"]
    for line in trouble:
        print(f"locks: {line}", file=sys.stderr)
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit({"make": make, "check": check}[sys.argv[1]]())
