"""When the record at an offset was written, where it was not read: in proportion between two offsets whose times are
known. A reading of many partitions with large batches cannot look at each of them each time."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

#: Kept of one partition.
POINTS = 64


@dataclass(slots=True)
class Times:
    """Offsets of one log with the times at which they were written, both growing."""

    _points: list[tuple[int, float]] = field(default_factory=list)

    def add(self, offset: int, time_seconds: float) -> None:
        """The record at `offset` was written then, or the log ended there then."""
        place = bisect_right(self._points, (offset, float("inf")))
        if place and self._points[place - 1][0] == offset:
            # A log that ended there for a while: its next record is written later.
            self._points[place - 1] = (offset, time_seconds)
        else:
            insort(self._points, (offset, time_seconds))
        if len(self._points) > POINTS:
            # Every other one of the older half: what was long ago is known less closely.
            half = POINTS // 2
            self._points = self._points[:half:2] + self._points[half:]

    def at(self, offset: int) -> float | None:
        """Seconds; None outside of what is known."""
        place = bisect_right(self._points, (offset, float("inf")))
        if place == 0:
            return None
        low_offset, low = self._points[place - 1]
        if low_offset == offset:
            return low
        if place == len(self._points):
            return None
        high_offset, high = self._points[place]
        return low + (high - low) * (offset - low_offset) / (high_offset - low_offset)

    def clear(self) -> None:
        self._points.clear()
