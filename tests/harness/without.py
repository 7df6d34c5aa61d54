"""A Python in which some packages are not installed: `python -m tests.harness.without a,b script.py|-m module ...`."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Blocked(MetaPathFinder):
    """Says of each of these what Python says of a package that is not there."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def run(packages: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python program without the packages: `-c text`, or `-m module` with arguments."""
    return subprocess.run(
        [sys.executable, "-m", "tests.harness.without", ",".join(packages), *arguments],
        capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocked(frozenset(sys.argv[1].split(","))))
    kind, what, *rest = sys.argv[2:]
    sys.argv = [what, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<test>", "exec"), {"__name__": "__main__"})  # noqa: S102
