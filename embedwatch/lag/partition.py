"""What is known of one partition, and what was seen behind the commit of a group there. Takes answers, asks nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from embedwatch.lag.ages import Times
from embedwatch.lag.records import Allowance, Seen, first_batch_bytes, look
from embedwatch.lag.tracker import OffsetSample

#: What a fetch asks for of one partition, at first (a producer's batch, unless told otherwise) and at most.
PARTITION_BYTES = 16 * 1024
MAX_PARTITION_BYTES = 16 * 1024 * 1024
#: What was seen is looked at again after so long: compaction may have taken some of it.
SEEN_SECONDS = 30.0
#: A group so many offsets behind or less is looked at each time: all of them may be marks of transactions.
NEAR_OFFSETS = 64


@dataclass(slots=True)
class PartitionLog:
    """What is known of one partition, and what was seen behind the group's commit there."""

    leader: int
    topic_id: Any = None
    start: int | None = None
    end: int | None = None
    high_watermark: int | None = None
    committed: int | None = None
    base: int = 0  # where the group goes on
    seen: Seen = field(default_factory=lambda: Seen(0))
    seen_since_seconds: float | None = None
    times: Times = field(default_factory=Times)
    partition_bytes: int = PARTITION_BYTES
    batch_bytes: int | None = None  # of the first batch seen last
    glance: bool = False  # this reading asks for offsets alone
    highest: int = -1  # high watermark as it was seen last
    highest_seconds: float | None = None
    reason: str | None = None  # why this reading has no offsets of it

    def begin(self, committed: int | None, now: float, its_turn: bool = True) -> None:
        """A new reading. Who is not at its turn is not looked at, where that can be told without."""
        self.committed, self.end, self.high_watermark, self.reason = committed, None, None, None
        self._settle_base()
        if self.seen_since_seconds is None:
            self.seen_since_seconds = now
        elif not 0 <= now - self.seen_since_seconds < SEEN_SECONDS:
            self.seen, self.seen_since_seconds = Seen(self.base), now
        self.glance = not its_turn and not self.seen.records and self.told_by_time

    def _settle_base(self) -> None:
        """Where the group goes on, as far as the log is known: at its commit, if that is in the log. What was seen
        behind another commit tells nothing."""
        base, start = self.committed, self.start or 0
        if base is None or base < start or (base > self.highest >= 0):
            base = start
        if base != self.base:
            self.base, self.seen, self.seen_since_seconds = base, Seen(base), None

    def out_of_range(self, start: int) -> None:
        """The log begins at `start`, and what was committed is not in it: the group begins there."""
        self.start, self.base, self.seen = start, start, Seen(start)

    def answered(self, answer: Any, read_committed: bool, allowance: Allowance, now: float) -> bool:
        """Take the answer of a fetch. False: ask again, from `seen.next_offset`."""
        asked = self.seen.next_offset
        high, stable, started = answer.high_watermark, answer.last_stable_offset, answer.log_start_offset
        self.high_watermark = high
        self.end = stable if read_committed and stable is not None and stable >= 0 else high
        self.start = started if started is not None and started >= 0 else self.start or 0
        if high < self.highest:  # made anew: what was seen is not there any more
            self.seen = Seen(self.base)
            self.times.clear()
        # What comes after the end that was seen last was written after it was.
        if self.highest >= 0 and high > self.highest and self.highest_seconds is not None:
            self.times.add(self.highest, self.highest_seconds)
        self.highest, self.highest_seconds = high, now
        self._settle_base()
        if self.seen.next_offset == asked and not self.settled:
            aborted = answer.aborted_transactions if read_committed else None
            found = [(each.producer_id, each.first_offset) for each in aborted or ()]
            data = bytes(answer.records or b"")
            self.seen.add(look(data, asked, found, allowance))
            if self.seen.first_timestamp_seconds is not None:
                self.times.add(self.base, self.seen.first_timestamp_seconds)
            if data:
                self.batch_bytes = first_batch_bytes(data)
                self.ask_for(max(PARTITION_BYTES, self.batch_bytes))
            elif not self.glance:
                self.ask_for(self.partition_bytes * 2)
        return self.settled or (self.glance and self.oldest_timestamp_seconds is not None)

    def ask_for(self, partition_bytes: int) -> None:
        """So many bytes, the next time."""
        self.partition_bytes = min(partition_bytes, MAX_PARTITION_BYTES)

    @property
    def wanted_bytes(self) -> int:
        """Of what was seen already, and of what may be told without, only the offsets are asked for."""
        return 0 if self.seen.records or self.glance else self.partition_bytes

    @property
    def told_by_time(self) -> bool:
        """Whether the age of what waits is known without a look at it."""
        return self.highest - self.base > NEAR_OFFSETS and self.times.at(self.base) is not None

    @property
    def oldest_timestamp_seconds(self) -> float | None:
        """Of the first record that waits; in proportion, where it could not be looked at."""
        if self.seen.first_timestamp_seconds is not None:
            return self.seen.first_timestamp_seconds
        return None if self.settled else self.times.at(self.base)

    @property
    def settled(self) -> bool:
        """Whether a record was found that waits, or none is there up to the end."""
        return self.seen.records > 0 or (self.end is not None and self.seen.next_offset >= self.end)

    def sample(self, now: float, members: int | None, usual_texts: float | None = None) -> OffsetSample:
        if self.end is None or self.reason is not None:
            reason = self.reason or "the broker did not answer in time"
            return OffsetSample(now, None, self.committed, None, members=members, reason=reason)
        looked_to = min(self.seen.next_offset, self.end)
        texts = self.seen.texts_per_message
        return OffsetSample(
            now, self.start, self.committed, self.end, self.oldest_timestamp_seconds,
            usual_texts if texts is None else texts, members, max(looked_to - self.base - self.seen.records, 0),
            self.high_watermark,
        )  # fmt: skip
