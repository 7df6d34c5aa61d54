"""`embedwatch top` as a script calls it: one frame, the values, and what is told where nothing can be drawn."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import typer
import typer.main

from console import cli as console_cli
from embedwatch import cli

NAME = "top"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """run(*arguments) -> (exit code, standard output, standard error); the command alone, without the other stages."""
    root = typer.Typer(pretty_exceptions_enable=False)
    root.command(name=NAME)(console_cli.app)
    root.command(name="other")(lambda: None)
    monkeypatch.setattr(cli, "build", lambda: root)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedwatch", NAME, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


def test_one_frame_is_printed_as_wide_as_the_terminal_is_said_to_be(
    run: Any, busy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run("--agents-url", busy_url, "--once")
    assert (code, err) == (0, "")
    assert "STALLED" in out
    assert "$2.0025" in out
    assert "high lag" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "q quit" not in out, "keys are for those who can press them"
    code, plain, _ = run("--agents-url", busy_url, "--once", "--ascii", "--scope", "model=slow")
    assert code == 0
    assert "Scope model slow" in plain
    assert "─" not in plain


def test_the_values_are_printed_as_json(run: Any, busy_url: str) -> None:
    code, out, err = run("--agents-url", busy_url, "--json", "--window-seconds", "60")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["window_seconds"], found["queue"]["status"], found["alerts"][0]["episode"]) == (60, "STALLED", 2)


def test_a_scope_of_which_nothing_is_known_is_code_3(run: Any, busy_url: str) -> None:
    code, out, err = run("--agents-url", busy_url, "--once", "--scope", "model=slwo")
    assert (code, out) == (3, "")
    assert "did you mean model=slow?" in err


def test_without_a_terminal_it_says_what_to_do_instead(run: Any, busy_url: str) -> None:
    code, out, err = run("--agents-url", busy_url)
    assert (code, out) == (2, "")
    assert "`embedwatch top --once` prints one frame" in err


@pytest.mark.parametrize("term", ["", "dumb"])
def test_a_terminal_that_cannot_place_the_cursor_is_refused(
    run: Any, busy_url: str, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setattr(console_cli, "_is_terminal", lambda: True)
    monkeypatch.setenv("TERM", term)
    code, out, err = run("--agents-url", busy_url)
    assert (code, out) == (2, "")
    assert "cannot place the cursor" in err


def test_without_textual_it_says_which_extra_brings_it(
    run: Any, busy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_cli, "_is_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "textual", None)
    code, out, err = run("--agents-url", busy_url)
    assert (code, out) == (2, "")
    assert "pip install 'embedwatch[top]'" in err
    code, out, _ = run("--agents-url", busy_url, "--once")
    assert code == 0, "one frame needs no extra"


def test_no_agents_are_code_4(run: Any) -> None:
    code, out, err = run("--agents-url", "http://127.0.0.1:1", "--once")
    assert (code, out) == (4, "")
    assert "no stream agents at http://127.0.0.1:1" in err
