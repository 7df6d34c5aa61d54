"""CI divides the tests over two streams: between them they are all of `make test`."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_folder_of_tests_is_run_once(root: Path) -> None:
    there = {path.parent.relative_to(root).parts[1] for path in (root / "tests").glob("*/**/test_*.py")}
    run = (root / ".ci" / "run").read_text(encoding="utf-8")
    named = [name for line in re.findall(r'make test ARGS="([^"]*)"', run) for name in re.findall(r"tests/(\w+)", line)]
    assert sorted(named) == sorted(there)
