"""What `make chaos` says at its end, and the file that EMBEDWATCH_TEST_CHAOS_OUT names, which it writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.chaos.faults import Run, document, table

RUNS: list[Run] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not RUNS:
        return
    terminalreporter.section("chaos")
    for line in table(RUNS):
        terminalreporter.write_line(line)
    out = os.environ.get("EMBEDWATCH_TEST_CHAOS_OUT")
    if out:
        path = Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document(RUNS), indent=1) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"written to {path}")
