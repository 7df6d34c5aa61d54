"""Repeated complaints of the client libraries, once in a while instead of forty times a second."""

from __future__ import annotations

import logging
from asyncio import CancelledError

from embedwatch.clock import Clock

#: A broker that is away is complained about by every connection at each try.
EVERY_SECONDS = 10.0
LIBRARIES = ("aiokafka", "kafka", "faust", "mode")
#: Warnings of what belongs to every rebalance and harms nothing; what does is found, and told, by `Runtime.mend`. Faust
#: logs the second one under the module of our transport, with a value in its text.
PART_OF_A_REBALANCE = (
    "Heartbeat failed for group %s because it is rebalancing",
    "exception performing seek when flow not active IllegalStateError: No current assignment for partition",
)


class OnceInAWhile(logging.Filter):
    """Lets a library's message (its template, not its values) through when it has been silent for a while.

    What belongs to a rebalance is of level DEBUG, whoever says it.
    """

    def __init__(self, clock: Clock, every_seconds: float = EVERY_SECONDS) -> None:
        super().__init__()
        self.clock = clock
        self.every_seconds = every_seconds
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncio" and record.exc_info and isinstance(record.exc_info[1], CancelledError):
            return False  # Faust looks at the result of a send that our stop has given up, and that is told already
        if record.levelno == logging.WARNING and any(part in str(record.msg) for part in PART_OF_A_REBALANCE):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger("agents").isEnabledFor(logging.DEBUG)
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
