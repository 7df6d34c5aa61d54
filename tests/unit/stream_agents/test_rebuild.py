"""The ledger made anew: the same from the same events, and every difference named."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from embedwatch.codec import encode
from embedwatch.events import HeartbeatEvent
from stream_agents.compute.ledger import BookedDay, PartitionState
from stream_agents.compute.rebuild import Difference, Removed, book_record, differences, kept_days, whole_days
from stream_agents.compute.rejections import Rejections
from tests.harness.agents_log import NOW, batch_event, deliver, log_of, started

UTC = ZoneInfo("UTC")
TODAY = "2027-01-15"


def test_it_is_what_an_agents_process_has_counted() -> None:
    import asyncio

    values = [batch_event(n, tenant=f"t{n % 3}", cost_nano_usd=7**n) for n in range(9)]

    async def live() -> PartitionState:
        log = log_of(*values, b"broken", None, batch_event(time_seconds=1e20))
        runtime = started(log)
        await deliver(log, runtime, 99)
        return runtime.world.partitions[0]

    kept, fresh = asyncio.run(live()), PartitionState(next_offset=0, timezone="UTC")
    for offset, value in enumerate([*map(encode, values), b"broken", None, encode(batch_event(time_seconds=1e20))]):
        book_record(fresh, offset, value, NOW, UTC, 100)
    assert fresh == replace(kept, rejections=Rejections())  # when they came is not in the log
    assert differences([kept], [fresh], [TODAY]) == []


def test_every_number_that_differs_is_named_and_only_of_the_days_asked_for() -> None:
    def one(**days: BookedDay) -> PartitionState:
        return PartitionState(
            next_offset=1, days={f"2027-01-{day[1:]}": {"all": totals} for day, totals in days.items()}
        )

    kept = [one(d15=BookedDay(texts=3, cost_nano_usd=10)), one(d15=BookedDay(texts=2), d14=BookedDay(texts=5))]
    fresh = [one(d15=BookedDay(texts=5, cost_nano_usd=11)), one(d14=BookedDay(texts=1))]
    assert differences(kept, fresh, [TODAY]) == [Difference(TODAY, "all", "cost_nano_usd", 10, 11)]
    assert differences(kept, [], ["2027-01-14"]) == [Difference("2027-01-14", "all", "texts", 5, None)]


def test_what_depends_on_when_it_was_booked_is_left_out() -> None:
    """Late events are late once only; a day that is over has its spend by the hour."""
    beats = [
        HeartbeatEvent(event_id=f"w:{n}", time_seconds=NOW - 86_400 + 10 * n, worker="w", model="m", state="running")
        for n in range(4)
    ]
    values = [batch_event(n, time_seconds=NOW - 86_400 + 1000 * n, cost_nano_usd=7**n) for n in range(6)]
    kept, fresh = PartitionState(next_offset=0), PartitionState(next_offset=0)
    for offset, value in enumerate([*beats, *values]):
        book_record(kept, offset, encode(value), NOW, UTC, 100)
        book_record(fresh, offset, encode(value), NOW - 86_400 + 1000 * offset, UTC, 100)
    kept.prune(NOW, UTC)
    days = kept_days([kept, fresh], NOW, UTC)
    assert days == ["2027-01-14"]
    assert kept.days[days[0]]["all"].late_events == 6
    assert fresh.days[days[0]]["all"].late_events == 0
    assert differences([kept], [fresh], days) == []
    kept.allocation.alive_ms[days[0]]["m"] += 1
    found = {(each.scope, each.number.partition("[")[0]) for each in differences([kept], [fresh], days)}
    assert found == {("model=m", "allocated_ms")}
    spend = kept.days[days[0]]["all"].spend_nano_usd
    spend[0], spend[-1] = spend[0] + 1, spend[-1] - 1
    numbers = [each.number for each in differences([kept], [fresh], days)]
    assert numbers == ["spend_nano_usd[0]", f"spend_nano_usd[{len(spend) - 1}]", "allocated_ms"]


def test_a_day_that_an_older_version_has_booked_is_compared_by_what_that_version_knew() -> None:
    kept, fresh = PartitionState(next_offset=0), PartitionState(next_offset=0)
    book_record(fresh, 0, encode(batch_event(cost_nano_usd=9)), NOW, UTC, 100)
    book_record(kept, 0, encode(batch_event(cost_nano_usd=9)), NOW, UTC, 100)
    for booked in kept.days[TODAY].values():
        booked.spend_nano_usd = []
    assert differences([kept], [fresh], [TODAY]) == []
    kept.days[TODAY]["all"].texts += 1
    assert [each.number for each in differences([kept], [fresh], [TODAY])] == ["texts"]


def test_days_that_the_agents_have_forgotten_are_not_compared() -> None:
    state = PartitionState(next_offset=1, days={f"2027-01-{day}": {} for day in (12, 13, 14, 15)})
    assert kept_days([state], NOW, UTC) == ["2027-01-13", "2027-01-14", "2027-01-15"]


@pytest.mark.parametrize(
    ("oldest_left", "whole"),
    [
        ([], ["2027-01-13", "2027-01-14", "2027-01-15"]),
        ([NOW - 5 * 86_400], ["2027-01-13", "2027-01-14", "2027-01-15"]),
        ([NOW - 2 * 86_400], ["2027-01-14", "2027-01-15"]),
        ([NOW - 5 * 86_400, NOW - 86_400], ["2027-01-15"]),
        ([NOW], []),
        ([NOW - 5 * 86_400, None], []),  # of one partition nothing is left
        # NOW is eight in the morning: five minutes before midnight, by a clock that may be behind.
        ([NOW - 8 * 3600 - 300], []),
        ([NOW - 8 * 3600 - 900], ["2027-01-15"]),
        ([NOW + 3600], []),  # a clock that is ahead
    ],
)
def test_a_day_is_whole_when_the_oldest_event_left_of_every_cut_log_is_older(
    oldest_left: list[float | None], whole: list[str]
) -> None:
    removed = [Removed(number, 7, 9, oldest) for number, oldest in enumerate(oldest_left)]
    assert whole_days(["2027-01-13", "2027-01-14", "2027-01-15"], removed, NOW, UTC) == whole


@pytest.mark.parametrize(("start", "uncounted"), [(3, 0), (9, 0), (10, 1), (20, 11)])
def test_what_was_removed_before_a_state_covered_it_is_told_apart(start: int, uncounted: int) -> None:
    assert Removed(0, start, 9, None).uncounted == uncounted


def test_an_event_whose_sketch_does_not_decode_is_in_neither_ledger() -> None:
    fresh = PartitionState(next_offset=0)
    for offset, sketch in enumerate(("!", "AAAA")):
        book_record(fresh, offset, encode(batch_event(latency_sketch=sketch)), NOW, UTC, 100)
    assert (fresh.days, fresh.rejected, fresh.next_offset) == ({}, {"invalid": 2}, 2)


def test_what_an_older_version_did_not_know_is_no_difference_on_its_days() -> None:
    fresh = PartitionState(next_offset=0)
    book_record(fresh, 0, encode(batch_event(cost_nano_usd=9, tokens_embedded=9, unpriced_tokens=9)), NOW, UTC, 100)
    record = fresh.to_record() | {"v": 3}
    for booked in record["days"][TODAY].values():
        booked["unpriced_texts"] = 0
    kept = PartitionState.from_record(record)
    assert kept.older_days == [TODAY]
    assert differences([kept], [fresh], [TODAY]) == []
    assert differences([fresh], [PartitionState(next_offset=0)], [TODAY]) != []
    again = PartitionState.from_record(kept.to_record())
    assert again.older_days == [TODAY], "it is kept with the day"
    again.prune(NOW + 9 * 86_400, UTC)
    assert again.older_days == []
