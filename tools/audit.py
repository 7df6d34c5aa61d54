"""Ask the advisory database about every package of the lock files, by pip-audit, and say plainly where that was not
possible: a machine without network, or without pip-audit, has audited nothing.

Exit codes: 0 nothing known against them, 1 something is, 3 not audited.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 300
NOT_AUDITED = 3

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)


def audit(lock: Path, run: Run = ask) -> tuple[int, list[str]]:
    """(exit code, lines to print)."""
    if importlib.util.find_spec("pip_audit") is None:
        return NOT_AUDITED, ["not audited: pip-audit is not installed here (pip install pip-audit)"]
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    try:
        done = run([*command, "--format", "json", "--progress-spinner", "off"])
    except subprocess.TimeoutExpired:
        return NOT_AUDITED, [f"not audited: no answer within {TIMEOUT_SECONDS} s (no network?)"]
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_AUDITED, [f"not audited: {last[:300]}"]
    lines = [
        f"{each['name']} {each['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'no version yet'}"
        for each in packages
        for one in each.get("vulns", ())
    ]
    skipped = [f"not looked at: {each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]
    looked = len(packages) - len(skipped)
    if not looked:
        why = next((each["skip_reason"] for each in packages if "skip_reason" in each), "there are none")
        return NOT_AUDITED, [f"not audited: none of {len(packages)} packages could be looked up: {why}"]
    return (1 if lines else 0), [*lines, *skipped, f"{looked} packages looked at, {len(lines)} advisories"]


def main() -> int:
    code, lines = audit(ROOT / "requirements" / "all.txt")
    for line in lines:
        print(f"audit: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
