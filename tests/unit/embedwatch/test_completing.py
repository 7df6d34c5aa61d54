"""Completion as a shell asks for it: words and values, soon, and without a line of error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedwatch import completing
from embedwatch.processes import free_port
from embedwatch.scaling.traces import SHAPES
from tests.harness.agents_web import busy_runtime
from tests.harness.raw_http import raw_server, silence


def ask(instruction: str, *words: str, folder: Path | None = None, **environ: str) -> str:
    """What the shell is told after these words, of which the last is not complete."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
    line = " ".join(("embedwatch", *words))
    done = subprocess.run(
        [sys.executable, "-m", "embedwatch"], capture_output=True, timeout=60, text=True, cwd=folder,
        env={
            **ours, "_EMBEDWATCH_COMPLETE": instruction, "COMP_WORDS": line, "COMP_CWORD": str(len(words)),
            "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args", **environ,
        },
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o default"), ("zsh", "#compdef embedwatch"), ("fish", "complete --command")],
)
def test_each_shell_gets_its_script_and_its_words(shell: str, words: str) -> None:
    assert words in ask(f"source_{shell}")
    assert "report" in ask(f"complete_{shell}", "rep")
    assert "--window-seconds" in ask(f"complete_{shell}", "report", "--win")


def test_scopes_and_alerts_are_those_of_the_agents(serve: Any) -> None:
    url = serve(busy_runtime())
    found = ask("complete_bash", "report", "--agents-url", url, "--scope", "model=s").split()
    assert found == ["model=slow", "model=slow,tenant=acme"]
    port = url.rpartition(":")[2]
    ids = ask("complete_bash", "alerts", "ack", "lat", EMBEDWATCH_AGENTS_WEB_PORT=port).split()
    assert ids == ["latency_p95_ms|all"]


def test_without_agents_there_is_nothing_and_no_error(tmp_path: Path) -> None:
    nobody = {"EMBEDWATCH_AGENTS_WEB_PORT": str(free_port())}
    assert ask("complete_bash", "report", "--scope", "m", **nobody).strip() == ""
    wrong = {"EMBEDWATCH_CONFIG": str(tmp_path / "none.yaml")}
    assert ask("complete_bash", "alerts", "show", "l", **wrong).strip() == ""


def test_who_does_not_answer_is_not_waited_for() -> None:
    with raw_server(silence) as server:
        found = ask("complete_bash", "report", "--agents-url", server.url, "--scope", "m")
    assert found.strip() == ""
    assert completing.PATIENCE_SECONDS < 1


def test_baselines_are_those_of_the_folder(tmp_path: Path) -> None:
    for folder, name in (("baselines", "before.json"), ("ci", "main.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")
    assert ask("complete_bash", "compare", "b", folder=tmp_path).split() == ["before"]
    assert ask("complete_bash", "baseline", "diff", "--dir", "ci", "", folder=tmp_path).split() == ["main"]


def test_traces_are_those_that_there_are() -> None:
    assert completing.traces(None, "") == [*SHAPES, "all"]  # type: ignore[arg-type]
    assert ask("complete_bash", "simulate", "--trace", "bu").split() == ["burst"]


def test_words_of_a_report_are_completed() -> None:
    assert completing.months("") == ["this-month", "last-month"]
    assert (completing.weeks("l"), completing.days("y"), completing.formats("h")) == (
        ["last-week"],
        ["yesterday"],
        ["html"],
    )
    assert completing.groups("") == ["model", "tenant", "day"]
    assert completing.groups("model,") == ["model,tenant", "model,day"]
    assert completing.groups("model,t") == ["model,tenant"]
