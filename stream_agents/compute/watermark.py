"""How far event time has come: every event before it has, as far as one can tell, arrived.

Each partition is as far as its newest event; the whole is as far as the slowest partition, so that a backlog in one is
waited for. A partition that nothing comes from is as far as the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


class Watermark:
    """Of the partitions that are assigned. Times are Unix seconds."""

    def __init__(self, *, idle_seconds: float, behind_seconds: float) -> None:
        self.idle_seconds = idle_seconds  # a partition silent for so long holds nothing up
        self.behind_seconds = behind_seconds  # nor does one whose events are older than this
        self._newest: dict[int, float] = {}
        self._heard: dict[int, float] = {}

    def assign(self, partitions: Iterable[int], now: float) -> None:
        """Begin anew with these: what waits in them is given the time to come."""
        self._newest = dict.fromkeys(partitions, -math.inf)
        self._heard = dict.fromkeys(self._newest, now)

    def observe(self, partition: int, time_seconds: float, now: float) -> None:
        """An event came. A clock that runs ahead of ours is taken as ours."""
        if partition in self._newest:
            self._newest[partition] = max(self._newest[partition], min(time_seconds, now))
            self._heard[partition] = now

    def newest(self, partition: int) -> float | None:
        """Time of the newest event of a partition since it was assigned; None when there was none."""
        newest = self._newest.get(partition, -math.inf)
        return None if newest == -math.inf else newest

    def at(self, now: float) -> float:
        """Never later than `now`, and at most `behind_seconds` before it."""
        slowest = min(
            (newest for p, newest in self._newest.items() if now - self._heard[p] < self.idle_seconds), default=now
        )
        return max(min(slowest, now), now - self.behind_seconds)
