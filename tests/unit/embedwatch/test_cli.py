"""The command line as a whole: every option has a variable, every mistake is one line with an exit code."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from embedwatch.cli import build, main, refuse_unknown_variables, variables
from embedwatch.errors import ConfigError
from embedwatch.processes import free_port
from embedwatch.settings import COMMAND_PREFIXES, PREFIX, Settings, env_name

COMMANDS = {
    "demo", "up", "produce", "worker", "agents", "alerts", "report", "baseline", "compare", "check", "topics", "dlq",
    "collect", "silence", "lag", "simulate", "autoscale", "checklist", "top",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """run(*arguments) -> (exit code, standard output, standard error) of `embedwatch`, in this process."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*path, name))


def test_every_command_of_the_flow_is_there() -> None:
    assert set(typer.main.get_command(build()).commands) == COMMANDS  # type: ignore[attr-defined]


def test_every_option_has_an_environment_variable() -> None:
    without = [
        f"{' '.join(path)} {parameter.opts[0]}"
        for path, command in leaves(typer.main.get_command(build()))
        for parameter in command.params
        if not parameter.envvar
        and "env: EMBEDWATCH_" not in (getattr(parameter, "help", None) or "")
        and parameter.name not in ("help", "version", "install_completion", "show_completion")
    ]
    assert without == []


def test_every_command_shows_an_example() -> None:
    for path, command in leaves(typer.main.get_command(build())):
        if path and not hasattr(command, "commands") and path != ("topics", "list"):
            assert "embedwatch " in f"{command.help} {command.epilog}", path


@pytest.mark.parametrize("path", [(), *((name,) for name in sorted(COMMANDS)), ("topics", "create")])
def test_help_names_the_variables_and_succeeds(run: Any, path: tuple[str, ...]) -> None:
    code, out, err = run(*path, "--help")
    assert (code, err) == (0, "")
    assert "Usage: embedwatch" in out


@pytest.mark.parametrize("path", [("up",), ("worker",), ("dlq", "replay"), ("agents", "rebuild")])
def test_a_paragraph_of_the_help_is_folded_once(
    run: Any, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    """At the width of the terminal: a line that ends early is the last one of its paragraph."""
    monkeypatch.setenv("COLUMNS", "80")
    text = run(*path, "--help")[1].partition("╭")[0]
    for paragraph in text.strip().split("\n" + " " * 80 + "\n")[1:]:
        lines = [line.strip() for line in paragraph.splitlines()]
        for line, after in itertools.pairwise(lines):
            if line and after:
                assert len(line) + 1 + len(after.split()[0]) > 76, (line, after)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], ["nosuch", "embedwatch --help"]),
        (["demo", "--txets", "5"], ["--txets", "--texts", "embedwatch demo --help"]),
        (["demo", "--texts", "0"], ["--texts", "embedwatch demo --help"]),
        (["demo", "--texts", "many"], ["--texts", "integer"]),
        (["demo", "--field", "x"], ["--input"]),
        (["demo", "--json", "/no/such/folder/out.json"], ["/no/such/folder"]),
        (["up", "--workers", "0"], ["--workers"]),
        (["worker", "extra"], ["extra", "embedwatch worker --help"]),
        (["autoscale", "--min", "3", "--max", "2"], ["--min 3", "--max 2"]),
        (["autoscale", "--min", "3", "--max", "9", "--slots", "2"], ["--min 3", "slots", "2"]),
        (["autoscale", "--interval", "0"], ["--interval", "100ms"]),
        (["autoscale", "--interval", "soon"], ["--interval", "30s, 5m or 1h"]),
        (["autoscale", "--processes", "2"], ["--processes", "embedwatch autoscale --help"]),
        (["autoscale", "--backend", "openai"], ["--api-base-url"]),
        (["report", "-c", "/no/such/file.yaml"], ["/no/such/file.yaml"]),
        (["compare", "a.json"], ["'b'", "embedwatch compare --help"]),
        (["compare", "a", "b", "--max-regression-pct", "-1"], ["--max-regression-pct", "-1"]),
        (["baseline", "save", "x", "--window", "15s"], ["--window", "10 s", "'15s'"]),
        (["baseline", "save", "x", "--window", "soon"], ["--window", "30s, 5m or 1h"]),
        (["check", "-r", "/no/such/rules.yaml", "--show-settings", "--partitions", "2"], ["--partitions"]),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_two(run: Any, arguments: list[str], words: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("embedwatch: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("name", "field"),
    [("PROCESSES", "processes"), ("MAX_TEXTS", "max_texts"), ("IDLE_EXIT_SECONDS", "idle_exit_seconds")],
)
def test_who_lets_the_agents_decide_says_nowhere_else_how_many(
    run: Any, monkeypatch: pytest.MonkeyPatch, name: str, field: str
) -> None:
    monkeypatch.setenv(f"EMBEDWATCH_WORKER_{name}", "2")
    code, _, err = run("autoscale")
    assert code == 2
    assert f"worker.{field} is set" in err


def test_autoscale_takes_every_other_option_of_a_worker() -> None:
    commands = typer.main.get_command(build()).commands  # type: ignore[attr-defined]
    ours, theirs = ({each.name for each in commands[name].params} for name in ("autoscale", "worker"))
    assert theirs - ours == {"processes", "max_texts", "idle_exit_seconds"}
    assert ours - theirs == {"agents_url", "least", "most", "slots", "interval", "dry_run", "as_json"}


def test_a_typo_in_a_variable_is_told_with_what_was_meant(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_WORKER_MODLE", "x")
    code, _, err = run("check")
    assert code == 2
    assert "EMBEDWATCH_WORKER_MODLE" in err
    assert "did you mean EMBEDWATCH_WORKER_MODEL?" in err


def test_the_list_of_settings_is_shown_also_to_who_mistyped_one(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_WORKER_MODLE", "x")
    code, out, err = run("check", "--show-settings")
    assert code == 2
    assert "EMBEDWATCH_WORKER_MODEL=all-MiniLM-L6-v2" in out
    assert "EMBEDWATCH_WORKER_MODLE" in err


def test_secrets_are_not_listed(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN", "xoxb-very-secret")
    monkeypatch.setenv("EMBEDWATCH_CACHE_URL", "redis://user:hidden@cache:6379/0")
    for arguments in (["--show-settings"], ["--show-settings", "--json"]):
        code, out, _ = run("check", *arguments)
        assert code == 0
        assert "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN" in out
        assert "secret" not in out
        assert "hidden" not in out


def test_a_report_without_agents_says_how_to_start_them(run: Any) -> None:
    code, out, err = run("report", "--agents-url", f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (4, "")
    assert "embedwatch agents" in err


def test_a_missing_package_is_told_with_the_extra_that_brings_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("workers.service.run", fail)
    code, _, err = run("worker")
    assert code == 2
    assert "embedwatch[local]" in err


def test_a_bug_is_told_in_one_line_and_asks_for_the_trace(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("workers.service.run", fail)
    code, _, err = run("worker")
    assert code == 70
    assert "RuntimeError: boom" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_mistyped_variable_of_a_commands_own_option_is_said() -> None:
    command = typer.main.get_command(build())
    right = {
        "EMBEDWATCH_PRODUCE_RATE": "5", "EMBEDWATCH_DLQ_CLASS": "x", "EMBEDWATCH_ALERTS_TEST_SEVERITY": "x",
        "EMBEDWATCH_TEST_REQUIRE": "kafka", "HOME": "/",
    }  # fmt: skip
    right = {name: value for name, value in right.items() if name in variables(command) or "TEST_R" in name}
    assert len(right) >= 3
    refuse_unknown_variables(command, right)
    with pytest.raises(ConfigError, match="PRODUCE_RAET is not known; did you mean EMBEDWATCH_PRODUCE_RATE"):
        refuse_unknown_variables(command, right | {"EMBEDWATCH_PRODUCE_RAET": "5"})


def test_the_variables_of_every_option_are_known_by_their_prefix() -> None:
    """Else one of them would be called unknown where settings are read."""
    sections: dict[str, Any] = {name: info.annotation for name, info in Settings.model_fields.items()}
    settings = {env_name(name, field) for name, section in sections.items() for field in section.model_fields}
    for name in variables(typer.main.get_command(build())):
        if not name.removeprefix(PREFIX).startswith(COMMAND_PREFIXES):
            assert name in settings
