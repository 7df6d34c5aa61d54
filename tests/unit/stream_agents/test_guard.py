"""The gap guard: what it does with a record, and what the log's answer about a gap means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_agents.compute.guard import Gap, GapGuard


def test_the_expected_record_is_counted_and_an_older_one_is_a_replay() -> None:
    guard = GapGuard()
    assert guard.check(0, 7, 7) == "count"
    assert guard.check(0, 7, 6) == "replay"
    assert guard.check(0, 7, 0) == "replay"
    assert guard.open == {}
    assert guard.seen == 0


def test_a_record_beyond_the_expected_one_is_held_and_the_gap_is_open() -> None:
    guard = GapGuard()
    assert guard.check(2, 7, 9) == "hold"
    assert guard.open == {2: Gap(partition=2, expected_offset=7, seen_offset=9)}


def test_records_behind_an_open_gap_are_the_same_gap() -> None:
    guard = GapGuard()
    assert [guard.check(0, 7, offset) for offset in (9, 10, 11, 30)] == ["hold"] * 4
    assert guard.seen == 1
    assert guard.open[0].seen_offset == 9


def test_a_seek_that_was_overrun_moves_the_near_end_of_the_gap_only_down() -> None:
    guard = GapGuard()
    guard.check(0, 7, 20)
    guard.check(0, 7, 12)
    guard.check(0, 7, 15)
    assert guard.open[0] == Gap(0, 7, 12)
    assert guard.seen == 1


def test_the_expected_record_closes_the_gap_and_the_next_one_is_counted_again() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    assert guard.check(0, 7, 7) == "count"
    assert guard.open == {}
    guard.check(0, 8, 10)
    assert guard.seen == 2


def test_a_gap_further_on_is_a_new_gap() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    guard.check(0, 9, 11)  # the first one was found to be legal in between
    assert guard.seen == 2
    assert guard.open[0] == Gap(0, 9, 11)


def test_gaps_of_partitions_are_apart() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    assert guard.check(1, 3, 3) == "count"
    guard.check(2, 0, 5)
    assert sorted(guard.open) == [0, 2]
    guard.clear()
    assert guard.open == {}
    assert guard.seen == 2, "the metric goes on through a rebalance"


def test_a_gap_in_the_log_itself_is_legal_and_counting_goes_on_behind_it() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    guard.learn(0, [9, 10])
    assert guard.check(0, 7, 9) == "count"
    assert guard.open == {}


def test_a_record_that_exists_in_the_gap_was_skipped_and_the_gap_stays_open() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    guard.learn(0, [8, 9])
    assert guard.check(0, 7, 9) == "hold"
    assert guard.first_existing(0, 7) == 8
    assert guard.seen == 1, "the same gap"
    assert guard.check(0, 7, 8) == "count", "half of the gap was legal"


def test_one_answer_explains_all_gaps_that_it_covers_and_no_more() -> None:
    guard = GapGuard()
    guard.check(0, 0, 1)
    guard.learn(0, [1, 3, 5])
    assert [guard.check(0, expected, offset) for expected, offset in ((0, 1), (2, 3), (4, 5))] == ["count"] * 3
    assert guard.check(0, 6, 7) == "hold"
    assert guard.first_existing(0, 6) is None
    assert guard.seen == 2


def test_a_log_that_says_nothing_proves_nothing() -> None:
    guard = GapGuard()
    guard.check(0, 7, 9)
    guard.learn(0, [])
    assert guard.check(0, 7, 9) == "hold"


def test_a_loss_is_counted_once_however_often_it_is_sought_back() -> None:
    guard = GapGuard()
    assert [guard.count_skipped(0, 7), guard.count_skipped(0, 7), guard.count_skipped(1, 7)] == [True, False, True]
    assert guard.count_skipped(0, 9)
    assert guard.skipped == 3


def test_answers_are_forgotten_with_the_assignment_and_kept_apart_by_partition() -> None:
    guard = GapGuard()
    guard.learn(0, [9])
    assert guard.check(1, 7, 9) == "hold"
    guard.clear()
    assert guard.check(0, 7, 9) == "hold"


@given(
    exists=st.lists(st.booleans(), min_size=1, max_size=40),
    delivered=st.lists(st.integers(0, 39), max_size=80),
    ask_at=st.sets(st.integers(0, 79)),
    reach=st.integers(1, 10),
)
def test_whatever_is_delivered_each_record_counts_once_in_order_and_none_is_passed_over(
    exists: list[bool], delivered: list[int], ask_at: set[int], reach: int
) -> None:
    log = [offset for offset, there in enumerate(exists) if there]
    guard, expected, counted = GapGuard(), 0, []
    for step, offset in enumerate(delivered):
        if offset not in log:
            continue
        if step in ask_at:
            guard.learn(0, [o for o in log if o >= expected][:reach])
        if guard.check(0, expected, offset) == "count":
            counted.append(offset)
            expected = offset + 1
    assert counted == log[: len(counted)]
