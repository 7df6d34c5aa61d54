"""Whether a worker process that has ended is done, starts again, or ends the whole command. No I/O, no clock."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass

from embedwatch.errors import ConfigError, ConnectionFailed, FailureBudgetExceeded, InputError, ModelError

FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
#: A process that lived so long had started well: its end is a new trouble, not the old one.
GOOD_LIFE_SECONDS = 60.0
MAX_RESTARTS = 5
WINDOW_SECONDS = 300.0

#: Ends that come again however often the process is started.
BEYOND_MENDING = {error.exit_code for error in (ConfigError, InputError, ModelError, FailureBudgetExceeded)}


@dataclass(frozen=True)
class Done:
    """It had nothing more to do."""


@dataclass(frozen=True)
class Again:
    """It is to be started again after so long."""

    delay_seconds: float


@dataclass(frozen=True)
class GiveUp:
    """The command is to end, with this exit code."""

    exit_code: int
    reason: str


Verdict = Done | Again | GiveUp


class Restarts:
    """The history of one slot.

    The n-th restart after a short life waits min(1 s * 2^(n-1), 30 s). A slot that was started again 5 times within
    5 minutes and ends once more is in a crash loop.
    """

    def __init__(self) -> None:
        self._short_lives = 0
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)

    def ended(self, status: int, *, lived_seconds: float, now: float, stays: bool = False) -> Verdict:
        """What follows from the end of its process. `status` is as `subprocess` has it: negative for a signal.

        One that `stays` has always more to do: also its clean end was not asked for.
        """
        if status == 0 and not stays:
            return Done()
        if status in BEYOND_MENDING:
            return GiveUp(status, "starting it again would not help")
        away = stays and status == ConnectionFailed.exit_code  # that the broker is away is no fault of the slot
        if not away and len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < WINDOW_SECONDS:
            return GiveUp(exit_code(status), f"crash loop: {MAX_RESTARTS} restarts within {WINDOW_SECONDS / 60:g} min")
        self._short_lives = 0 if lived_seconds >= GOOD_LIFE_SECONDS else self._short_lives
        # The exponent is bounded, or a slot that fails for weeks would overflow the float.
        delay_seconds = min(FIRST_DELAY_SECONDS * 2.0 ** min(self._short_lives, 10), MAX_DELAY_SECONDS)
        self._short_lives += 1
        if not away:
            self._restarts.append(now)
        return Again(delay_seconds)


def exit_code(status: int) -> int:
    """The exit code of a command whose worker ended so: the worker's own, 1 if a signal ended it."""
    return 1 if status < 0 else status


def describe(status: int) -> str:
    """The end of a process in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
