"""Tables lose no value, in a pipe and on any terminal; lists for programs are a JSON array, also without a row."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedwatch import replaying, tables

LONG = "latency_p95_ms|model=sentence-transformers/all-MiniLM-L6-v2,tenant=search-and-recommendations"
NOTE = "a note of several words that is longer than a line of a terminal has columns, as people write them"


def table() -> Table:
    found = Table("alert", "note", "empty")
    found.add_row(LONG, Text(NOTE), "")
    found.add_row("[bold]short[/]", "and so on", "")
    return found


def printed(columns: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()
    tables.show(table(), Console(file=out, width=columns, force_terminal=terminal, color_system=None))
    return out.getvalue().splitlines()


def test_in_a_pipe_each_row_is_a_line_whatever_the_width() -> None:
    rows = [line for line in printed(80, terminal=False) if LONG in line]
    assert len(rows) == 1
    assert NOTE in rows[0]


def test_on_a_terminal_that_is_too_narrow_for_the_longest_word_rows_are_blocks() -> None:
    lines = printed(60, terminal=True)
    assert lines == [f"alert  {LONG}", f"note   {NOTE}", "", "alert  short", "note   and so on"]


def test_on_a_terminal_words_are_whole() -> None:
    lines = printed(130, terminal=True)
    assert any(LONG in line for line in lines)
    assert max(map(len, lines)) <= 130
    words = " ".join(line.split("│")[2].strip() for line in lines if line.count("│") == 4)
    assert words.split() == [*NOTE.split(), "and", "so", "on"]


def test_dead_letters_for_programs_are_an_array_also_when_there_are_none(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "records", lambda settings, told: iter(()))
    code, out, err = run("dlq", "list", "--json")
    assert (code, json.loads(out), err) == (0, [], "")


def test_topics_are_told_whole_in_a_pipe(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("topics", "list")
    assert code == 0
    assert any(
        "embedwatch.days" in line and "hours and decisions kept for reports" in line for line in out.splitlines()
    )
