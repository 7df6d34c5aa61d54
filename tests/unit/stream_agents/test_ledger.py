"""The ledger: integers, days of a zone, and a record that comes back as it went."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.events import BatchEvent
from stream_agents.compute.ledger import (
    KEEP_DAYS,
    STATE_VERSION,
    DayTotals,
    PartitionState,
    day_bounds,
    day_of,
    day_scopes,
    day_totals,
)
from tests.harness.agents_log import NOW, batch_event

BERLIN = ZoneInfo("Europe/Berlin")
APIA = ZoneInfo("Pacific/Apia")
UTC_ZONE = ZoneInfo("UTC")


def moment(zone: ZoneInfo, *parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=zone, fold=fold).timestamp()  # type: ignore[misc, arg-type]


def booked(*events: BatchEvent, zone: ZoneInfo = UTC_ZONE, max_scopes: int = 1000) -> PartitionState:
    state = PartitionState(next_offset=0)
    for event in events:
        state.book(event, zone, max_scopes)
    return state


def costing(nano_usd: int, **fields: Any) -> BatchEvent:
    return batch_event(cost_nano_usd=nano_usd, **fields)


@settings(deadline=None)
@given(
    costs=st.lists(st.integers(0, 2**70), max_size=50),
    partitions=st.integers(1, 5),
    seed=st.randoms(use_true_random=False),
)
def test_money_is_added_up_without_a_rounding_error(costs: list[int], partitions: int, seed: random.Random) -> None:
    """Against exact fractions of a dollar: no float could hold these sums."""
    states = [PartitionState(next_offset=0) for _ in range(partitions)]
    for cost in costs:
        seed.choice(states).book(costing(cost, saved_nano_usd=cost // 3), UTC_ZONE, 10)
    totals = day_totals(states, day_of(NOW, UTC_ZONE))
    usd = sum((Fraction(cost, 10**9) for cost in costs), Fraction(0))
    assert Fraction(totals.cost_nano_usd, 10**9) == usd
    assert totals.saved_nano_usd == sum(cost // 3 for cost in costs)
    assert totals.texts == 10 * len(costs)


def test_a_million_cheap_batches_cost_what_they_cost() -> None:
    """0.1 nano-USD steps of floats would drift; a million additions of one odd number do not."""
    state = PartitionState(next_offset=0)
    event = costing(1_234_567)
    totals = DayTotals()
    for _ in range(100_000):
        totals.book(event)
    state.days["d"] = {"all": totals}
    assert day_totals([state] * 10, "d").cost_nano_usd == 1_234_567 * 1_000_000


def test_an_event_is_booked_by_scope_and_errors_are_added_up() -> None:
    state = booked(costing(5, tenant="t", errors={"timeout": 2, "other": 1}), costing(7))
    day = state.days[day_of(NOW, UTC_ZONE)]
    assert {scope: totals.cost_nano_usd for scope, totals in day.items()} == {
        "all": 12, "model=m": 12, "tenant=t": 5, "model=m,tenant=t": 5,
    }  # fmt: skip
    assert day["all"].errors == 3
    assert state.events == 2


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (UTC_ZONE, "2026-03-29", 24),
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-06-01", 24),
        (ZoneInfo("America/New_York"), "2026-03-08", 23),
        (ZoneInfo("America/New_York"), "2026-11-01", 25),
        (ZoneInfo("Australia/Lord_Howe"), "2026-04-05", 24.5),  # half an hour of summer time
        (ZoneInfo("Asia/Kathmandu"), "2026-01-01", 24),
        (APIA, "2011-12-29", 24),
        (APIA, "2011-12-30", 0),  # Samoa crossed the date line: there was no such day
        (APIA, "2011-12-31", 24),
    ],
)
def test_a_day_has_the_hours_that_its_zone_gave_it(zone: ZoneInfo, day: str, hours: float) -> None:
    begin, end = day_bounds(day, zone)
    assert (end - begin) / 3600 == hours
    if hours:
        assert day_of(begin, zone) == day_of(end - 1, zone) == day
        assert day_of(begin - 1, zone) < day < day_of(end, zone)


def test_samoa_lost_a_day_and_no_event_is_booked_on_it() -> None:
    last, first = moment(APIA, 2011, 12, 29, 23, 59, 59), moment(APIA, 2011, 12, 31, 0, 0, 0)
    assert first - last == 1
    assert [day_of(t, APIA) for t in (last, first)] == ["2011-12-29", "2011-12-31"]


@pytest.mark.parametrize("zone", [UTC_ZONE, BERLIN, APIA, ZoneInfo("Asia/Kathmandu")])
def test_midnight_belongs_to_the_new_day(zone: ZoneInfo) -> None:
    midnight = moment(zone, 2026, 7, 14)
    state = booked(costing(1, time_seconds=midnight - 0.001), costing(10, time_seconds=midnight), zone=zone)
    assert day_totals([state], "2026-07-13").cost_nano_usd == 1
    assert day_totals([state], "2026-07-14").cost_nano_usd == 10


def test_the_hour_that_comes_twice_is_one_day_and_the_hour_that_is_left_out_is_none() -> None:
    twice = [moment(BERLIN, 2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1)]
    assert twice[1] - twice[0] == 3600
    assert {day_of(t, BERLIN) for t in twice} == {"2026-10-25"}
    begin, end = day_bounds("2026-03-29", BERLIN)
    state = booked(*[costing(1, time_seconds=begin + 60 * n) for n in range(24 * 60)], zone=BERLIN)
    assert day_totals([state], "2026-03-29").cost_nano_usd == 23 * 60
    assert day_totals([state], "2026-03-30").cost_nano_usd == 60
    assert end - begin == 23 * 3600


@given(
    seconds=st.integers(946_684_800, 2_840_140_800),  # 2000 to 2060
    zone=st.sampled_from([UTC_ZONE, BERLIN, APIA, ZoneInfo("America/St_Johns"), ZoneInfo("Africa/Casablanca")]),
)  # fmt: skip
def test_every_moment_lies_within_the_bounds_of_its_day(seconds: int, zone: ZoneInfo) -> None:
    begin, end = day_bounds(day_of(seconds, zone), zone)
    assert begin <= seconds < end
    assert end - begin <= 25 * 3600


def test_above_the_cap_the_rest_goes_to_other_once_an_event_and_the_whole_stays_exact() -> None:
    events = [costing(10**n, model=f"m{n}", tenant=f"t{n}") for n in range(30)]
    state = booked(*events, max_scopes=8)
    (day,) = state.days.values()
    assert len(day) <= 9
    assert day["all"].cost_nano_usd == sum(10**n for n in range(30))
    named = sum(
        totals.cost_nano_usd for scope, totals in day.items() if scope.startswith("model=") and "," not in scope
    )
    # The third event finds room for its model alone: the rest of it, and all later ones, are in `other` once.
    assert set(str(day["scope=other"].cost_nano_usd)) <= {"0", "1"}
    assert named + day["scope=other"].cost_nano_usd >= day["all"].cost_nano_usd


def test_days_are_kept_as_long_as_late_events_and_yesterdays_report_need_them() -> None:
    noon = moment(BERLIN, 2026, 7, 14, 12)
    state = booked(*[costing(1, time_seconds=noon - 86_400 * n) for n in range(5)], zone=BERLIN)
    state.prune(noon, BERLIN)
    assert sorted(state.days) == ["2026-07-12", "2026-07-13", "2026-07-14"]
    assert len(state.days) == KEEP_DAYS
    state.prune(moment(BERLIN, 2026, 7, 15, 0, 0, 1), BERLIN)
    assert sorted(state.days) == ["2026-07-13", "2026-07-14"]


def test_reading_adds_up_partitions_and_knows_nothing_of_what_is_not_there() -> None:
    one, two = booked(costing(1, tenant="a")), booked(costing(2, tenant="b"))
    today = day_of(NOW, UTC_ZONE)
    assert day_totals([one, two], today).cost_nano_usd == 3
    assert day_totals([one, two], today, "tenant=a").cost_nano_usd == 1
    assert day_totals([one, two], today, "tenant=c") == DayTotals()
    assert day_totals([], today) == DayTotals()
    assert day_scopes([one, two], today) == {
        "all", "model=m", "tenant=a", "tenant=b", "model=m,tenant=a", "model=m,tenant=b",
    }  # fmt: skip
    assert day_scopes([one, two], "2001-01-01") == set()


@settings(deadline=None)
@given(
    costs=st.lists(st.tuples(st.integers(0, 2**80), st.integers(-3, 1), st.none() | st.text(max_size=5)), max_size=20),
    next_offset=st.integers(0, 2**63),
    rejected=st.dictionaries(st.sampled_from(["invalid", "not_json"]), st.integers(1, 9)),
)
def test_a_record_comes_back_through_json_as_it_went(
    costs: list[tuple[int, int, str | None]], next_offset: int, rejected: dict[str, int]
) -> None:
    events = [
        costing(cost, time_seconds=NOW + days * 86_400, tenant=None if tenant is None else repr(tenant))
        for cost, days, tenant in costs
    ]
    state = booked(*events)
    state.next_offset, state.rejected, state.accepted_gaps = next_offset, rejected, 3
    again = PartitionState.from_record(json.loads(json.dumps(state.to_record())))
    assert again == state
    again.book(costing(1), UTC_ZONE, 1000)
    assert again != state


def test_a_record_is_a_copy_that_later_bookings_do_not_touch() -> None:
    state = booked(costing(1))
    record = state.to_record()
    before = json.dumps(record)
    state.book(costing(1), UTC_ZONE, 1000)
    state.rejected["invalid"] = 1
    state.next_offset = 99
    assert json.dumps(record) == before


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"v": STATE_VERSION + 1, "next_offset": 1}, "state of version 2; this agent knows 1"),
        ({"next_offset": 1}, "state of version None"),
        ({"v": STATE_VERSION}, "not a state record: .*next_offset"),
        ({"v": STATE_VERSION, "next_offset": "1"}, "not a state record"),
        ({"v": STATE_VERSION, "next_offset": 1, "days": {"d": {"all": {"texts": 1.5}}}}, "not a state record"),
    ],
)
def test_a_record_that_is_no_state_is_refused_rather_than_counted_on(record: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PartitionState.from_record(record)


def test_the_state_at_the_default_cap_of_scopes_fits_in_one_message() -> None:
    """Long names, every day kept, large sums: what one Kafka record must hold."""
    from embedwatch.settings import AgentSettings
    from stream_agents.app import STATE_MAX_BYTES

    cap = AgentSettings().max_scopes
    state = PartitionState(next_offset=2**40)
    for days in range(KEEP_DAYS):
        for number in range(cap):
            event = costing(2**50, model="ü" * 256, tenant=f"{number:0256d}", time_seconds=NOW - days * 86_400)
            state.book(event, UTC_ZONE, cap)
    size = len(json.dumps(state.to_record()).encode())
    assert size < STATE_MAX_BYTES, f"{size} bytes"


def test_a_late_event_is_booked_on_the_day_it_happened() -> None:
    yesterday = NOW - timedelta(days=1).total_seconds()
    state = booked(costing(1, time_seconds=yesterday), costing(10))
    assert day_totals([state], day_of(yesterday, UTC_ZONE)).cost_nano_usd == 1
