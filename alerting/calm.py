"""How much of the people's attention alerting may take. Pure: times are our monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calm:
    """`bundle_from`: as many messages that wait for one receiver at once become one. `cap_posts` in `cap_seconds` is
    the most that one receiver gets; None: no cap. `gather_seconds`: how long the news that data stopped or came back
    waits for more of its kind, since it comes of many alerts at once.
    """

    bundle_from: int = 5
    cap_posts: int | None = 20
    cap_seconds: float = 300.0
    gather_seconds: float = 5.0


class Cap:
    """At most `posts` in any `seconds`: half of them at once, the others spread evenly over the time.

    A token bucket of half the size that is filled with the other half in `seconds`: an empty one has a post again after
    2 * seconds / posts, and what waits meanwhile goes out together. A quarter of the bucket is kept for what is urgent.
    """

    def __init__(self, calm: Calm) -> None:
        posts = calm.cap_posts
        self._unlimited = posts is None
        self._burst = (posts or 2) / 2
        self._seconds = calm.cap_seconds
        self._per_second = self._burst / self._seconds
        self._kept = self._burst // 4  # for urgent ones
        self._left = self._burst
        self._at: float | None = None

    def room(self, monotonic: float, *, urgent: bool, posts: int = 1) -> bool:
        """Whether so many posts may go out now."""
        return self._unlimited or self._level(monotonic) >= posts + (0 if urgent else self._kept)

    def take(self, monotonic: float) -> None:
        """A post went out."""
        self._left, self._at = self._level(monotonic) - 1, monotonic

    def recall(self, ages_seconds: Iterable[float], monotonic: float) -> None:
        """Posts went out so long ago, whoever sent them; those that are known here already may be among them.

        What is older than the time in which a bucket is filled counts no more.
        """
        known = self._level(monotonic)
        self._left, self._at = self._burst, None
        for age in sorted(ages_seconds, reverse=True):
            if age < self._seconds:
                self.take(monotonic - age)
        # An attempt that may have arrived is known here only.
        self._left, self._at = min(known, self._level(monotonic)), monotonic

    def _level(self, monotonic: float) -> float:
        if self._at is None:
            return self._left
        return min(self._burst, self._left + max(0.0, monotonic - self._at) * self._per_second)
