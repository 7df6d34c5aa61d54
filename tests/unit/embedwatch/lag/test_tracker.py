"""From offsets to lag: each status, and what is not known stays not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.lag.tracker import (
    BUSY_STALL_SECONDS,
    STALL_SECONDS,
    GroupTracker,
    Lag,
    LagTracker,
    OffsetSample,
    Place,
    Total,
    total,
)

T0 = 1_800_000_000.0


def sample(at: float, committed: int | None, end: int | None, **more: Any) -> OffsetSample:
    return OffsetSample(T0 + at, more.pop("start", 0), committed, end, **more)


def last(*samples: OffsetSample) -> Lag:
    tracker = LagTracker()
    return [tracker.observe(one) for one in samples][-1]


def test_a_queue_that_is_worked_off_is_ok_with_rates_and_time_to_drain() -> None:
    lag = last(sample(0, 100, 500), sample(10, 300, 600, oldest_timestamp_seconds=T0 + 4, texts_per_message=2.5))
    assert lag == Lag(
        "OK", None, committed_offset=300, log_end_offset=600, lag_messages=300, lag_texts=750, oldest_age_seconds=6.0,
        consume_rate_per_s=20.0, arrival_rate_per_s=10.0, drain_seconds=30.0, texts_per_message=2.5,
    )  # fmt: skip


def test_a_queue_that_grows_has_no_time_to_drain() -> None:
    lag = last(sample(0, 100, 500), sample(10, 110, 600))
    assert (lag.lag_messages, lag.drain_seconds) == (490, None)


def test_a_queue_without_lag_is_empty_now_whatever_the_rates() -> None:
    lag = last(sample(0, 500, 500))
    assert (lag.lag_messages, lag.lag_texts, lag.oldest_age_seconds, lag.drain_seconds) == (0, 0, 0.0, 0.0)
    assert (lag.consume_rate_per_s, lag.arrival_rate_per_s) == (None, None), "one sample has no rate"


def test_texts_are_not_known_until_a_message_was_looked_at_and_then_remembered() -> None:
    tracker = LagTracker()
    assert tracker.observe(sample(0, 0, 10)).lag_texts is None
    assert tracker.observe(sample(2, 0, 10, texts_per_message=32)).lag_texts == 320
    assert tracker.observe(sample(4, 0, 20)).lag_texts == 640


def test_the_age_of_a_message_that_was_not_seen_is_not_known() -> None:
    assert last(sample(0, 5, 10)).oldest_age_seconds is None
    ahead = last(sample(0, 5, 10, oldest_timestamp_seconds=T0 + 3))
    assert ahead.oldest_age_seconds == 0.0, "a producer's clock may run ahead"


def test_offsets_that_could_not_be_read_are_unknown_and_nothing_is_made_up() -> None:
    for broken in (sample(0, 5, None), replace(sample(0, 5, 10), start_offset=None)):
        lag = last(broken)
        assert lag.status == "UNKNOWN"
        assert lag.reason
        assert (lag.lag_messages, lag.lag_texts, lag.oldest_age_seconds, lag.drain_seconds) == (None,) * 4


def test_an_unknown_sample_in_between_breaks_nothing() -> None:
    lag = last(sample(0, 0, 100), sample(5, None, None), sample(10, 50, 100))
    assert (lag.status, lag.consume_rate_per_s) == ("OK", 5.0)


def test_a_group_that_never_committed_has_everything_before_it() -> None:
    lag = last(sample(0, None, 100, start=40))
    assert (lag.status, lag.lag_messages) == ("OK", 60)


def test_a_commit_below_the_start_of_the_log_does_not_count_what_retention_removed() -> None:
    assert last(sample(0, 10, 100, start=40)).lag_messages == 60


def test_commits_that_stand_still_with_work_waiting_are_stalled_after_a_minute() -> None:
    tracker = LagTracker()
    seen = [tracker.observe(sample(at, 100, 200 + at)).status for at in range(0, 121, 20)]
    assert seen == ["OK", "OK", "OK", "STALLED", "STALLED", "STALLED", "STALLED"]
    stalled = tracker.observe(sample(130, 100, 400))
    assert stalled.reason == "no commit for 130 s with 300 messages waiting"
    assert tracker.observe(sample(140, 101, 400)).status == "OK", "one commit is a sign of life"


def test_standing_still_without_work_is_no_stall_and_the_clock_starts_with_the_work() -> None:
    tracker = LagTracker()
    for at in range(0, 301, 20):
        assert tracker.observe(sample(at, 100, 100)).status == "OK"
    assert tracker.observe(sample(310, 100, 150)).status == "OK"
    assert tracker.observe(sample(310 + STALL_SECONDS, 100, 150)).status == "STALLED"


def test_a_group_without_members_is_stopped_at_once() -> None:
    assert last(sample(0, 5, 10, members=0)).status == "STOPPED"
    assert last(sample(0, 10, 10, members=0)).status == "OK", "nobody is needed where nothing waits"
    assert last(sample(0, 5, 10, members=2)).status == "OK"


def test_a_commit_that_went_back_is_rewound_and_rates_start_afresh() -> None:
    tracker = LagTracker()
    tracker.observe(sample(0, 500, 600))
    rewound = tracker.observe(sample(10, 200, 600))
    assert rewound.status == "REWOUND"
    assert rewound.reason == "the committed offset went back from 500 to 200"
    assert (rewound.consume_rate_per_s, rewound.lag_messages) == (None, 400)
    after = tracker.observe(sample(20, 300, 600))
    assert (after.status, after.consume_rate_per_s) == ("OK", 10.0)


def test_a_topic_made_anew_gives_no_negative_rate() -> None:
    lag = last(sample(0, 500, 600), sample(10, 0, 5))
    assert lag.arrival_rate_per_s is None
    assert lag.lag_messages == 5


def test_rates_look_back_a_minute() -> None:
    tracker = LagTracker()
    for at in range(0, 200, 10):
        tracker.observe(sample(at, 0, at))  # one a second
    for at in range(200, 271, 10):
        lag = tracker.observe(sample(at, 0, 200))  # nothing more
    assert lag.arrival_rate_per_s == 0


@given(
    samples=st.lists(
        st.tuples(st.integers(1, 100), st.none() | st.integers(0, 1000), st.none() | st.integers(0, 1000)), max_size=30
    )
)
def test_no_number_is_negative_and_no_rate_without_time(samples: list[tuple[int, int | None, int | None]]) -> None:
    tracker, at = LagTracker(), 0
    for step, committed, end in samples:
        at += step
        lag = tracker.observe(sample(at, committed, end))
        numbers = (
            lag.lag_messages, lag.oldest_age_seconds, lag.consume_rate_per_s, lag.arrival_rate_per_s, lag.drain_seconds,
        )  # fmt: skip
        assert all(number is None or number >= 0 for number in numbers)
        assert (lag.status == "UNKNOWN") == (end is None)


@pytest.mark.parametrize("first", [0.0, 1e-9])
def test_time_zero_is_a_time(first: float) -> None:
    """A tracker fed from a simulation begins at 0."""
    tracker = LagTracker()
    tracker.observe(OffsetSample(first, 0, 5, 10))
    assert tracker.observe(OffsetSample(first + STALL_SECONDS, 0, 5, 10)).status == "STALLED"


@pytest.mark.parametrize(
    ("before", "now", "status", "reason", "lag"),
    [
        # before and now: (committed, end, more)
        ((5, 10, {}), (5, 12, {"skipped_offsets": 7}), "OK", None, 0),
        ((5, 10, {}), (5, 12, {"skipped_offsets": 3}), "OK", None, 4),
        ((5, 10, {}), (10, 10, {"high_watermark": 14}), "OK", None, 0),
        ((5, 10, {}), (12, 10, {"high_watermark": 14}), "OK", None, 0),  # it reads what is not committed yet
        ((5, 10, {}), (5, 10, {"start": 8}), "OK", "3 offsets were removed from the log before they were done", 2),
        ((5, 10, {}), (20, 10, {}), "REWOUND", "the committed offset 20 lies beyond the end of the log, 10: the topic "
         "was made anew or lost records", 10),
        ((5, 10, {}), (None, 10, {}), "REWOUND", "the commit at 5 is gone: the group or the topic was made anew", 10),
        ((5, 10, {"members": 0}), (6, 10, {"members": 0}), "OK", None, 4),
        ((5, 10, {"members": 0}), (5, 10, {"members": 0}), "STOPPED", "the group has no members", 5),
        ((5, 10, {"members": 0}), (None, None, {"reason": "no answer in time"}), "UNKNOWN", "no answer in time", None),
    ],
)  # fmt: skip
def test_what_a_second_sample_says(before: Any, now: Any, status: str, reason: str | None, lag: int | None) -> None:
    found = last(*(sample(at, committed, end, **more) for at, (committed, end, more) in ((0, before), (10, now))))
    assert (found.status, found.reason, found.lag_messages) == (status, reason, lag)


def test_marks_of_transactions_are_never_stalled() -> None:
    tracker = LagTracker()
    for at in range(0, 301, 20):
        lag = tracker.observe(sample(at, 100, 101, skipped_offsets=1))
        assert (lag.status, lag.lag_messages, lag.oldest_age_seconds, lag.drain_seconds) == ("OK", 0, 0.0, 0.0)


def test_retention_is_no_work() -> None:
    """A log start that moves over records nobody did is neither a commit nor a rate of one."""
    for committed in (None, 10):
        tracker = LagTracker()
        for at in range(0, 61, 20):
            lag = tracker.observe(sample(at, committed, 1000, start=20 + at))
        assert (lag.status, lag.consume_rate_per_s, lag.lag_messages) == ("STALLED", 0.0, 920)


def test_partitions_that_are_gone_are_forgotten_and_new_ones_begin() -> None:
    group, first, second = GroupTracker(), Place("t", 0), Place("t", 1)
    group.observe({first: sample(0, 10, 10)})
    both = group.observe({first: sample(10, 10, 20), second: sample(10, None, 5)})
    assert (both[first].arrival_rate_per_s, both[second].lag_messages, both[second].arrival_rate_per_s) == (
        1.0,
        5,
        None,
    )
    group.observe({second: sample(20, 5, 5)})
    assert group.observe({first: sample(30, 0, 5)})[first].status == "OK", "its old commit would have been rewound"


def test_the_total_is_the_sum_and_the_worst() -> None:
    fine = Lag("OK", None, 0, 30, 20, 40, 3.0, 5.0, 1.0, 4.0)
    slow = Lag("STALLED", "no commit for 60 s with 10 messages waiting", 0, 10, 10, 10, 70.0, 0.0, 1.0)
    assert total([fine, slow]) == Total(
        "STALLED", slow.reason, 2, {"OK": 1, "STALLED": 1}, 30, 50, 70.0, 5.0, 2.0, 10.0
    )  # fmt: skip


def test_a_partition_that_is_not_known_makes_the_total_unknown_and_never_less() -> None:
    whole = total([Lag("OK", None, 0, 30, 20, 40, 3.0, 5.0, 1.0, 4.0), Lag("UNKNOWN", "no answer in time")])
    assert whole == Total("UNKNOWN", "no answer in time", 2, {"OK": 1, "UNKNOWN": 1})
    assert total([]).status == "UNKNOWN"


def test_a_partition_whose_turn_has_not_come_is_not_stalled_while_the_group_moves_on() -> None:
    tracker, slow, busy = GroupTracker(), Place("t", 0), Place("t", 1)
    seen: dict[float, tuple[str, str]] = {}
    for second in range(0, 500, 10):
        # From 400 s on nobody moves.
        done = min(second, 400)
        found = tracker.observe({slow: sample(second, 5, 900), busy: sample(second, done, 900)})
        seen[second] = (found[slow].status, found[busy].status)
    assert seen[STALL_SECONDS + 10] == ("OK", "OK")
    assert seen[BUSY_STALL_SECONDS - 10] == ("OK", "OK")
    assert seen[BUSY_STALL_SECONDS] == ("STALLED", "OK")
    assert seen[480] == ("STALLED", "STALLED")
