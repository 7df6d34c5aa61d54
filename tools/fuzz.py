"""`make fuzz`: each target under atheris, one process after the other, and a table of what came of it.

What was learnt stays in `build/fuzz/corpus`; what broke a target is put into `build/fuzz/findings/TARGET`. Mend it, and
put the file into `tests/fuzz/cases/TARGET`, where CI looks at it ever after. Ends with 1 when anything was found.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "fuzz"
CASES = ROOT / "tests" / "fuzz" / "cases"
RESULTS = ROOT / "docs" / "explanation" / "data" / "fuzz.json"
#: One input may take so long, and a process so much memory: the inputs are some hundred bytes.
INPUT_SECONDS, MEMORY_MB, INPUT_BYTES = 20, 2048, 1024
#: To import everything with counters in it, on a slow machine.
START_SECONDS = 300


def names() -> list[str]:
    """Without importing them: that takes seconds."""
    text = (ROOT / "tests" / "fuzz" / "all.py").read_text(encoding="utf-8")
    return re.findall(r'^    "(\w+)": ', text, re.MULTILINE)


def run(name: str, seconds: int) -> dict[str, Any]:
    """One target for so long. `executions` None: the fuzzer ended without saying how many."""
    corpus, findings = BUILD / "corpus" / name, BUILD / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [
        sys.executable, "-m", "tests.fuzz.one", name, f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}", f"-max_len={INPUT_BYTES}", "-print_final_stats=1", "-len_control=0",
        f"-artifact_prefix={findings}/", str(corpus),
    ]  # fmt: skip
    if (CASES / name).is_dir():
        command.append(str(CASES / name))
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = BUILD / f"{name}.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT, check=False,
                timeout=seconds + START_SECONDS,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = -1
    text = log.read_text(encoding="utf-8", errors="replace")
    done = re.search(r"stat::number_of_executed_units: (\d+)", text)
    covered = re.findall(r" cov: (\d+) ft: (\d+) ", text)
    return {
        "target": name,
        "executions": int(done[1]) if done else None,
        "seconds": round(time.monotonic() - begun, 1),
        "branches": int(covered[-1][0]) if covered else None,
        "new_findings": len(set(findings.iterdir()) - before) or int(code != 0),
        "cases": len(list((CASES / name).iterdir())) if (CASES / name).is_dir() else 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--targets", default="", help="names with commas between them; without it, all")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    options = parser.parse_args()
    known = names()
    wanted = [name for name in re.split(r"[,\s]+", options.targets) if name] or known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"there is no target {', '.join(unknown)}; there are: {', '.join(known)}")
    rows = []
    print(f"{'target':<14} {'executions':>11} {'seconds':>8} {'branches':>9} {'new findings':>13} {'cases':>6}")
    for name in wanted:
        row = run(name, options.seconds)
        rows.append(row)
        shown = ("unknown" if row[key] is None else f"{row[key]:,}" for key in ("executions", "seconds", "branches"))
        executions, took, branches = shown
        print(f"{name:<14} {executions:>11} {took:>8} {branches:>9} {row['new_findings']:>13} {row['cases']:>6}")
        sys.stdout.flush()
    if options.write:
        write(rows)
    found = sum(row["new_findings"] for row in rows)
    if found:
        print(f"{found} findings: see {BUILD.relative_to(ROOT)}/findings and the logs beside it")
    return 1 if found else 0


def write(rows: list[dict[str, Any]]) -> None:
    """Those of other targets stay as they were."""
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["targets"] if RESULTS.exists() else []
    by_name = {row["target"]: row for row in [*old, *rows]}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "on": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "targets": [by_name[name] for name in names() if name in by_name],
    }
    RESULTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
