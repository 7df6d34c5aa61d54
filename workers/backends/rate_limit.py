"""So much a minute: a bucket that fills steadily. Pure: `now` is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PerMinute:
    """At most `limit` in any minute, spread evenly after the first full bucket; None is no limit.

    What is more than the limit at once is let through when the bucket is full, and paid back afterwards.
    """

    limit: float | None
    _level: float = field(init=False)
    _at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._level = self.limit or 0.0

    def take(self, amount: float, now: float) -> float:
        """Seconds to wait before this may go out; it counts as taken then."""
        if self.limit is None:
            return 0.0
        if self._at is not None:
            self._level = min(self.limit, self._level + (now - self._at) * self.limit / 60.0)
        self._at = now
        wanted = min(amount, self.limit)
        wait = max(0.0, (wanted - self._level) * 60.0 / self.limit)
        self._level -= amount
        return wait

    def correct(self, too_few: float) -> None:
        """The provider counted so much more than was taken (or less, when negative)."""
        if self.limit is not None:
            self._level = min(self.limit, self._level - too_few)
