"""The gap guard: what it does with a record, and what the log's answer about a gap means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_agents.compute.guard import Gap, GapGuard, Remedy


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
    gap = Gap(0, expected_offset=7, seen_offset=9)
    assert GapGuard.remedy(gap, first_in_log=9) == Remedy(offset=9, legal=True)


def test_a_record_that_exists_in_the_gap_was_skipped() -> None:
    gap = Gap(0, expected_offset=7, seen_offset=9)
    assert GapGuard.remedy(gap, first_in_log=7) == Remedy(offset=7, legal=False)


def test_a_gap_half_legal_goes_on_at_the_first_record_that_exists() -> None:
    gap = Gap(0, expected_offset=7, seen_offset=20)
    assert GapGuard.remedy(gap, first_in_log=12) == Remedy(offset=12, legal=True)


def test_a_log_that_cannot_be_asked_proves_nothing() -> None:
    gap = Gap(0, expected_offset=7, seen_offset=9)
    assert GapGuard.remedy(gap, first_in_log=None) == Remedy(offset=7, legal=False)


@given(expected=st.integers(0, 50), seen=st.integers(1, 50), first=st.none() | st.integers(0, 200))
def test_no_answer_of_the_log_skips_a_record_that_exists(expected: int, seen: int, first: int | None) -> None:
    """Counting goes on at the first record that exists, never beyond it and never before the expected one."""
    remedy = GapGuard.remedy(Gap(0, expected, expected + seen), first)
    assert remedy.offset >= expected
    if first is not None and first >= expected:
        assert remedy.offset == first
    if remedy.legal:
        assert first is not None
        assert first > expected
