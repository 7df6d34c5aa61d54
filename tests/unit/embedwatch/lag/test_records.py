"""What is told from the bytes of a fetch answer."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder

from embedwatch.lag.records import DECODED_RECORDS, Allowance, Seen, first_batch_bytes, look

T0_MS = 1_800_000_000_000
ABORT, COMMIT = 0, 1


def batch(
    base: int, deltas: list[int], *, producer: int = -1, transactional: bool = False, texts: int = 0,
    compression: int = 3, control: int | None = None, last_delta: int | None = None, log_append_ms: int | None = None,
) -> bytes:  # fmt: skip
    """One batch; its record at base + delta is written delta seconds after T0. `last_delta`: before compaction."""
    builder = DefaultRecordBatchBuilder(
        2, compression if control is None else 0, transactional, producer, 0, 0, 1 << 20
    )
    headers = [("count", str(texts).encode())] if texts else []
    for delta in deltas:
        if control is None:
            builder.append(delta, T0_MS + delta * 1000, b"k", b"v" * 50, headers)
        else:
            builder.append(delta, T0_MS + delta * 1000, struct.pack(">hh", 0, control), b"", [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    if last_delta is not None:
        struct.pack_into(">i", data, 23, last_delta)
    (attributes,) = struct.unpack_from(">h", data, 21)
    if control is not None:
        struct.pack_into(">h", data, 21, attributes | DefaultRecordBatch.CONTROL_MASK)
    if log_append_ms is not None:
        struct.pack_into(">h", data, 21, attributes | DefaultRecordBatch.TIMESTAMP_TYPE_MASK)
        struct.pack_into(">q", data, 35, log_append_ms)
    return bytes(data)


def seen(data: bytes, position: int, aborted: Any = (), allowance: Allowance | None = None) -> tuple[Any, ...]:
    found = look(data, position, aborted, allowance or Allowance())
    when = found.first_timestamp_seconds
    return found.next_offset, found.records, None if when is None else when - T0_MS / 1000, found.texts_per_message


def test_nothing_is_nothing() -> None:
    assert seen(b"", 7) == (7, 0, None, None)


@pytest.mark.parametrize(
    ("name", "data", "position", "aborted", "expected"),
    [
        ("one batch", batch(10, [0, 1, 2]), 10, (), (13, 3, 0.0, 1.0)),
        ("begun before", batch(10, [0, 1, 2]), 12, (), (13, 1, 2.0, 1.0)),
        ("two batches", batch(10, [0, 1]) + batch(12, [5]), 11, (), (18, 2, 1.0, 1.0)),
        ("chunks", batch(10, [0, 1], texts=128), 10, (), (12, 2, 0.0, 128.0)),
        ("not compressed", batch(10, [0, 1], texts=3, compression=0), 11, (), (12, 1, 1.0, 3.0)),
        ("cut at the end", batch(10, [0, 1]) + batch(12, [0, 1])[:70], 10, (), (12, 2, 0.0, 1.0)),
        ("compacted", batch(10, [2, 7], last_delta=9), 10, (), (20, 2, 2.0, 1.0)),
        ("compacted, begun before", batch(10, [2, 7], last_delta=9), 15, (), (20, 1, 7.0, 1.0)),
        ("nothing left after the position", batch(10, [2, 7], last_delta=9), 18, (), (20, 0, None, None)),
        ("the broker's own time", batch(10, [0, 1], log_append_ms=T0_MS + 9000), 11, (), (12, 1, 9.0, 1.0)),
        ("only a mark", batch(10, [0], producer=4, transactional=True, control=COMMIT), 10, (), (11, 0, None, None)),
        (
            "committed", batch(8, [0, 1], producer=4, transactional=True)
            + batch(10, [0], producer=4, transactional=True, control=COMMIT), 8, (), (11, 2, 0.0, 1.0),
        ),
        (
            "aborted", batch(8, [0, 1], producer=4, transactional=True)
            + batch(10, [0], producer=4, transactional=True, control=ABORT), 8, [(4, 8)], (11, 0, None, None),
        ),
        (
            "aborted, then committed by the same producer, another in between",
            batch(8, [0], producer=4, transactional=True) + batch(9, [3], producer=5, transactional=True)
            + batch(10, [0], producer=4, transactional=True, control=ABORT)
            + batch(11, [6], producer=4, transactional=True), 8, [(4, 8)], (18, 2, 3.0, 1.0),
        ),
        ("aborted later", batch(8, [0, 1], producer=4, transactional=True), 8, [(4, 20)], (10, 2, 0.0, 1.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_waits(name: str, data: bytes, position: int, aborted: Any, expected: Any) -> None:
    # A batch's last offset is that of its highest delta, so one with a later record alone has a gap before it.
    assert seen(data, position, aborted) == expected


def test_a_long_batch_is_not_decoded_whole_and_its_time_is_in_proportion() -> None:
    data = batch(0, list(range(1000)), texts=7)
    assert seen(data, 0) == (1000, 1000, 0.0, 7.0)
    assert seen(data, 600) == (1000, 400, 600.0, 7.0)
    allowance = Allowance()
    look(data, 600, (), allowance)
    assert allowance.records == Allowance().records - DECODED_RECORDS


def test_without_an_allowance_the_header_has_to_do() -> None:
    empty = Allowance(records=0)
    assert seen(batch(10, [0, 1, 2], texts=5), 11, (), empty) == (13, 2, 1.0, None)
    assert seen(batch(10, [0, 7], last_delta=9), 15, (), empty) == (20, 5, pytest.approx(7 * 5 / 9), None)


def test_a_batch_that_does_not_decode_is_counted_by_its_header() -> None:
    data = bytearray(batch(10, [0, 1, 2]))
    data[61:] = b"\xff" * (len(data) - 61)
    assert seen(bytes(data), 11)[:3] == (13, 2, 1.0)


def test_records_without_a_time_have_none() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, -1, b"k", b"v", [])
    assert seen(bytes(builder.build()), 0)[:3] == (1, 1, None)


@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_an_old_broker(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for offset in range(3):
        builder.append(offset, T0_MS + offset * 1000, b"k", b"v")
    assert seen(bytes(builder.build()), 1) == (3, 2, 1.0 if magic else None, 1.0)


def test_what_follows_is_added() -> None:
    whole = Seen(10)
    whole.add(look(batch(10, [0], producer=4, transactional=True, control=COMMIT), 10, (), Allowance()))
    assert (whole.next_offset, whole.records) == (11, 0)
    whole.add(look(batch(11, [0, 1], texts=2), 11, (), Allowance()))
    whole.add(look(batch(13, [30], texts=4), 13, (), Allowance()))
    assert (whole.next_offset, whole.records, whole.first_timestamp_seconds) == (44, 3, T0_MS / 1000)
    assert whole.texts_per_message == pytest.approx(8 / 3)


def test_how_large_the_first_batch_is() -> None:
    data = batch(10, [0, 1, 2])
    assert first_batch_bytes(data + batch(13, [0])) == len(data)
    assert first_batch_bytes(data[:70]) == len(data)
    assert first_batch_bytes(b"") == 0


@given(
    shapes=st.lists(st.tuples(st.sets(st.integers(0, 9), max_size=10), st.integers(0, 3)), min_size=1, max_size=5),
    share=st.floats(0, 1), texts=st.integers(1, 9),
)  # fmt: skip
def test_it_counts_what_a_consumer_is_given(shapes: list[tuple[set[int], int]], share: float, texts: int) -> None:
    """Any log with gaps, from any position."""
    data, base, offsets = b"", 0, []
    for deltas, gap in shapes:
        if deltas:
            data += batch(base, sorted(deltas), last_delta=9, texts=texts)
            offsets += [base + delta for delta in sorted(deltas)]
        base += 10 + gap
    position = int(share * base)
    found = look(data, position, (), Allowance())
    waiting = [offset for offset in offsets if offset >= position]
    assert found.records == len(waiting)
    assert found.texts_per_message in (None, texts)
    batches = MemoryRecords(data)
    times = {record.offset: record.timestamp / 1000 for each in iter(batches.next_batch, None) for record in each}
    assert found.first_timestamp_seconds == (times[waiting[0]] if waiting else None)
