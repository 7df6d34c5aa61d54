"""Logs: for people or as JSON, of one kind only so many a minute, with nothing in them that acts."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from embedwatch import log_lines, logs
from embedwatch.errors import ConfigError
from embedwatch.log_rates import LineRates
from embedwatch.logs import JsonLines

#: What prints a password, a key, a text or an address with a secret at DEBUG, and one that nobody has thought of.
LIBRARIES = (
    "kafka", "kafka.protocol.parser", "kafka.net.connection", "kafka.producer.kafka", "aiokafka", "faust", "mode",
    "httpx", "httpcore", "httpcore.http11", "urllib3", "urllib3.connectionpool", "slack_sdk",
    "slack_sdk.web.base_client", "openai", "openai._base_client", "redis", "push_response", "aiohttp", "asyncio",
    "unheard_of.client",
)  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """As it was before, afterwards, and the levels of all the others."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    others = {name: logging.getLogger(name).level for name in (*logs.OURS, *LIBRARIES)}
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    for name, before in others.items():
        logging.getLogger(name).setLevel(before)


def lines_of(
    form: logging.Formatter, *records: logging.LogRecord, clock: Clock | None = None, most: int = 60
) -> list[str]:
    out = io.StringIO()
    handler = logs.BoundedHandler(out, LineRates(most), clock or Clock())
    handler.setFormatter(form)
    for record in records:
        handler.handle(record)
    handler.close()
    return out.getvalue().splitlines()


def record(text: str, *values: object, level: int = logging.WARNING, **about: object) -> logging.LogRecord:
    found = logging.LogRecord("agents", level, __file__, 1, text, values, None)
    found.__dict__.update(about)
    return found


def test_lines_of_one_kind_are_bounded_and_the_rest_is_told_by_its_number() -> None:
    rates = LineRates(most=2)
    assert [rates.may("a", now) for now in (0.0, 1.0, 2.0, 59.9)] == [True, True, False, False]
    assert rates.may("b", 2.0), "another kind"
    assert rates.over(59.0) == []
    assert rates.over(60.0) == [("a", 2)]
    assert rates.over(60.0) == []
    assert rates.may("a", 60.0)
    assert rates.rest() == []


def test_kinds_without_end_take_no_memory_without_end_and_what_was_left_out_is_told() -> None:
    rates = LineRates(most=1, max_kinds=10)
    told = []
    for number in range(1000):
        for _ in range(2):
            rates.may(number, 1.0)
        told += rates.over(1.0)
    assert told + rates.rest() == [(number, 1) for number in range(1000)]


def test_a_clock_that_goes_back_holds_nothing_back() -> None:
    rates = LineRates(most=1)
    assert rates.may("a", 1000.0)
    assert rates.may("a", 10.0)


def test_a_flood_of_one_line_is_some_lines_and_how_many_more_there_were() -> None:
    clock = Clock()
    flood = [record("an event that does not decode, offset %d", offset) for offset in range(1000)]
    told = lines_of(logs.OneLine(), *flood, record("other"), clock=clock)
    assert len(told) == 62
    assert told[-1].endswith("and 940 more of this kind, within a minute: an event that does not decode, offset %d")
    assert len(lines_of(logs.OneLine(), *[record("x", level=logging.DEBUG)] * 200)) == 200


def test_what_others_wrote_begins_no_line_of_its_own_and_moves_no_cursor() -> None:
    (line,) = lines_of(logs.OneLine(), record("worker %s", "w\n2027-01-01 ERROR agents: all is lost\x1b[2J"))
    assert line.endswith(r"worker w\n2027-01-01 ERROR agents: all is lost\x1b[2J")


def test_as_json_each_record_is_one_object_with_what_it_is_about() -> None:
    try:
        int("no")
    except ValueError as error:
        failed = record("it failed: %s", "é\n", partition=3, offset=17, event_id="w:7", reason=None, token="xoxb-1")
        failed.exc_info = (ValueError, error, error.__traceback__)
    (line,) = lines_of(logs.JsonLines(), failed)
    data = json.loads(line)
    assert data.pop("error").endswith("with base 10: 'no'")
    assert data.pop("time").endswith("+00:00")
    assert data == {
        "level": "WARNING", "logger": "agents", "message": "it failed: é\n", "partition": 3, "offset": 17,
        "event_id": "w:7",
    }  # fmt: skip


def test_the_form_is_a_variable(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_LOG_FORMAT", "JSON")
    logs.configure()
    assert isinstance(root.handlers[0].formatter, logs.JsonLines)
    monkeypatch.setenv("EMBEDWATCH_LOG_FORMAT", "xml")
    with pytest.raises(ConfigError, match="LOG_FORMAT='xml': known forms are text, json"):
        logs.configure()


@pytest.mark.parametrize("level", logs.LEVELS)
def test_only_our_own_loggers_go_down_to_debug(root: logging.Logger, level: str) -> None:
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logs.configure(level)
    wanted = logging.getLevelName(level)
    for name in ("agents.lag", "alerting.sending", "embedwatch.kafka", "stream_agents.app", "workers.service"):
        assert logging.getLogger(name).getEffectiveLevel() == wanted
    for name in LIBRARIES:
        assert logging.getLogger(name).getEffectiveLevel() >= max(wanted, logging.INFO), name
    attempts = logging.getLogger("kafka.net.connection")
    assert attempts.isEnabledFor(logging.ERROR) == (level == "DEBUG"), "ours say what came of it"


NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


def test_a_line_that_is_json_stays_and_is_told_whose_it_is() -> None:
    line = JsonLines().format(record("%d texts", 3, event_id="e"))
    assert json.loads(log_lines.as_json(line, NOW, process="worker-1")) == {**json.loads(line), "process": "worker-1"}


@pytest.mark.parametrize("text", ["stopped", "{", "{}", '{"a": 1}', "[1]", "{" * 100_000, "\x1b[2J\ud800"])
def test_any_other_line_is_the_message_of_one(text: str) -> None:
    told = json.loads(log_lines.as_json(f"embedwatch: {text}", NOW, "ERROR"))
    assert told == {
        "time": "2027-01-15T12:00:00.000+00:00", "level": "ERROR", "logger": "embedwatch", "message": text,
    }  # fmt: skip
    assert "\n" not in log_lines.as_json(text, NOW)


def test_what_is_written_in_pieces_is_one_object_a_line() -> None:
    out = io.StringIO()
    with log_lines.JsonStderr(out) as stream:
        for piece in ("embedwatch: one", " line\nand", " another\n\n", '{"message": "m"}\n', "a rest"):
            assert stream.write(piece) == len(piece)
        assert not stream.isatty()
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == [
        "one line", "and another", "m", "a rest",
    ]  # fmt: skip


def test_a_line_that_never_ends_takes_no_memory_without_end() -> None:
    out = io.StringIO()
    stream = log_lines.JsonStderr(out)
    for _ in range(30):
        stream.write("x" * 10_000)
    assert len(json.loads(out.getvalue().splitlines()[0])["message"]) == log_lines.MAX_LINE_CHARS


@pytest.mark.parametrize(
    "arguments",
    [["worker", "--kafka-partitions", "0"], ["nothing"], ["worker", "--what"], ["rules", "check", "/nowhere"],
     ["produce", "/nowhere.txt", "--bootstrap-servers", "127.0.0.1:1"]],
)  # fmt: skip
def test_what_a_command_complains_of_is_json_too(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "embedwatch", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "EMBEDWATCH_LOG_FORMAT": "json"},
    )  # fmt: skip
    assert done.returncode
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines][-1] == "ERROR", done.stderr


def test_a_record_of_the_log_does_not_mix_with_half_a_line_of_somebody_else(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setenv("EMBEDWATCH_LOG_FORMAT", "json")
    monkeypatch.setattr(sys, "stderr", log_lines.JsonStderr(out))
    logs.configure()
    sys.stderr.write("embedwatch: half ")
    logging.getLogger("x").warning("a record", extra={"event_id": "e"})
    sys.stderr.write("a line\n")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["message"], first["logger"], first["event_id"]) == ("a record", "x", "e")
    assert second["message"] == "half a line"


def test_a_stage_keeps_the_broker_s_client_quiet_but_where_its_attempts_were_asked_for(root: logging.Logger) -> None:
    logs.keep_kafka_quiet()
    assert logging.getLogger("kafka").level == logging.CRITICAL
    logs.configure("DEBUG")
    logs.keep_kafka_quiet()
    assert logging.getLogger("kafka").level == logging.INFO
