"""The gap guard: nothing is counted past a gap in the offsets of a source partition until the gap is explained.

Faust was seen to skip records after a recovery. A gap can also be legal: transaction markers, aborted records,
compaction, or records that retention has removed. The two look the same from the inside, so somebody asks the log
itself: which is the first record at or after the expected offset? If it is the one that was delivered, the gap is
legal and counting goes on there; if it is an earlier one, records were skipped, and the reader seeks back to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Gap:
    """Expected `expected_offset`, got `seen_offset`."""

    partition: int
    expected_offset: int
    seen_offset: int


@dataclass(frozen=True, slots=True)
class Remedy:
    """Seek to `offset`; `legal` says that the records before it do not exist."""

    offset: int
    legal: bool


Action = Literal["count", "replay", "hold"]


@dataclass(slots=True)
class GapGuard:
    """Open gaps by partition. `seen` counts every gap met since the start, for the metric."""

    open: dict[int, Gap] = field(default_factory=dict)
    seen: int = 0

    def check(self, partition: int, expected_offset: int, offset: int) -> Action:
        """What to do with a record: count it, skip it as a replay, or hold (neither count nor acknowledge)."""
        if offset > expected_offset:
            known = self.open.get(partition)
            if known is None or known.expected_offset != expected_offset:
                self.seen += 1
                self.open[partition] = Gap(partition, expected_offset, offset)
            elif offset < known.seen_offset:
                self.open[partition] = Gap(partition, expected_offset, offset)
            return "hold"
        self.open.pop(partition, None)
        return "count" if offset == expected_offset else "replay"

    def clear(self) -> None:
        """Forget open gaps: positions start afresh, after a rebalance."""
        self.open.clear()

    @staticmethod
    def remedy(gap: Gap, first_in_log: int | None) -> Remedy:
        """What the log's own first offset at or after the expected one means. None: it could not be asked."""
        if first_in_log is None or first_in_log <= gap.expected_offset:
            return Remedy(gap.expected_offset, legal=False)
        # Between the delivered record and the expected one there may be others that were skipped too: go on at the
        # first that exists.
        return Remedy(first_in_log, legal=True)
