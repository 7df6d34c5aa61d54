"""What is known of the connection to the agents: whether they answer, since when not, and when to try again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Between two readings while all is well.
EVERY_SECONDS = 1.0
#: Between two attempts after the first, second, ... that failed; the last one goes on.
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True, slots=True)
class Link:
    """Times are those of one clock. `got_seconds`: when the newest numbers came; None: none came yet."""

    got_seconds: float | None = None
    lost_seconds: float | None = None  # the first attempt that failed since then; None: they answer
    next_seconds: float | None = None
    failures: int = 0
    trouble: str = ""

    def answered(self, now: float) -> Link:
        return Link(got_seconds=now, next_seconds=now + EVERY_SECONDS)

    def failed(self, now: float, trouble: str) -> Link:
        pause = BACKOFF_SECONDS[min(self.failures, len(BACKOFF_SECONDS) - 1)]
        lost = now if self.lost_seconds is None else self.lost_seconds
        return Link(self.got_seconds, lost, now + pause, self.failures + 1, trouble)

    def wait_seconds(self, now: float) -> float:
        """Until the next attempt; 0 when it is due, never more than the longest pause, whatever the clock does."""
        if self.next_seconds is None:
            return 0.0
        return min(max(self.next_seconds - now, 0.0), BACKOFF_SECONDS[-1])

    @property
    def live(self) -> bool:
        return self.got_seconds is not None and self.lost_seconds is None

    def age_seconds(self, now: float) -> float | None:
        """Of the numbers; None: there are none."""
        return None if self.got_seconds is None else max(now - self.got_seconds, 0.0)
