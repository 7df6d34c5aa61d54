"""Exit codes: one table, to which errors, help and every option of every command are held."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from kafka import errors as kafka_errors

from embedwatch import cli, errors
from embedwatch.errors import EXIT_CODES, EmbedwatchError
from embedwatch.processes import free_port

#: What is wrong for an option for which `nonsense` would be right, or wrong for another reason.
WRONG = {
    "--timezone": "Mars/Olympus",
    "--scope": "model",
    "--window": "15s",
    "--precision": "float64",
    "--metrics-host": "no host",
    "--metrics-allowed-hosts": "a/b",
}
#: Options that take any text: names, and folders that are made or may be missing.
ANY = {
    "--model", "--tenant", "--source", "--fingerprint", "--id", "--revision", "--prompt-name", "--group", "--name",
    "--app-id", "--field", "--id-field", "--dir", "--out", "--slack-channel", "--logs", "--json", "--topic-prefix",
    "--web-host", "--input", "--by", "--note", "--topic",
}  # fmt: skip
#: Needed for a command to get as far as its options.
ARGUMENTS = {
    ("collect",): ["out.npy"], ("agents", "save"): ["state.gz"], ("agents", "restore"): ["state.gz"],
    ("produce",): ["texts.txt"], ("compare",): ["a", "b"], ("baseline", "save"): ["v1"],
    ("baseline", "diff"): ["v1"], ("dlq", "show"): ["0:17"], ("dlq", "replay"): ["--yes"],
    ("alerts", "show"): ["x"], ("alerts", "ack"): ["x"], ("alerts", "snooze"): ["x", "--for", "1h"],
    ("silence", "add"): ["--all", "--for", "1h"], ("silence", "end"): ["3f9a1c04"],
}  # fmt: skip
#: Arguments that are wrong in themselves, by command.
WRONG_ARGUMENTS = [
    (("collect",), ["out.csv"]),
    (("collect",), ["no/such/folder/out.npy"]),
    (("collect",), ["there.npy"]),
    (("baseline", "save"), ["a b"]),
    (("baseline", "save"), ["texts.txt/.json"]),
    (("dlq", "replay"), ["--yes", "17"]),
    (("produce",), ["texts.txt", "--skip", "-1"]),
    (("report",), ["--window-seconds", "7"]),
    (("report",), ["--window-seconds", "0"]),
    (("report",), ["--scope", "colour=red"]),
    (("report",), ["--scope", "model=a,model=b"]),
    (("report",), ["--day", "2026-13-01"]),
    (("report",), ["--week", "2026-W54"]),
    (("report",), ["--month", "2026-13"]),
    (("report",), ["--day", "today", "--month", "2026-11"]),
    (("report",), ["--month", "2026-11", "--by", "model,colour"]),
    (("report",), ["--month", "2026-11", "--by", "model,model"]),
    (("report",), ["--month", "2026-11", "--output", "no/such/folder/a.html"]),
    (("report",), ["--month", "2026-11", "--format", "csv", "--json"]),
    (("report",), ["--by", "model"]),
    (("worker",), ["--cache-url", "redis://cache:port/0"]),
    (("worker",), ["--cache-url", "redis://cache:6379/first"]),
    (("worker",), ["--api-base-url", "http://:8080/v1"]),
    (("worker",), ["--backend", "openai"]),
    (("agents",), ["-c", "no-such.yaml"]),
    (("lag",), ["--topic", "a b"]),
    (("lag",), ["--group", ""]),
    (("top",), ["--window-seconds", "15"]),
    (("top",), ["--by", " "]),
    (("top",), ["--by", "x" * 257]),
    (("top",), []),  # no terminal
]


@cache
def tree() -> Any:
    return typer.main.get_command(cli.build())


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    if not children or path in (("agents",), ("alerts",)):
        yield path, command
    for name, child in children.items():
        yield from leaves(child, (*path, name))


def options() -> Iterator[Any]:
    for path, command in leaves(tree()):
        for parameter in command.params:
            name = next((each for each in parameter.opts if each.startswith("--")), "")
            if name and not getattr(parameter, "is_flag", False) and name not in ANY:
                yield pytest.param(path, name, id=f"{' '.join(path)} {name}")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Any]:
    """run(*arguments) -> (exit code, standard error), where nobody answers and a few files lie.

    Of `check` what it prints: that is its answer.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("EMBEDWATCH_KAFKA_CONNECT_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("EMBEDWATCH_AGENTS_WEB_PORT", str(free_port()))
    monkeypatch.setattr(typer.main, "get_command", lambda _: tree())
    monkeypatch.setattr(cli, "build", lambda: None)
    (tmp_path / "texts.txt").write_text("a text\n")
    (tmp_path / "there.npy").write_text("")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["embedwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        if arguments[0] != "check":
            assert out == "", "nothing is done"
        return int(ended.value.code or 0), err or out

    yield call
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(("path", "option"), list(options()))
def test_a_wrong_value_of_any_option_is_code_two_and_told_before_anybody_is_asked(
    run: Any, path: tuple[str, ...], option: str
) -> None:
    """An option that takes any text is named in `ANY`."""
    code, err = run(*path, *ARGUMENTS.get(path, []), option, WRONG.get(option, "nonsense"))
    assert code == 2, err
    if path != ("check",):
        assert err.startswith("embedwatch: ")
    assert WRONG.get(option, "nonsense") in err or option in err


@pytest.mark.parametrize(("path", "arguments"), WRONG_ARGUMENTS)
def test_a_wrong_argument_is_code_two(run: Any, path: tuple[str, ...], arguments: list[str]) -> None:
    code, err = run(*path, *arguments)
    assert code == 2, err
    assert len(err.splitlines()) == 1


def test_an_address_of_a_cache_is_not_printed_when_it_is_wrong(run: Any) -> None:
    code, err = run("check", "--cache-url", "rediss://user:hidden@cache:port/0")
    assert code == 2
    assert "hidden" not in err
    assert "cache.url: is not an address such as redis://host:port/db" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report"], 4), (["baseline", "save", "v1"], 4), (["baseline", "diff", "v1"], 3), (["compare", "a", "b"], 3),
        (["dlq", "list", "--since", "1h"], 4), (["collect", "out.npy"], 4), (["produce", "none.txt"], 3),
        (["lag", "--follow"], 4), (["top", "--once"], 4), (["top", "--json"], 4),
    ],
)  # fmt: skip
def test_right_values_go_on_to_what_is_asked(run: Any, arguments: list[str], code: int) -> None:
    found, err = run(*arguments)
    assert found == code, err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (kafka_errors.KafkaConnectionError("[Errno 104] reset by peer"), 4, "embedwatch: Kafka did not answer: "),
        (RuntimeError("oops"), 70, "embedwatch: unexpected RuntimeError: oops. This is a bug"),
    ],
)
def test_a_broker_that_breaks_off_between_two_questions_is_no_bug_of_ours(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "build", broken)
    found, err = run("report")
    assert (found, err.startswith(words), len(err.splitlines())) == (code, True, 1), err


def test_every_error_has_its_code_in_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EmbedwatchError)]
    assert {kind.exit_code for kind in kinds} == {code for code in EXIT_CODES if 0 < code < 70}
    assert {0, 70, 130, 143} <= set(EXIT_CODES)


@pytest.mark.parametrize(
    ("path", "command"),
    list(leaves(tree())),
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_codes_in_a_commands_help_are_of_the_table_and_have_that_of_wrong_usage(
    path: tuple[str, ...], command: Any
) -> None:
    listed = re.search(r"Exit codes: (.*?)\.\s", f"{command.help or ''} \n".replace("\n", " "))
    if listed is None:
        assert "xit code" not in (command.help or ""), "write it as `Exit codes: 0 done, 2 wrong option, ...`"
        return
    codes = [int(code) for code in re.findall(r"(?:^|, | and )(\d+) ", listed[1])]
    assert set(codes) <= set(EXIT_CODES)
    assert {0, 2} <= set(codes)
