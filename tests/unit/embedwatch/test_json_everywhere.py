"""Every command that prints has `--json`, and every parameter a variable; the page of commands has them all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from embedwatch.cli import build

#: They run until they are stopped and print nothing but their log, on standard error.
SERVICES = {("worker",), ("agents",), ("alerts",)}
#: Asked of the command itself, before there is one.
EAGER = {"--help", "--version", "--install-completion", "--show-completion"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Any:
    below = getattr(command, "commands", {})
    if path and (not below or command.invoke_without_command):
        yield path, command
    for name, child in below.items():
        yield from leaves(child, (*path, name))


PAGE = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"
FOUND = list(leaves(typer.main.get_command(build())))
each_command = pytest.mark.parametrize(("path", "command"), FOUND, ids=[" ".join(path) for path, _ in FOUND])


@each_command
def test_a_command_that_prints_results_has_them_for_programs(path: tuple[str, ...], command: Any) -> None:
    has = any("--json" in parameter.opts for parameter in command.params)
    assert has != (path in SERVICES), "give it --json, or say in SERVICES that it prints only a log"


@each_command
def test_every_option_and_argument_has_a_variable(path: tuple[str, ...], command: Any) -> None:
    for parameter in command.params:
        if EAGER.isdisjoint(parameter.opts):
            assert parameter.envvar or "env: EMBEDWATCH_" in (parameter.help or ""), parameter.name


@each_command
def test_the_page_has_every_command_option_and_variable(path: tuple[str, ...], command: Any) -> None:
    text = PAGE.read_text(encoding="utf-8")
    part = text.partition(f"\n## embedwatch {' '.join(path)}\n")[2].partition("\n## ")[0]
    assert part
    for parameter in command.params:
        if EAGER.isdisjoint(parameter.opts) and parameter.param_type_name == "option":
            for flag in (*parameter.opts, *parameter.secondary_opts):
                assert f"`{flag}`" in part
            variable = re.search(r"env: (EMBEDWATCH_\w+)", parameter.help or "")
            assert f"`{variable[1] if variable else parameter.envvar}`" in part


def test_a_list_of_topics_for_programs(run: Any) -> None:
    code, out, err = run("topics", "list", "--topic-prefix", "p", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["p.texts"]["partitions"] == 4
    assert rows["p.alerts"] | {"cleanup_policy": "compact", "retention_ms": None, "partitions": 1} == rows["p.alerts"]


def test_json_may_be_asked_for_all_commands_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_JSON", "1")
    code, out, _ = run("topics", "list")
    assert code == 0
    assert isinstance(json.loads(out), list)


def test_raw_bytes_are_no_json(run: Any) -> None:
    code, out, err = run("dlq", "show", "0:1", "--raw", "--json")
    assert (code, out) == (2, "")
    assert "--raw and --json" in err
