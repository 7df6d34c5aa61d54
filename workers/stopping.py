"""SIGTERM and Ctrl-C for a worker: finish what is in flight within a deadline; a second signal ends it at once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import FrameType

from embedwatch import log_lines
from embedwatch.clock import Clock

#: `timeout` and some shells signal a process and then its whole group: one wish to stop, said twice.
SAME_WISH_SECONDS = 0.5


class StoppedEarly(BaseException):
    """Raised out of the main thread by a signal while nothing is in flight, such as during a model's load.

    A `BaseException`, so that no library's `except Exception` swallows it on the way.
    """


class Stop:
    """Whether the worker was asked to stop, and for how long it may still work."""

    def __init__(self, drain_seconds: float, clock: Clock) -> None:
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._event = threading.Event()
        self._deadline: float | None = None
        self._asked = 0.0
        #: Set once there is work that a signal must let finish.
        self.in_flight = False

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def out_of_time(self) -> bool:
        """Asked to stop, and the time to finish is over."""
        return self._deadline is not None and self._clock.monotonic() >= self._deadline

    def sleep(self, seconds: float) -> None:
        """Ends early when the worker is asked to stop."""
        self._event.wait(seconds)

    def request(self) -> None:
        self._asked = self._clock.monotonic()
        self._deadline = self._asked + self._drain_seconds
        self._event.set()

    def repeated(self) -> bool:
        """A signal that comes now belongs to the one before."""
        return self.requested and self._clock.monotonic() - self._asked < SAME_WISH_SECONDS

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.repeated():
            return
        if self.requested:
            _say("embedwatch: second signal: stopped at once; what was in flight will be done again\n")
            os._exit(128 + signum)
        self.request()
        if not self.in_flight:
            raise StoppedEarly
        _say(f"embedwatch: stopping within {self._drain_seconds:g} s; a second signal stops at once\n")

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, SIGINT, SIGTERM and SIGHUP ask for the stop."""
        names = ("SIGINT", "SIGTERM", "SIGHUP")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        previous = {number: signal.signal(number, self.on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def write_bounded(fd: int, data: bytes, wait_seconds: float = 0.0) -> None:
    """To a terminal, file or pipe that may have lost its reader, or one that has stopped reading: the rest is dropped.

    In pieces that a pipe takes whole when it is ready (POSIX, PIPE_BUF), so that no write waits longer.
    """
    rest = memoryview(data)
    with contextlib.suppress(OSError, ValueError):
        while rest and select.select([], [fd], [], wait_seconds)[1]:
            rest = rest[os.write(fd, rest[: select.PIPE_BUF]) :]


def _say(words: str) -> None:
    """Not by the log: a handler may run in the middle of a line that the log is writing.

    Whoever read standard error may be gone or have stopped reading, and that must not keep the worker from stopping.
    """
    if log_lines.wanted():
        words = log_lines.as_json(words.rstrip("\n"), datetime.now(UTC)) + "\n"
    write_bounded(2, words.encode())
