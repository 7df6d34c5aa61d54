"""The midnight table: which day an event belongs to, moment by moment, where zones do what they do at midnight.

Boundaries stand here as UTC moments, worked out by hand from each zone's history and not by the code under test.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from stream_agents.compute.days import Days
from stream_agents.compute.ledger import PartitionState, day_bounds, day_of, day_totals
from tests.harness.agents_log import batch_event

#: zone, day, its first moment, the first moment of the next one (both UTC), and the day before and after it.
MIDNIGHTS = [
    ("UTC", "2026-07-14", "2026-07-14T00:00", "2026-07-15T00:00", "2026-07-13", "2026-07-15"),
    ("UTC", "2024-02-29", "2024-02-29T00:00", "2024-03-01T00:00", "2024-02-28", "2024-03-01"),
    ("UTC", "2026-12-31", "2026-12-31T00:00", "2027-01-01T00:00", "2026-12-30", "2027-01-01"),
    # Half an hour off, and never a summer time.
    ("Asia/Kolkata", "2026-03-29", "2026-03-28T18:30", "2026-03-29T18:30", "2026-03-28", "2026-03-30"),
    ("Asia/Kolkata", "2027-01-01", "2026-12-31T18:30", "2027-01-01T18:30", "2026-12-31", "2027-01-02"),
    # Winter, the day of 23 hours with its neighbours, summer, the day of 25 hours with its neighbours.
    ("America/New_York", "2026-01-15", "2026-01-15T05:00", "2026-01-16T05:00", "2026-01-14", "2026-01-16"),
    ("America/New_York", "2026-03-07", "2026-03-07T05:00", "2026-03-08T05:00", "2026-03-06", "2026-03-08"),
    ("America/New_York", "2026-03-08", "2026-03-08T05:00", "2026-03-09T04:00", "2026-03-07", "2026-03-09"),
    ("America/New_York", "2026-03-09", "2026-03-09T04:00", "2026-03-10T04:00", "2026-03-08", "2026-03-10"),
    ("America/New_York", "2026-07-14", "2026-07-14T04:00", "2026-07-15T04:00", "2026-07-13", "2026-07-15"),
    ("America/New_York", "2026-10-31", "2026-10-31T04:00", "2026-11-01T04:00", "2026-10-30", "2026-11-01"),
    ("America/New_York", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00", "2026-10-31", "2026-11-02"),
    ("America/New_York", "2026-11-02", "2026-11-02T05:00", "2026-11-03T05:00", "2026-11-01", "2026-11-03"),
    # Samoa went from UTC-10 to UTC+14 at the end of December 29th: there was no 30th.
    ("Pacific/Apia", "2011-12-28", "2011-12-28T10:00", "2011-12-29T10:00", "2011-12-27", "2011-12-29"),
    ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", "2011-12-30T10:00", "2011-12-28", "2011-12-31"),
    ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00", "2011-12-29", "2012-01-01"),
    ("Pacific/Apia", "2026-07-14", "2026-07-13T11:00", "2026-07-14T11:00", "2026-07-13", "2026-07-15"),
    # The clock went from midnight to one: the day begins at one. And from midnight back to eleven: one day of 25 hours.
    ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", "2018-11-05T02:00", "2018-11-03", "2018-11-05"),
    ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00", "2018-02-18T03:00", "2018-02-16", "2018-02-18"),
    ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00", "2018-02-19T03:00", "2018-02-17", "2018-02-19"),
]


def moment(utc: str) -> float:
    return datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("name", "day", "first", "next_first", "before", "after"), MIDNIGHTS)
def test_events_around_both_ends_of_a_day_are_booked_on_the_right_one(
    name: str, day: str, first: str, next_first: str, before: str, after: str
) -> None:
    zone, begin, end = ZoneInfo(name), moment(first), moment(next_first)
    assert day_bounds(day, zone) == (begin, end)
    state, expected = PartitionState(next_offset=0), {before: 0, day: 0, after: 0}
    moments = [
        (before, begin - 3600), (before, begin - 1), (before, begin - 0.001),
        (day, begin), (day, begin + 0.001), (day, begin + 3600), (day, (begin + end) / 2), (day, end - 1),
        (day, end - 0.001), (after, end), (after, end + 0.001), (after, end + 3600),
    ]  # fmt: skip
    # Late ones last, as they come: the order in which events arrive decides nothing.
    for number, (belongs, at) in enumerate(sorted(moments, key=lambda pair: -pair[1])):
        state.book(batch_event(cost_nano_usd=2**number, time_seconds=at), zone, 100)
        expected[belongs] += 2**number  # each event is a bit of the sum: a wrong one is seen
    assert {d: day_totals([state], d).cost_nano_usd for d in state.days} == expected


@pytest.mark.parametrize(
    ("name", "day", "minutes"),
    [
        ("UTC", "2026-03-08", 24 * 60),
        ("Asia/Kolkata", "2026-03-08", 24 * 60),
        ("America/New_York", "2026-03-08", 23 * 60),
        ("America/New_York", "2026-11-01", 25 * 60),
        ("Pacific/Apia", "2011-12-29", 24 * 60),
        ("Pacific/Apia", "2011-12-30", 0),
        ("Pacific/Apia", "2011-12-31", 24 * 60),
    ],
)
def test_an_event_a_minute_for_five_days_gives_each_day_its_length(name: str, day: str, minutes: int) -> None:
    zone, state = ZoneInfo(name), PartitionState(next_offset=0)
    start, event = moment(f"{day}T00:00") - 60 * 3600, batch_event(cost_nano_usd=1)
    for number in range(5 * 24 * 60):
        state.book(replace(event, time_seconds=start + 60 * number), zone, 100)
    assert day_totals([state], day).cost_nano_usd == minutes
    assert sum(day_totals([state], d).cost_nano_usd for d in state.days) == 5 * 24 * 60
    assert (day in state.days) == bool(minutes)


def test_the_day_that_samoa_left_out_is_asked_for_and_is_empty() -> None:
    zone = ZoneInfo("Pacific/Apia")
    begin, end = day_bounds("2011-12-30", zone)
    assert begin == end == moment("2011-12-30T10:00")
    assert day_of(begin, zone) == "2011-12-31"
    assert date.fromisoformat(day_of(begin - 0.001, zone)) == date(2011, 12, 29)


def test_pruning_across_the_missing_day_forgets_no_day_that_is_kept() -> None:
    """Days are kept by their dates: on the 31st the 30th that never was is one of the three."""
    zone, state = ZoneInfo("Pacific/Apia"), PartitionState(next_offset=0)
    noon = moment("2011-12-30T22:00")  # noon of the 31st
    for days in range(4):
        state.book(batch_event(time_seconds=noon - 86_400 * days), zone, 100)
    assert sorted(state.days) == ["2011-12-27", "2011-12-28", "2011-12-29", "2011-12-31"]
    state.prune(noon, zone)
    assert sorted(state.days) == ["2011-12-29", "2011-12-31"]


def test_one_moment_is_another_day_in_each_zone() -> None:
    at = moment("2026-07-13T20:00")
    days = {name: day_of(at, ZoneInfo(name)) for name in ("UTC", "Asia/Kolkata", "America/New_York", "Pacific/Apia")}
    assert days == {
        "UTC": "2026-07-13", "Asia/Kolkata": "2026-07-14", "America/New_York": "2026-07-13",
        "Pacific/Apia": "2026-07-14",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "day", "first", "next_first", "before", "after"), MIDNIGHTS)
def test_days_looked_up_one_after_the_other_are_the_same_in_any_order(
    name: str, day: str, first: str, next_first: str, before: str, after: str
) -> None:
    days, begin, end = Days(ZoneInfo(name)), moment(first), moment(next_first)
    for at, expected in ((begin, day), (end, after), (begin - 1, before), (end - 0.001, day), (begin - 1, before)):
        found, since, until = days.of(at)
        assert (found, since <= at < until) == (expected, True)
    assert days.of((begin + end) / 2) == (day, begin, end)
