"""Stopping within a time limit: a broker that has gone away must not keep the process, nor whoever waits for it.

Faust ends one service after the other, and each may wait for the broker for a minute. Nothing is lost by not waiting:
what was counted and not written is read again from the committed offsets by the next start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import faust

from embedwatch.clock import Clock

log = logging.getLogger("agents")

#: Of a whole stop. With a broker one takes a second or two.
STOP_SECONDS = 15.0
#: As after `embedwatch: cannot connect`: it was the broker that did not answer.
TIMED_OUT = 4
TELL_SECONDS = 1.0
#: `timeout` and some shells signal a process and then its whole group: one wish to stop, said twice.
SAME_WISH_SECONDS = 0.5

Exit = Callable[[int], None]


class BoundedStop:
    """The first signal begins the stop and its time limit, the second ends the process at once.

    `unwritten` says how many records are counted and not written. `leave` ends the process whatever still runs in it.
    """

    def __init__(
        self,
        unwritten: Callable[[], int],
        clock: Clock,
        limit_seconds: float = STOP_SECONDS,
        leave: Exit = os._exit,
    ) -> None:
        self._unwritten, self._clock, self._limit_seconds, self._leave = unwritten, clock, limit_seconds, leave
        self._asked_monotonic = 0.0
        self.timer: threading.Timer | None = None

    def asked(self, number: int) -> bool:
        """A signal came. True: begin to stop."""
        if self.timer is not None:
            if self._clock.monotonic() - self._asked_monotonic < SAME_WISH_SECONDS:
                return False
            self._end(f"{signal.Signals(number).name} came a second time", 128 + number)
            return False
        self._asked_monotonic = self._clock.monotonic()
        self.timer = threading.Timer(self._limit_seconds, self._too_long)
        self.timer.daemon = True  # a stop that ends in time ends without it
        self.timer.start()
        return True

    def _too_long(self) -> None:
        self._end(f"not stopped within {self._limit_seconds:g} s, Kafka does not answer", TIMED_OUT)

    def _end(self, why: str, code: int) -> None:
        # In a thread: a pipe that nobody reads, as after Ctrl-C of `embedwatch agents 2>&1 | tee`, fails or blocks, and
        # the signal may have come in the middle of another line.
        words = threading.Thread(target=self._tell, args=(why,), daemon=True)
        words.start()
        words.join(TELL_SECONDS)
        self._leave(code)

    def _tell(self, why: str) -> None:
        count = self._unwritten()
        what = f"{count} records are counted and not written: the next start reads them again" if count else (
            "all that was counted is written"
        )  # fmt: skip
        log.error("agents: %s; ended at once, %s", why, what)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


class StoppableWorker(faust.Worker):
    """Faust's worker with our signals: its own handler passes over the second one, and does not run in a busy loop."""

    stop_within: BoundedStop

    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.loop.remove_signal_handler(number)
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stop_within.asked(number):
            self.loop.call_soon_threadsafe(self._schedule_shutdown, signal.Signals(number))
