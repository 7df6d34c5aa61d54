"""One partition, fed with the answers of a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from embedwatch.lag.partition import MAX_PARTITION_BYTES, PARTITION_BYTES, SEEN_SECONDS, PartitionLog
from embedwatch.lag.records import Allowance
from tests.unit.embedwatch.lag.test_records import COMMIT, T0_MS, batch

NOW = T0_MS / 1000 + 100


def answer(high: int, *, stable: int | None = None, start: int = 0, records: bytes | None = None) -> Any:
    return SimpleNamespace(
        high_watermark=high, last_stable_offset=high if stable is None else stable, log_start_offset=start,
        aborted_transactions=None, records=records,
    )  # fmt: skip


def told(log: PartitionLog, **more: Any) -> bool:
    return log.answered(answer(**more), True, Allowance(), NOW)


def told_at(log: PartitionLog, now: float, **more: Any) -> None:
    log.answered(answer(**more), True, Allowance(), now)


def lag_of(log: PartitionLog) -> tuple[int | None, int | None, float | None, int]:
    sample = log.sample(NOW, 1)
    return sample.start_offset, sample.end_offset, sample.oldest_timestamp_seconds, sample.skipped_offsets


def test_a_partition_that_did_not_answer_is_not_known() -> None:
    log = PartitionLog(1)
    log.begin(5, NOW)
    assert log.sample(NOW, 1).end_offset is None
    assert log.sample(NOW, 1).reason == "the broker did not answer in time"
    assert told(log, high=5)
    log.begin(5, NOW)
    assert log.sample(NOW, 1).end_offset is None, "what an earlier reading found says nothing about now"


def test_what_was_seen_is_kept_until_the_commit_moves() -> None:
    log = PartitionLog(1)
    log.begin(10, NOW)
    assert told(log, high=13, records=batch(10, [0, 1, 2]))
    assert lag_of(log) == (0, 13, T0_MS / 1000, 0)
    log.begin(10, NOW)
    assert told(log, high=20)
    assert lag_of(log) == (0, 20, T0_MS / 1000, 0)
    log.begin(12, NOW)
    assert not told(log, high=20), "another record is the first now"
    assert told(log, high=20, records=batch(10, [0, 1, 2]))
    assert log.sample(NOW, 1).oldest_timestamp_seconds == T0_MS / 1000 + 2


def test_marks_alone_are_looked_over_to_the_end_and_new_ones_from_there() -> None:
    log = PartitionLog(1)
    mark = {"producer": 4, "transactional": True, "control": COMMIT}
    log.begin(10, NOW)
    assert told(log, high=11, records=batch(10, [0], **mark))
    assert lag_of(log) == (0, 11, None, 1)
    log.begin(10, NOW)
    assert log.seen.next_offset == 11
    assert told(log, high=12, records=batch(11, [0], **mark))
    assert lag_of(log) == (0, 12, None, 2)
    log.begin(10, NOW)
    assert told(log, high=14, records=batch(12, [0], texts=3))
    assert lag_of(log) == (0, 14, T0_MS / 1000, 2)
    assert log.sample(NOW, 1).texts_per_message == 3


def test_only_what_is_committed_counts_and_the_end_of_the_log_is_told_apart() -> None:
    log = PartitionLog(1)
    log.begin(10, NOW)
    assert told(log, high=15, stable=10)
    sample = log.sample(NOW, 1)
    assert (sample.end_offset, sample.high_watermark) == (10, 15)
    assert not log.answered(answer(15, stable=10), False, Allowance(), NOW)
    assert log.sample(NOW, 1).end_offset == 15


def test_a_batch_larger_than_asked_for_is_asked_for_again_up_to_a_bound() -> None:
    log = PartitionLog(1)
    log.begin(0, NOW)
    asked = []
    for _ in range(12):
        asked.append(log.wanted_bytes)
        assert not told(log, high=3)
    assert asked == [min(PARTITION_BYTES * 2**n, MAX_PARTITION_BYTES) for n in range(12)]
    assert told(log, high=3, records=batch(0, [0, 1, 2]))
    assert log.partition_bytes == PARTITION_BYTES


def test_a_commit_before_the_log_or_beyond_it_begins_at_its_start() -> None:
    log = PartitionLog(1)
    log.begin(5, NOW)
    log.out_of_range(8)
    assert log.seen.next_offset == 8
    assert told(log, high=11, start=8, records=batch(8, [0, 1, 2]))
    assert lag_of(log) == (8, 11, T0_MS / 1000, 0)
    log.begin(50, NOW)
    assert log.base == 8, "the log was seen to end at 11"
    assert told(log, high=11, start=8)
    assert lag_of(log) == (8, 11, T0_MS / 1000, 0)
    assert log.sample(NOW, 1).committed_offset == 50


def test_a_log_that_was_truncated_beyond_the_commit_is_asked_again_from_its_start() -> None:
    log = PartitionLog(1)
    log.begin(5, NOW)
    assert told(log, high=20, records=batch(5, [0, 1]))
    log.begin(5, NOW)
    assert not told(log, high=20, start=10)
    assert log.seen.next_offset == 10


def test_a_log_made_anew_has_nothing_of_what_was_seen() -> None:
    log = PartitionLog(1)
    log.begin(0, NOW)
    assert told(log, high=20, records=batch(0, [0, 1]))
    log.begin(0, NOW)
    assert not told(log, high=5)
    assert log.sample(NOW, 1).oldest_timestamp_seconds is None


def test_an_age_that_could_not_be_looked_at_is_told_by_when_the_log_ended_there() -> None:
    log = PartitionLog(1)
    for number in range(5):  # 100 records in 2 s
        log.begin(0, NOW)
        told_at(log, NOW + 2 * number, high=100 * (number + 1), records=batch(0, [0]))
    log.begin(250, NOW + 8)
    assert not told(log, high=500)  # the answer was full
    assert log.sample(NOW, 1).oldest_timestamp_seconds == NOW + 3
    log.begin(450, NOW + 8)
    assert not told(log, high=500)
    assert log.sample(NOW, 1).oldest_timestamp_seconds is None, "its end was not seen to move yet"
    log.begin(500, NOW + 8)
    assert told(log, high=500)
    assert log.sample(NOW, 1).oldest_timestamp_seconds is None


def test_who_is_far_behind_is_only_glanced_at_where_its_age_is_known() -> None:
    log = PartitionLog(1)
    for number in range(5):
        log.begin(0, NOW)
        told_at(log, NOW + 2 * number, high=100 * (number + 1), records=batch(0, [0]))
    log.begin(250, NOW + 8, its_turn=False)
    assert log.wanted_bytes == 0
    assert told(log, high=500)
    assert log.sample(NOW, 1).oldest_timestamp_seconds == NOW + 3
    log.begin(460, NOW + 8, its_turn=False)
    assert log.wanted_bytes == PARTITION_BYTES, "what is near may be marks alone"
    log.begin(250, NOW + 8, its_turn=True)
    assert log.wanted_bytes == PARTITION_BYTES


def test_what_was_seen_is_looked_at_again_after_a_while() -> None:
    """Compaction takes records while nobody commits."""
    log = PartitionLog(1)
    log.begin(0, NOW)
    assert told(log, high=10, records=batch(0, list(range(10))))
    log.begin(0, NOW + SEEN_SECONDS - 1)
    assert told(log, high=10)
    log.begin(0, NOW + SEEN_SECONDS)
    assert not told(log, high=10)
    assert told(log, high=10, records=batch(0, [9]))
    assert lag_of(log) == (0, 10, T0_MS / 1000 + 9, 9)
