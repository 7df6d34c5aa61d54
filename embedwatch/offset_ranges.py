"""A set of places (partition, offset) as ranges: many letters in little memory. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class OffsetRanges:
    """Grows with the gaps between its offsets, not with their number. Each partition has its own."""

    def __init__(self, places: Iterable[tuple[int, int]] = ()) -> None:
        #: By partition: begins and ends of ranges [begin, end), ascending, never touching each other.
        self._begins: dict[int, list[int]] = {}
        self._ends: dict[int, list[int]] = {}
        for partition, offset in places:
            self.add(partition, offset)

    def add(self, partition: int, first: int, last: int | None = None) -> None:
        """The offset `first`, or all from it to `last`, which is in it too."""
        begin, end = first, (first if last is None else last) + 1
        if not 0 <= begin < end:
            raise ValueError(f"offsets {first} to {last} are no range")
        begins, ends = self._begins.setdefault(partition, []), self._ends.setdefault(partition, [])
        if not ends or begin > ends[-1]:  # the usual case: offsets come in order
            begins.append(begin)
            ends.append(end)
            return
        low = bisect_right(ends, begin - 1)  # the first range that reaches `begin` or touches it
        high = bisect_right(begins, end)  # the first one that is beyond `end`
        if low < high:
            begin, end = min(begin, begins[low]), max(end, ends[high - 1])
        begins[low:high], ends[low:high] = [begin], [end]

    def update(self, other: OffsetRanges) -> None:
        for partition, first, last in other.ranges():
            self.add(partition, first, last)

    def __contains__(self, place: tuple[int, int]) -> bool:
        partition, offset = place
        begins = self._begins.get(partition, [])
        at = bisect_right(begins, offset) - 1
        return at >= 0 and offset < self._ends[partition][at]

    def __len__(self) -> int:
        return sum(last - first + 1 for _, first, last in self.ranges())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for partition, first, last in self.ranges():
            for offset in range(first, last + 1):
                yield partition, offset

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """(partition, first, last), ascending; `last` is in it too."""
        for partition in sorted(self._begins):
            for begin, end in zip(self._begins[partition], self._ends[partition], strict=True):
                yield partition, begin, end - 1

    def without(self, other: OffsetRanges) -> OffsetRanges:
        return OffsetRanges(place for place in self if place not in other)

    def as_json(self) -> dict[str, list[list[int]]]:
        """By partition, pairs of first and last offset."""
        out: dict[str, list[list[int]]] = {}
        for partition, first, last in self.ranges():
            out.setdefault(str(partition), []).append([first, last])
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OffsetRanges:
        """Raises `ValueError` when it is nothing of that form."""
        found = cls()
        try:
            for partition, pairs in data.items():
                for first, last in pairs:
                    if type(first) is not int or type(last) is not int:
                        raise ValueError(f"{first!r} to {last!r} are no offsets")
                    found.add(int(partition), first, last)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"no ranges of offsets: {error}") from None
        return found
