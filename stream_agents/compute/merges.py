"""Sums over many panes that cost little each time they are asked for.

A window of an hour is 360 panes, and rules ask for the same windows several times a second. Panes of the recent past
still grow; older ones rarely change. So the sum of the older ones is kept until the window moves on (every ten
seconds) or a late event changes one of them. It is itself made of sums over whole minutes and six minutes, which stay
when the window moves. Sums are only made by adding: taking away again would not give back minimum, maximum and floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, Self, TypeVar

from embedwatch.rules import PANE_SECONDS

#: Panes that events still come for as a matter of course: added up anew each time.
HOT_PANES = 3
#: Widths of the blocks whose sums are kept, the wider first.
BLOCKS_SECONDS = (360, 60)


class Mergeable(Protocol):
    def merge(self, other: Self) -> None:
        """Add all of `other`; `other` is left as it was."""


T = TypeVar("T", bound=Mergeable)


class Merges(Generic[T]):
    """Sums over the panes of one scope, by start in seconds. It must be told of every pane that changed or went."""

    __slots__ = ("_blocks", "_empty", "_last", "_newest", "_reach", "_spans", "panes")

    def __init__(self, panes: Mapping[int, T], empty: Callable[[], T]) -> None:
        self.panes = panes
        self._empty = empty
        self._last: int | None = None  # the present pane that the spans belong to
        self._reach: int | None = None  # no sum kept holds panes from here on
        self._newest = max(panes, default=0)
        self._spans: dict[tuple[int, int], T] = {}
        self._blocks: dict[tuple[int, int], T | None] = {}

    def window(self, first: int, last: int) -> T:
        """A sum of the caller's own over the panes from `first` on. `last` is the present one; some may lie ahead."""
        out = self._empty()
        for part in self.parts(first, last):
            out.merge(part)
        return out

    def parts(self, first: int, last: int) -> list[T]:
        """What `window` adds up, for reading only: the sum of the older panes and each of the hot ones."""
        hot = max(first, last - (HOT_PANES - 1) * PANE_SECONDS)
        out = [self._span(first, hot, last)] if first < hot else []
        ahead = range(hot, self._newest + PANE_SECONDS, PANE_SECONDS)
        # After a clock was set back, the newest pane may be far away.
        starts = ahead if len(ahead) <= len(self.panes) else [start for start in self.panes if start >= hot]
        return out + [self.panes[start] for start in starts if start in self.panes]

    def span(self, first: int, end: int, last: int) -> T:
        """A sum of the caller's own over the panes from `first` to before `end`, when `last` is the present one."""
        out = self._empty()
        if first < end:
            out.merge(self._span(first, end, last))
        return out

    def changed(self, start: int) -> None:
        """A pane was added to."""
        if start > self._newest:
            self._newest = start
        if self._reach is None or start >= self._reach:
            return
        for width in BLOCKS_SECONDS:
            self._blocks.pop((start // width * width, width), None)
        for key in [key for key in self._spans if key[0] <= start < key[1]]:
            del self._spans[key]

    def forget(self, oldest: int) -> None:
        """The panes up to `oldest` are gone."""
        for kept in (self._spans, self._blocks):
            for key in [key for key in kept if key[0] <= oldest]:
                del kept[key]

    def _span(self, first: int, end: int, last: int) -> T:
        if self._last != last:
            self._last = last
            self._spans.clear()
        found = self._spans.get((first, end))
        if found is None:
            self._reach = end if self._reach is None else max(self._reach, end)
            found = self._spans[first, end] = self._sum(first, end, BLOCKS_SECONDS)
        return found

    def _sum(self, first: int, end: int, widths: tuple[int, ...]) -> T:
        out, at = self._empty(), first
        while at < end:
            width = next((w for w in widths if at % w == 0 and at + w <= end), None)
            part = self.panes.get(at) if width is None else self._block(at, width)
            if part is not None:
                out.merge(part)
            at += width or PANE_SECONDS
        return out

    def _block(self, at: int, width: int) -> T | None:
        """None where there is no pane: most of a sparse scope."""
        key = (at, width)
        if key not in self._blocks:
            filled = any(start in self.panes for start in range(at, at + width, PANE_SECONDS))
            narrower = tuple(w for w in BLOCKS_SECONDS if w < width)
            self._blocks[key] = self._sum(at, at + width, narrower) if filled else None
        return self._blocks[key]
