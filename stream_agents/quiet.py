"""Repeated complaints of the client libraries, once in a while instead of forty times a second."""

from __future__ import annotations

import logging
from asyncio import CancelledError

from embedwatch.clock import Clock

#: A broker that is away is complained about by every connection at each try.
EVERY_SECONDS = 10.0
LIBRARIES = ("aiokafka", "kafka", "faust", "mode")


class OnceInAWhile(logging.Filter):
    """Lets a library's message (its template, not its values) through when it has been silent for a while."""

    def __init__(self, clock: Clock, every_seconds: float = EVERY_SECONDS) -> None:
        super().__init__()
        self.clock = clock
        self.every_seconds = every_seconds
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncio" and record.exc_info and isinstance(record.exc_info[1], CancelledError):
            return False  # Faust looks at the result of a send that our stop has given up, and that is told already
        if record.name.partition(".")[0] not in LIBRARIES or record.levelno >= logging.CRITICAL:
            return True
        key, now = (record.name, str(record.msg)[:100]), self.clock.monotonic()
        last = self._last.get(key)
        if last is not None and now - last < self.every_seconds:
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[key] = now
        return True


def calm_libraries(clock: Clock) -> None:
    """On every handler of the root logger: filters of a logger are not asked about its children's records."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(OnceInAWhile(clock))
