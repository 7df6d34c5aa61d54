"""When the record at an offset was written, where it was not read: in proportion between two offsets whose times are
known, if they are so close that it cannot be far from the truth. A reading of many partitions with large batches cannot
look at each of them each time."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

#: Kept of one partition.
POINTS = 128
#: Between times further apart nothing is told: what was written there may all be of one of them.
CLOSE_SECONDS = 2.5


@dataclass(slots=True)
class Times:
    """Offsets of one log with the times at which they were written, both growing."""

    _points: list[tuple[int, float]] = field(default_factory=list)

    def add(self, offset: int, time_seconds: float) -> None:
        """The record at `offset` was written then, or right after, when the log ended there."""
        place = bisect_right(self._points, (offset, float("inf")))
        if place and self._points[place - 1][0] == offset:
            self._points[place - 1] = (offset, time_seconds)
        else:
            insort(self._points, (offset, time_seconds))
        if len(self._points) > POINTS:
            del self._points[0]

    def at(self, offset: int) -> float | None:
        """Seconds; None outside of what is known closely."""
        place = bisect_right(self._points, (offset, float("inf")))
        if place == 0:
            return None
        low_offset, low = self._points[place - 1]
        if low_offset == offset:
            return low
        if place == len(self._points):
            return None
        high_offset, high = self._points[place]
        if abs(high - low) > CLOSE_SECONDS:
            return None
        return low + (high - low) * (offset - low_offset) / (high_offset - low_offset)

    def clear(self) -> None:
        self._points.clear()
