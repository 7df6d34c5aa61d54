"""Logging to standard error, one line a record; the level from `EMBEDWATCH_LOG_LEVEL` (default INFO).

`EMBEDWATCH_LOG_FORMAT=json` writes each record as a JSON object instead: `time`, `level`, `logger`, `message`, where
there was one `error`, and what the record is about (`ABOUT`), so that a failure can be found by its event, and an event
by its place on a topic. Lines of one kind come at most 60 a minute (`log_rates`), at DEBUG all of them.

DEBUG is for our own loggers. At that level libraries write what goes over the wire: kafka-python the password and each
record, httpcore the headers with the key. So theirs end at INFO, whatever is asked for, those not thought of here too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from embedwatch import log_lines
from embedwatch.errors import ConfigError
from embedwatch.log_rates import LineRates
from embedwatch.settings import PREFIX

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json")
#: What a record may be about, given to the logger as `extra`. Never a text, never a secret.
ABOUT = ("event_id", "topic", "partition", "offset", "alert_id", "reason")

#: The loggers that go down to DEBUG, with all below them. Nothing of theirs holds a secret or a text.
OURS = ("agents", "alerting", "console", "embedwatch", "producers", "stream_agents", "workers")


def configure(level: str | None = None) -> None:
    """Set up the root logger of a command. Raises `ConfigError` for an unknown level or form."""
    wanted = (level or os.environ.get(PREFIX + "LOG_LEVEL") or "INFO").upper()
    if wanted not in LEVELS:
        raise ConfigError(f"{PREFIX}LOG_LEVEL={wanted!r}: known levels are {', '.join(LEVELS)}")
    form = (os.environ.get(log_lines.VARIABLE) or "text").lower()
    if form not in FORMATS:
        raise ConfigError(f"{log_lines.VARIABLE}={form!r}: known forms are {', '.join(FORMATS)}")
    handler = BoundedHandler(sys.stderr.stream if isinstance(sys.stderr, log_lines.JsonStderr) else sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else OneLine())
    number = int(logging.getLevelName(wanted))
    logging.basicConfig(level=max(logging.INFO, number), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(number)
    quieten_kafka(wanted)
    for chatty in ("aiokafka", "faust", "mode", "httpx", "httpcore", "urllib3", "slack_sdk"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, number))


def quieten_kafka(level: str = "INFO") -> None:
    """kafka-python tells every attempt as an error of its own; what came of it is said once, in our words. Who asks for
    DEBUG sees its attempts, too, never its own DEBUG."""
    logging.getLogger("kafka").setLevel(logging.INFO if level == "DEBUG" else logging.CRITICAL)


def keep_kafka_quiet() -> None:
    """The same for a stage that may run without `configure`; where that was told DEBUG, its word stands."""
    if logging.getLogger("kafka").level != logging.INFO:
        quieten_kafka()


class OneLine(logging.Formatter):
    """For people. What others wrote and stands in a message moves no cursor and begins no line of its own; a stack
    trace has its lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _shown(record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """For programs: one object a line, ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = log_lines.fields(at, record.levelname, record.name, record.getMessage())
        line |= {name: value for name in ABOUT if (value := getattr(record, name, None)) is not None}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class BoundedHandler(logging.StreamHandler[Any]):
    """Writes records, of one kind only so many a minute, and says how many it left out: with the next record that
    comes after that minute, and at the end."""

    def __init__(
        self, stream: Any, rates: LineRates | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._rates, self._clock = rates or LineRates(), clock

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._tell(self._rates.over(now))
        kind = (record.name, record.levelno, str(record.msg)[:500])
        if record.levelno <= logging.DEBUG or self._rates.may(kind, now):
            super().emit(record)

    def close(self) -> None:
        self.acquire()
        try:
            self._tell(self._rates.rest())
        finally:
            self.release()
        super().close()

    def _tell(self, hidden: list[tuple[Any, int]]) -> None:
        for (name, level, text), count in hidden:
            left_out = "and %d more of this kind, within a minute: %s"
            super().emit(logging.LogRecord(name, level, "", 0, left_out, (count, text), None))


def _shown(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
