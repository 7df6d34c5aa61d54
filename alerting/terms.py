"""For how long what a process has is its own for sure.

A process may be stopped at any line (SIGSTOP, a machine that is paused), and go on when its alerts are another's since
long. So what it may say and store is bound to the moment at which the group was last asked: looked at right before each
request, it holds up all that was begun under a term that is over. Times are arguments, but for `holding`, an edge.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from alerting.parcels import SendFailed
from embedwatch.clock import Clock

STOOD_STILL = "this process stood still for too long, another may have sent it"


@dataclass(frozen=True, slots=True)
class Term:
    """The group was asked, and said that we are one of its members. `now` is our clock, `monotonic` never goes back.

    Both count, and the longer time wins: the one stands still while a machine sleeps, the other may be set back. A
    clock that is set forward ends a term for nothing, which costs a question.
    """

    now: float
    monotonic: float

    def age_seconds(self, now: float, monotonic: float) -> float:
        return max(now - self.now, monotonic - self.monotonic)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a group waits for a member that is silent, and so for how long an answer of the group is good.

    A member is heard of at least each quarter of `session_seconds`: for three quarters after an answer nobody else has
    what is ours. What an answer allows is begun within one quarter, and given up when it takes two more.
    """

    session_seconds: float

    @property
    def ask_after_seconds(self) -> float:
        """An answer older than this is not good for anything new."""
        return self.session_seconds / 4

    @property
    def over_after_seconds(self) -> float:
        """Nothing that an answer allowed is asked of anyone later than this, or waited for longer."""
        return self.session_seconds / 2


class StoodStill(SendFailed):
    """Nothing was sent: it may be another's to send by now."""

    def __init__(self) -> None:
        super().__init__(STOOD_STILL, retryable=True)


class _Held(threading.local):
    """By thread: what `holding` was told."""

    term: Term | None = None
    seconds = 0.0
    clock: Clock | None = None


_held = _Held()


@contextmanager
def holding(term: Term | None, seconds: float, clock: Clock) -> Iterator[None]:
    """Inside, in this thread, `check_term` refuses what is asked more than `seconds` after the term began."""
    _held.term, _held.seconds, _held.clock = term, seconds, clock
    try:
        yield
    finally:
        _held.term = _held.clock = None


def check_term() -> None:
    """Right before each request of a receiver. Raises `StoodStill`; never in a thread that holds no term."""
    term, clock = _held.term, _held.clock
    if term is not None and clock is not None and term.age_seconds(clock.now(), clock.monotonic()) > _held.seconds:
        raise StoodStill
