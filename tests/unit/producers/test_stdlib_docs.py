from __future__ import annotations

import ast
import sysconfig
import warnings
from itertools import islice
from pathlib import Path

import pytest

from embedwatch.errors import InputError
from producers import stdlib_docs
from producers.inputs import find
from producers.sources import read_all
from producers.stdlib_docs import docstrings, read_stdlib_docs
from producers.text import Input, ReadOptions, SourceText, Tally

SOURCE = b'''"""The module's own words, long enough."""
X = """a string that documents nothing at all"""
class A:
    """A class that says
    something over two lines.
    """
    def short(self):
        """Too short."""
    async def inner(self):
        """An inner function that is documented."""
        def deeper():
            "Even deeper, and still found in order."
    def raises(self):
        raise SystemExit("never run")
if X:
    def after():
        """A function behind a condition, the last."""
'''


def test_docstrings_are_cleaned_and_in_the_order_of_the_source() -> None:
    assert docstrings(SOURCE) == [
        (1, "The module's own words, long enough."),
        (4, "A class that says\nsomething over two lines."),
        (10, "An inner function that is documented."),
        (12, "Even deeper, and still found in order."),
        (17, "A function behind a condition, the last."),
    ]


def test_strange_escapes_in_other_peoples_sources_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert docstrings(rb'"""Escapes \d like this one are long enough."""') != []


def test_modules_that_do_not_parse_are_counted_and_tests_left_out(tmp_path: Path) -> None:
    for name in ("os.py", "pkg/m.py", "pkg/test/t.py", "site-packages/s.py", "__pycache__/c.py", ".h/h.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b'"""A docstring of ' + name.encode() + b' for the test."""')
    (tmp_path / "old.py").write_bytes(b"print 'python 2'")
    (tmp_path / "nul.py").write_bytes(b"x = 1\0")
    tally = Tally()
    spec = Input("stdlib", str(tmp_path), "stdlib-docs", "docs", "docs", "txt")
    found = list(read_stdlib_docs(tmp_path, spec, ReadOptions(1000), tally))
    assert [item.id for item in found] == ["docs/os.py:1", "docs/pkg/m.py:1"]  # type: ignore[union-attr]
    assert tally.skipped_modules == 2


def test_the_running_interpreter_has_real_texts_that_are_the_same_every_time() -> None:
    def first(count: int) -> list[SourceText]:
        inputs = find([], None, encoding="utf-8", source=None, stdlib_docs=True).inputs
        items = list(islice(read_all(inputs, ReadOptions(1_000_000), Tally()), count))
        assert all(isinstance(item, SourceText) for item in items)
        return items  # type: ignore[return-value]

    found = first(400)
    assert len(found) == 400
    assert found == first(400)
    assert len({item.id for item in found}) == 400
    assert all(item.text is not None and len(item.text) >= 20 for item in found)
    # Each is where its id says, read by other means than ours.
    for item in found[::40]:
        module, _, line = item.id.removeprefix("stdlib-docs/").rpartition(":")
        tree = ast.parse(Path(sysconfig.get_path("stdlib"), module).read_bytes())
        docs = {
            node.body[0].lineno: ast.get_docstring(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if ast.get_docstring(node) is not None
        }
        assert docs[int(line)] == item.text


def test_an_interpreter_without_sources_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_docs.sysconfig, "get_path", lambda _: str(tmp_path / "python312.zip"))
    with pytest.raises(InputError, match=r"--stdlib-docs: no sources of the standard library in .*zip"):
        find([], None, encoding="utf-8", source=None, stdlib_docs=True)
