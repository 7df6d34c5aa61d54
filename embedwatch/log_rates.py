"""How often a line of a log may be repeated. Pure: `now` is a monotonic time in seconds.

A broker that is away, or a topic full of what does not decode, must not become a disk full of one line: lines of one
kind come at most so often a minute, and what was left out is told by its number. Nothing is lost that way that is not
counted elsewhere: metrics count everything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

PERIOD_SECONDS = 60.0
#: Lines of one kind in a period.
MOST = 60
#: Kinds that are remembered; of the one not seen for longest nothing is known any more.
MAX_KINDS = 1000


@dataclass(slots=True)
class _Kind:
    since: float
    said: int = 0
    hidden: int = 0


class LineRates:
    """A kind is what its lines have in common: who says it, how urgent it is, and its text without its values."""

    def __init__(self, most: int = MOST, period_seconds: float = PERIOD_SECONDS, max_kinds: int = MAX_KINDS) -> None:
        self._most, self._period_seconds, self._max_kinds = most, period_seconds, max_kinds
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()

    def may(self, kind: Hashable, now: float) -> bool:
        """Whether one more line of the kind is written; else it is counted. Ask `over` first."""
        found = self._kinds.pop(kind, None)
        if found is None or not 0 <= now - found.since < self._period_seconds:
            found = _Kind(now)
        self._kinds[kind] = found
        if found.said < self._most:
            found.said += 1
            return True
        found.hidden += 1
        return False

    def over(self, now: float) -> list[tuple[Hashable, int]]:
        """Kinds whose period is over, or that are forgotten for want of room, with how many lines were left out of it.
        Each is told once."""
        out = []
        for kind, found in list(self._kinds.items()):
            if not 0 <= now - found.since < self._period_seconds or len(self._kinds) > self._max_kinds:
                del self._kinds[kind]
                if found.hidden:
                    out.append((kind, found.hidden))
        return out

    def rest(self) -> list[tuple[Hashable, int]]:
        """What was left out and not told yet, at the end."""
        kinds, self._kinds = self._kinds, OrderedDict()
        return [(kind, found.hidden) for kind, found in kinds.items() if found.hidden]
