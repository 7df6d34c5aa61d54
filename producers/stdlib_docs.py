"""The docstrings of the running interpreter's standard library: thousands of real texts, with natural repeats.

Sources are parsed, never imported: nothing runs, and the order is the same every time. Test suites are left out, as
many systems do not ship them.
"""

from __future__ import annotations

import ast
import inspect
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from embedwatch.errors import InputError
from producers.fields import Records
from producers.text import Input, Item, ReadOptions, Tally

SOURCE = "stdlib-docs"
MIN_CHARS = 20
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def library_folder() -> Path:
    """Where the standard library's sources are. Raises `InputError` where there are none."""
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "os.py").is_file():
        raise InputError(
            f"--stdlib-docs: no sources of the standard library in {folder}; give files of your own instead"
        )
    return folder


def read_stdlib_docs(folder: Path, spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """Docstrings of modules, classes and functions, cleaned, of `MIN_CHARS` or more; ids are module file and line."""
    for path in _modules(folder):
        try:
            docs = docstrings(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            tally.skipped_modules += 1  # templates and examples in older syntax: no texts, and none of the user's
            continue
        module = path.relative_to(folder).as_posix()
        here = Input("stdlib", str(path), str(path), f"{spec.name}/{module}", spec.source, "txt")
        records = Records(here, options)
        for line, text in docs:
            yield records.item(line, text)


def docstrings(source: bytes) -> list[tuple[int, str]]:
    """(line of the docstring, cleaned text) in the order of the source. Raises `SyntaxError` or `ValueError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's sources are not our news
        tree = ast.parse(source)
    found: list[tuple[int, str]] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _Documented) and (doc := _docstring(node)) is not None:
            text = inspect.cleandoc(doc[1])
            if len(text) >= MIN_CHARS:
                found.append((doc[0], text))
        todo.extend(reversed(list(ast.iter_child_nodes(node))))
    return found


def _docstring(node: _Documented) -> tuple[int, str] | None:
    if node.body and isinstance(first := node.body[0], ast.Expr):
        value = first.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.lineno, value.value
    return None


def _modules(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(where, name)
