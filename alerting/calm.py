"""How much of the people's attention alerting may take. Pure: times are our monotonic clock."""

from __future__ import annotations

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
        self._per_second = self._burst / calm.cap_seconds
        self._kept = self._burst // 4  # for urgent ones
        self._left = self._burst
        self._at: float | None = None

    def room(self, monotonic: float, *, urgent: bool, posts: int = 1) -> bool:
        """Whether so many posts may go out now."""
        return self._unlimited or self._level(monotonic) >= posts + (0 if urgent else self._kept)

    def take(self, monotonic: float) -> None:
        """A post went out."""
        self._left, self._at = self._level(monotonic) - 1, monotonic

    def _level(self, monotonic: float) -> float:
        if self._at is None:
            return self._left
        return min(self._burst, self._left + max(0.0, monotonic - self._at) * self._per_second)
