"""What the bytes of a fetch answer hold: how many records a group is given, when the first was written, their texts.

Mostly from the headers of batches: a record is decoded only where its batch alone does not tell, and for the number of
texts in it. Does no I/O; the decoding is kafka-python's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords

from embedwatch.wire import header

#: Records decoded of one batch, at most.
DECODED_RECORDS = 16
#: A flag of batches that compaction may still clean: their first timestamp is not that of a record (KIP-534).
_DELETE_HORIZON = 0x40


@dataclass(slots=True)
class Allowance:
    """What may still be decoded in one reading. Beyond it timestamps come from headers and texts are not counted."""

    records: int = 4000
    batch_bytes: int = 16 * 1024 * 1024


@dataclass(slots=True)
class Seen:
    """The records from one offset on. All offsets below `next_offset` were looked at."""

    next_offset: int
    records: int = 0
    first_timestamp_seconds: float | None = None
    decoded_records: int = 0
    decoded_texts: int = 0

    def add(self, other: Seen) -> None:
        """What follows it."""
        if self.records == 0:
            self.first_timestamp_seconds = other.first_timestamp_seconds
        self.next_offset = other.next_offset
        self.records += other.records
        self.decoded_records += other.decoded_records
        self.decoded_texts += other.decoded_texts

    @property
    def texts_per_message(self) -> float | None:
        return self.decoded_texts / self.decoded_records if self.decoded_records else None


def look(data: bytes, position: int, aborted: Iterable[tuple[int, int]], allowance: Allowance) -> Seen:
    """Records at `position` and after it. `aborted`: producer id and first offset of each aborted transaction."""
    seen = Seen(position)
    if not data:
        return seen
    pending = sorted(aborted, key=lambda transaction: transaction[1])
    open_aborted: set[int] = set()
    batches = MemoryRecords(data)
    while (batch := batches.next_batch()) is not None:
        if batch.magic < 2:
            _look_into_old(batch, position, seen)
            continue
        while pending and pending[0][1] <= batch.last_offset:
            open_aborted.add(pending.pop(0)[0])
        if batch.is_control_batch:
            if batch.producer_id in open_aborted and _aborts(batch):
                open_aborted.discard(batch.producer_id)
        elif batch.next_offset > position and not (batch.is_transactional and batch.producer_id in open_aborted):
            _look_into(batch, position, seen, allowance)
        seen.next_offset = max(seen.next_offset, batch.next_offset)
    return seen


def first_batch_bytes(data: bytes) -> int:
    """How large the first batch of an answer is."""
    if len(data) < MemoryRecords.LOG_OVERHEAD:
        return len(data)
    return int(MemoryRecords.LOG_OVERHEAD) + int.from_bytes(data[8:12], "big")


def _look_into(batch: Any, position: int, seen: Seen, allowance: Allowance) -> None:
    count = batch.records_count
    dense = count == batch.last_offset_delta + 1
    if batch.base_offset >= position:
        waiting = count
    elif dense:
        waiting = batch.next_offset - position
    else:
        waiting = None  # compacted, and begun before the position: only its records tell
    # A few records for the texts in them; more batches of a partition would tell little more.
    first = seen.records == 0
    timestamp = None
    if waiting is None or (waiting and (first or seen.decoded_records < DECODED_RECORDS)):
        try:
            waiting, timestamp = _decode(batch, position, seen, allowance, waiting)
        except Exception:
            # Each codec has errors of its own. What cannot be decoded waits all the same.
            waiting = batch.next_offset - max(batch.base_offset, position) if waiting is None else waiting
    if first and waiting:
        seen.first_timestamp_seconds = timestamp if timestamp is not None else _estimated(batch, position)
    seen.records += waiting


def _decode(
    batch: Any, position: int, seen: Seen, allowance: Allowance, waiting: int | None
) -> tuple[int, float | None]:
    """How many records of it wait, and the timestamp of the first, None where it was not decoded."""
    counted, timestamp, decoded, texts, texts_before = 0, None, 0, 0, 0
    if allowance.records <= 0 or allowance.batch_bytes < batch.size_in_bytes:
        if waiting is None:
            waiting = batch.next_offset - max(batch.base_offset, position)
        return waiting, None
    allowance.batch_bytes -= batch.size_in_bytes
    for record in batch:
        decoded += 1
        if record.offset >= position:
            if counted == 0:
                timestamp = _seconds(record.timestamp)
            counted += 1
            texts += texts_in(record)
        else:
            texts_before += texts_in(record)
        # One begun before the position and compacted is decoded whole, to be counted.
        if waiting is not None and (decoded >= DECODED_RECORDS or counted == waiting):
            break
    allowance.records -= decoded
    # Where the position was not reached, those before it tell how large messages are here.
    if counted or waiting is not None:
        seen.decoded_records += counted or decoded
        seen.decoded_texts += texts if counted else texts_before
    return (counted if waiting is None else waiting), timestamp


def _estimated(batch: Any, position: int) -> float | None:
    """From the header: exact for the first record of a batch, else in proportion between the first and the last."""
    if batch.timestamp_type == batch.LOG_APPEND_TIME or batch.attributes & _DELETE_HORIZON:
        return _seconds(batch.max_timestamp)
    if position <= batch.base_offset or batch.last_offset_delta == 0:
        return _seconds(batch.first_timestamp)
    share = (position - batch.base_offset) / batch.last_offset_delta
    return _seconds(batch.first_timestamp + share * (batch.max_timestamp - batch.first_timestamp))


def _look_into_old(batch: Any, position: int, seen: Seen) -> None:
    """A message of before Kafka 0.11, or a compressed set of them."""
    for record in batch:
        if record.offset >= position:
            if seen.records == 0:
                seen.first_timestamp_seconds = _seconds(record.timestamp)
            seen.records += 1
            seen.decoded_records += 1
            seen.decoded_texts += 1
        seen.next_offset = max(seen.next_offset, record.offset + 1)


def _aborts(batch: Any) -> bool:
    try:
        return any(record.abort for record in batch)
    except CorruptRecordError:
        return False


def _seconds(timestamp_ms: float | None) -> float | None:
    """A record may have none."""
    return None if timestamp_ms is None or timestamp_ms < 0 else timestamp_ms / 1000.0


def texts_in(record: Any) -> int:
    """Texts of a message: the `count` header of a chunk, else one."""
    count = header(record.headers, "count")
    return int(count) if count is not None and count.isdecimal() and len(count) < 10 else 1
