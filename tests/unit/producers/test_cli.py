"""The command without a broker: what is wrong is said before anything is sent, in one line, with an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedwatch.cli import main
from embedwatch.processes import free_port


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Produce = Callable[..., Outcome]


@pytest.fixture
def produce(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Produce]:
    """produce(*arguments) -> exit code, standard output and error of `embedwatch produce`, run in this process."""
    monkeypatch.setenv("EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("EMBEDWATCH_KAFKA_CONNECT_TIMEOUT_SECONDS", "0.5")

    handlers, level = logging.root.handlers[:], logging.root.level
    kafka_level = logging.getLogger("kafka").level

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["embedwatch", "produce", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    yield run
    logging.root.handlers[:] = handlers  # the command set up its own
    logging.root.setLevel(level)
    logging.getLogger("kafka").setLevel(kafka_level)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "nothing to send: name files or folders, - for standard input, or --stdlib-docs"),
        (["gone.txt"], 3, "gone.txt: No such file or directory"),
        (["good.txt", "--rate", "0"], 2, "option --rate: 0 is not above 0"),
        (["good.txt", "--rate", "nan"], 2, "option --rate: nan is not above 0"),
        (["good.txt", "--encoding", "klingon"], 2, "option --encoding: 'klingon' is not a text encoding"),
        (["good.txt", "--delimiter", ";;"], 2, "option --delimiter: one character is needed"),
        (["good.txt", "--model", ""], 2, "option --model: 1 to 256 printable characters are needed"),
        (["good.txt", "--tenant", "x" * 257], 2, "option --tenant: 1 to 256"),
        (["good.txt", "--source", "a\nb"], 2, "option --source: 1 to 256"),
        (["good.txt", "--whole-files", "--format", "csv"], 2, "option --whole-files is for text files"),
        (["good.txt", "--max-text-bytes", "0"], 2, "option --max-text-bytes: worker.max_text_bytes"),
        (["-", "--format", "parquet"], 3, "Parquet cannot be read from standard input"),
        (["good.txt"], 4, "is the broker running?"),
        (["--stdlib-docs", "--no-create-topics"], 4, "is the broker running?"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    produce: Produce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "good.txt").write_text("a text\n")
    monkeypatch.chdir(tmp_path)
    outcome = produce(*arguments)
    assert outcome.code == code
    assert says.lower() in outcome.err.lower()
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("embedwatch: ")
    assert outcome.out == ""


def test_an_environment_variable_stands_for_each_option(
    produce: Produce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDWATCH_PRODUCE_PATHS", str(tmp_path / "from the environment.txt"))
    outcome = produce()
    assert "from the environment.txt: No such file" in outcome.err
    monkeypatch.setenv("EMBEDWATCH_PRODUCE_RATE", "-3")
    outcome = produce()
    assert "option --rate: -3 is not above 0" in outcome.err


def test_help_names_every_option_and_its_variable(produce: Produce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    outcome = produce("--help")
    assert outcome.code == 0
    for option in ("field", "id-field", "rate", "skip", "on-too-large", "chunk-bytes", "max-wait-ms", "whole-files"):
        assert f"--{option}" in outcome.out
        assert f"EMBEDWATCH_PRODUCE_{option.replace('-', '_').upper()}" in outcome.out
