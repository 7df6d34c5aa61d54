"""The line for who waits is for a terminal alone; and nothing of ours calls anybody by itself."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from embedwatch.waiting_line import shows_progress, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: between a fixture and its test pytest puts its own stream there."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    there = Terminal()
    monkeypatch.setattr(sys, "stderr", there)
    return there


def test_on_a_terminal_the_line_is_there_and_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    assert shows_progress()
    with waiting("reading [a]") as tell:
        tell("reading [b]")
    assert "reading [" in screen.getvalue()


def test_above_two_seconds_there_is_a_bar_where_it_is_known_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, now = terminal(monkeypatch), [0.0]
    with waiting("replaying", clock=lambda: now[0]) as tell:
        for now[0], done_pct in ((1.0, 10.0), (1.9, 20.0), (2.5, None)):
            tell(done_pct=done_pct)
        assert "%" not in screen.getvalue(), "what is short, and what is not known, has none"
        now[0] = 2.6
        tell("replaying [b]", 42.0)
        assert "42%" in screen.getvalue()
        assert "━" in screen.getvalue()
    told = screen.getvalue()
    with waiting("again", as_json=True) as tell:
        tell(done_pct=50.0)
    assert screen.getvalue() == told


@pytest.mark.parametrize("why", ["json", "ci", "dumb", "pipe"])
def test_beside_json_in_ci_and_in_pipes_there_is_nothing(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    screen = terminal(monkeypatch)
    if why == "ci":
        monkeypatch.setenv("CI", "true")
    elif why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    elif why == "pipe":
        monkeypatch.setattr(screen, "isatty", lambda: False)
    assert not shows_progress(as_json=why == "json")
    with waiting("reading", as_json=why == "json") as tell:
        tell("more")
    assert screen.getvalue() == ""


BLOCKED = """
import socket, sys
def refuse(*args, **more):
    raise AssertionError(f"a connection: {args}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
import importlib, pkgutil
for name in ("embedwatch", "producers", "workers", "alerting"):
    package = importlib.import_module(name)
    for each in pkgutil.walk_packages(package.__path__, name + "."):
        if each.name.rpartition(".")[2] == "__main__" or each.name.startswith("embedwatch.sdk"):
            continue
        importlib.import_module(each.name)
sys.argv = ["embedwatch", "--help"]
from embedwatch.cli import main
main()
"""


def test_neither_an_import_nor_the_help_opens_a_connection() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Usage: embedwatch" in done.stdout
