"""What a command says on standard error that is no record of a log, as JSON where logs are (`EMBEDWATCH_LOG_FORMAT`).

A collector of logs reads standard error line by line, and takes a line that is no JSON for a fault of the program.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

VARIABLE = "EMBEDWATCH_LOG_FORMAT"
#: A line that never ends is cut here.
MAX_LINE_CHARS = 100_000


def wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether lines are to be JSON."""
    return ((os.environ if environ is None else environ).get(VARIABLE) or "").lower() == "json"


def as_json(text: str, now: datetime, level: str = "INFO", **about: str) -> str:
    """One line, as `logs.JsonLines` writes them. One that is such a line stays, and is told what it is `about`."""
    line: dict[str, Any] | None = None
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        line = found if isinstance(found, dict) and "message" in found else None
    if line is None:
        line = fields(now, level, "embedwatch", text.removeprefix("embedwatch: "))
    return json.dumps({**line, **about})


def fields(now: datetime, level: str, logger: str, message: str) -> dict[str, Any]:
    """What every line has, of a log or not."""
    return {"time": now.isoformat(timespec="milliseconds"), "level": level, "logger": logger, "message": message}


class JsonStderr(io.TextIOBase):
    """In place of `sys.stderr`. It is no terminal: nothing draws on it. `stream` is the one that it writes to, for who
    writes whole lines of JSON: they need no second look, and no half of a line of somebody else gets before them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > MAX_LINE_CHARS:
            lines, self._begun = [*lines, self._begun], ""
        now = datetime.now(UTC)
        said = [as_json(line.rstrip("\r")[:MAX_LINE_CHARS], now) for line in lines if line.strip()]
        if said:
            self.stream.write("\n".join(said) + "\n")
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        if self._begun:
            self.write("\n")
        self.flush()
