"""The gap guard: nothing is counted past a gap in the offsets of a source partition until the gap is explained.

Faust was seen to skip records after a recovery. A gap can also be legal: transaction markers, aborted records,
compaction, or records that retention has removed. The two look the same from the inside, so the log itself is asked:
which records exist from the expected offset on? A record that comes next in that list is counted; where the list
names an earlier one, records were skipped, and the reader seeks back to it. With transactions every commit leaves a
gap, so one answer is kept and explains as many gaps as it covers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Gap:
    """Expected `expected_offset`, got `seen_offset`."""

    partition: int
    expected_offset: int
    seen_offset: int


Action = Literal["count", "replay", "hold"]


@dataclass(slots=True)
class GapGuard:
    """Open gaps by partition, and what the log said.

    `seen` counts every gap that had to be asked about since the start; `skipped` those in which records were missing,
    and ends of the log that were not delivered.
    """

    open: dict[int, Gap] = field(default_factory=dict)
    seen: int = 0
    skipped: int = 0
    _existing: dict[int, deque[int]] = field(default_factory=dict)
    _skipped_at: dict[int, int] = field(default_factory=dict)

    def check(self, partition: int, expected_offset: int, offset: int) -> Action:
        """What to do with a record: count it, skip it as a replay, or hold (neither count nor acknowledge)."""
        if offset < expected_offset:
            return "replay"
        if offset == expected_offset or self.first_existing(partition, expected_offset) == offset:
            self.open.pop(partition, None)
            return "count"
        known = self.open.get(partition)
        if known is None or known.expected_offset != expected_offset:
            self.seen += 1
            self.open[partition] = Gap(partition, expected_offset, offset)
        elif offset < known.seen_offset:
            self.open[partition] = Gap(partition, expected_offset, offset)
        return "hold"

    def learn(self, partition: int, existing_offsets: Iterable[int]) -> None:
        """The log's answer: every record there is from the expected offset up to the last one named, in order."""
        self._existing[partition] = deque(existing_offsets)

    def first_existing(self, partition: int, offset: int) -> int | None:
        """The first record at or after an offset that is known to exist; None when the last answer does not say.

        Forgets what lies before: offsets asked about only grow between two calls of `clear`.
        """
        existing = self._existing.get(partition)
        while existing and existing[0] < offset:
            existing.popleft()
        return existing[0] if existing else None

    def count_skipped(self, partition: int, expected_offset: int) -> bool:
        """Count records that were not delivered. False when it is the loss counted before: one seek can be overrun."""
        if self._skipped_at.get(partition) == expected_offset:
            return False
        self._skipped_at[partition] = expected_offset
        self.skipped += 1
        return True

    def clear(self) -> None:
        """Forget gaps and answers: positions start afresh, after a rebalance."""
        self.open.clear()
        self._existing.clear()
