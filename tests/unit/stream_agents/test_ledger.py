"""The ledger: integers, days of a zone, and a record that comes back as it went."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent
from embedwatch.settings import AgentSettings
from stream_agents.compute.curve import unpacked
from stream_agents.compute.history import HISTORY_DAYS, HISTORY_SCOPES
from stream_agents.compute.ledger import (
    KEEP_DAYS,
    STATE_VERSION,
    BookedDay,
    DayTotals,
    PartitionState,
    check_bookable,
    day_bounds,
    day_of,
    day_scopes,
    day_totals,
    days_before,
    last_correction_seconds,
    past_curves,
)
from tests.harness.agents_log import NOW, batch_event, written_and_read

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


def day_curve(states: list[PartitionState], day: str) -> tuple[list[int], int]:
    """Spend over time of a day, summed over partitions that keep it alike, and the seconds of a bucket."""
    found = [state.days[day]["all"] for state in states if day in state.days]
    (seconds,) = {booked.bucket_seconds for booked in found}
    curves = [booked.spend_nano_usd for booked in found]
    return [sum(spent) for spent in zip_longest(*curves, fillvalue=0)], seconds


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
    totals = BookedDay()
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


def test_as_many_scopes_as_there_may_be_have_their_names_and_one_more_is_other() -> None:
    most = AgentSettings().max_scopes
    events = [costing(1, model=f"m{number}") for number in range(most - 1)]  # and `all`
    (day,) = booked(*events, max_scopes=most).days.values()
    assert (len(day), "scope=other" in day) == (most, False)
    (above,) = booked(*events, costing(100, model="one more"), costing(1, model="m0"), max_scopes=most).days.values()
    assert above.keys() == day.keys() | {"scope=other"}
    assert [above[scope].cost_nano_usd for scope in ("scope=other", "model=m0", "all")] == [100, 2, most + 100]


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
    again = written_and_read(state)
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
        (
            {"v": STATE_VERSION + 1, "next_offset": 1},
            f"of version {STATE_VERSION + 1}; this agent knows {STATE_VERSION}",
        ),
        ({"next_offset": 1}, "state of version None"),
        ({"v": STATE_VERSION}, "not a state record: .*next_offset"),
        ({"v": STATE_VERSION, "next_offset": "1"}, "not a state record"),
        ({"v": STATE_VERSION, "next_offset": 1, "days": {"d": {"all": {"texts": 1.5}}}}, "not a state record"),
        ({"v": STATE_VERSION, "next_offset": -1}, "not a state record: next_offset is -1"),
        ({"v": STATE_VERSION, "next_offset": 1, "days": {"soon": {}}}, "not a state record: .*soon"),
        ({"v": STATE_VERSION, "next_offset": 1, "days": {"20270115": {}}}, "not a day as this agent writes it"),
        ({"v": STATE_VERSION, "next_offset": 1, "days": {"2027-01-15": {"nonsense": {}}}}, "not a scope"),
        (
            {"v": STATE_VERSION, "next_offset": 1, "days": {"2027-01-15": {"all": {"bucket_seconds": 0}}}},
            "not a state record: bucket_seconds is 0",
        ),
    ],
)
def test_a_record_that_is_no_state_is_refused_rather_than_counted_on(record: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PartitionState.from_record(record)


def test_the_state_at_the_default_cap_of_scopes_fits_in_one_message() -> None:
    """Long names, every day kept, large sums: what one Kafka record must hold."""
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


NEW_YORK, KOLKATA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize(
    ("zone", "day", "buckets"),
    [
        (UTC_ZONE, "2026-03-08", 96),
        (KOLKATA, "2026-03-08", 96),  # half an hour off the hours of UTC
        (NEW_YORK, "2026-03-08", 92),
        (NEW_YORK, "2026-11-01", 100),
        (NEW_YORK, "2026-07-04", 96),
        (APIA, "2011-12-29", 96),
        (APIA, "2011-12-31", 96),  # the day between the two never was
        (APIA, "2026-01-01", 96),
        (ZoneInfo("Australia/Lord_Howe"), "2026-04-05", 98),
        (ZoneInfo("America/Havana"), "2026-03-08", 92),  # begins at one o'clock: there was no midnight
    ],
)
def test_around_midnight_every_second_is_in_its_quarter_of_its_day(zone: ZoneInfo, day: str, buckets: int) -> None:
    """One event at the first and at the last moment of every quarter, and one on each side of the day."""
    begin, end = day_bounds(day, zone)
    assert (end - begin) / 900 == buckets
    times = [begin - 0.001, *(begin + 900 * n + within for n in range(buckets) for within in (0, 899.999)), end]
    state = booked(*[costing(10**6 + n, time_seconds=at) for n, at in enumerate(times)], zone=zone)
    inside = [2 * 10**6 + (1 + 2 * n) + (2 + 2 * n) for n in range(buckets)]
    assert day_curve([state], day) == (inside, 900)
    assert day_totals([state], day).cost_nano_usd == sum(inside)
    before, after = day_of(begin - 0.001, zone), day_of(end, zone)
    assert before < day < after
    assert [day_totals([state], other).cost_nano_usd for other in (before, after)] == [10**6, 10**6 + len(times) - 1]
    assert day_curve([state], before)[0][-1] == 10**6
    assert day_curve([state], after)[0] == [10**6 + len(times) - 1]
    state.prune(end, zone)
    hours, seconds = day_curve([state], day)
    assert (seconds, len(hours), sum(hours)) == (3600, -(-buckets // 4), sum(inside))


bookings = st.lists(
    st.tuples(
        st.integers(-6 * 86_400, 7200), st.integers(0, 2**60), st.sampled_from("ab"), st.sampled_from([None, "t", "u"])
    ),
    max_size=60,
)


@settings(deadline=None)
@given(
    bookings=bookings,
    zone=st.sampled_from([UTC_ZONE, BERLIN, APIA, KOLKATA]),
    prune_every=st.integers(1, 20),
    max_scopes=st.integers(1, 8),
)
def test_the_curve_of_a_day_adds_up_to_its_cost_whatever_comes_when(
    bookings: list[tuple[int, int, str, str | None]], zone: ZoneInfo, prune_every: int, max_scopes: int
) -> None:
    states = [PartitionState(next_offset=0) for _ in range(2)]
    spent: dict[str, int] = {}
    for number, (seconds, cost, model, tenant) in enumerate(bookings):
        event = costing(cost, time_seconds=NOW + seconds, model=model, tenant=tenant)
        states[number % 2].book(event, zone, max_scopes, NOW)
        day = day_of(NOW + seconds, zone)
        spent[day] = spent.get(day, 0) + cost
        if number % prune_every == 0:
            for state in states:
                state.prune(NOW, zone)
    for state in states:
        state.prune(NOW, zone)
        for scopes in state.days.values():
            for totals in scopes.values():
                assert sum(totals.spend_nano_usd) == totals.cost_nano_usd
    kept = sorted({day for state in states for day in state.days})
    for day, cost in spent.items():
        if day in kept:
            assert sum(day_curve(states, day)[0]) == day_totals(states, day).cost_nano_usd == cost
        else:
            # Also what came for such a day when it was forgotten already, and in any order.
            assert sum(past_curves(states, [day]).get(day, [])) == cost


def test_an_event_for_a_day_that_is_over_is_booked_on_it_and_counted_as_its_correction() -> None:
    midnight = moment(BERLIN, 2026, 7, 14)
    yesterday = {"time_seconds": midnight - 1, "tenant": "t"}
    state = PartitionState(next_offset=0)
    state.book(costing(5, **yesterday), BERLIN, 100, midnight - 0.5)
    assert last_correction_seconds([state], "2026-07-13") is None
    state.book(costing(7, **yesterday), BERLIN, 100, midnight)
    state.book(costing(1, time_seconds=midnight), BERLIN, 100, midnight)
    other = PartitionState(next_offset=0)
    other.book(costing(0, time_seconds=midnight - 1), BERLIN, 100, midnight + 60)
    totals = day_totals([state, other], "2026-07-13")
    assert (totals.cost_nano_usd, totals.late_events, totals.late_texts, totals.late_cost_nano_usd) == (12, 2, 20, 7)
    assert last_correction_seconds([state, other], "2026-07-13") == midnight + 60
    assert day_totals([state], "2026-07-14").late_events == 0


def test_a_correction_of_a_day_that_was_shrunk_to_hours_goes_into_its_hour() -> None:
    midnight = moment(BERLIN, 2026, 7, 14)
    state = booked(costing(5, time_seconds=midnight - 10), zone=BERLIN)
    state.prune(midnight + 1, BERLIN)
    state.book(costing(7, time_seconds=midnight - 3 * 3600), BERLIN, 100, midnight + 2)
    hours, seconds = day_curve([state], "2026-07-13")
    assert (seconds, len(hours), hours[21], hours[23], sum(hours)) == (3600, 24, 7, 5, 12)


def test_an_event_for_a_day_no_longer_kept_is_counted_and_told() -> None:
    state = PartitionState(next_offset=0)
    state.book(costing(7, time_seconds=NOW - 5 * 86_400), UTC_ZONE, 100, NOW)
    state.prune(NOW, UTC_ZONE)
    assert (state.old_events, state.old_cost_nano_usd, state.days) == (1, 7, {})
    day = day_of(NOW - 5 * 86_400, UTC_ZONE)
    assert past_curves([state], [day])[day][8] == 7, "NOW is eight o'clock"


def test_the_history_is_four_weeks_of_all_and_the_largest_scopes() -> None:
    state = PartitionState(next_offset=0)
    for days in range(HISTORY_DAYS + 5, -1, -1):
        for number in range(HISTORY_SCOPES):
            event = costing(number, model=f"m{number}", time_seconds=NOW - days * 86_400)
            state.book(event, UTC_ZONE, 10_000, NOW - days * 86_400)
        state.prune(NOW - days * 86_400, UTC_ZONE)
    assert len(state.history.spend) == HISTORY_SCOPES
    assert "all" in state.history.spend
    assert "model=m99" in state.history.spend
    # Nothing was spent on m0, and it takes no room; the smallest that was makes room for `all`.
    assert {"model=m0"} == {f"model=m{n}" for n in range(HISTORY_SCOPES)} - set(state.history.spend)
    oldest, today = day_of(NOW - HISTORY_DAYS * 86_400, UTC_ZONE), day_of(NOW, UTC_ZONE)
    assert sorted(state.history.spend["all"]) == [
        days_before(today, count) for count in range(HISTORY_DAYS, KEEP_DAYS - 1, -1)
    ]  # fmt: skip
    assert sorted(state.history.spend["all"])[0] == oldest
    assert unpacked(state.history.spend["model=m7"][oldest]) == [0] * 8 + [7]


def test_a_small_scope_makes_room_for_a_large_one() -> None:
    state = PartitionState(next_offset=0)
    for number in range(HISTORY_SCOPES + 10):
        state.book(costing(1 + number, model=f"m{number}", time_seconds=NOW - 9 * 86_400), UTC_ZONE, 10_000)
    state.prune(NOW, UTC_ZONE)
    assert set(state.history.spend) == {"all", *(f"model=m{n}" for n in range(11, HISTORY_SCOPES + 10))}


def test_the_record_of_version_1_is_read_and_no_sum_is_lost() -> None:
    """The file was written by the agents of version 1. Its days have sums and nothing else."""
    record = json.loads((Path(__file__).parent / "state_v1.json").read_text())
    assert record["v"] == 1
    before = json.dumps(record)
    state = PartitionState.from_record(record)
    assert json.dumps(record) == before, "the table's own record is not touched"
    assert (state.v, state.next_offset, state.events, state.accepted_gaps) == (STATE_VERSION, 123457, 12, 3)
    assert state.rejected == {"invalid": 2}
    for day, scopes in record["days"].items():
        assert day_scopes([state], day) == set(scopes)
        for scope, sums in scopes.items():
            totals = day_totals([state], day, scope)
            assert {name: getattr(totals, name) for name in sums} == sums
            assert state.days[day][scope].untimed_nano_usd == sums["cost_nano_usd"]
            assert (totals.late_events, totals.gpu_hour_nano_usd) == (0, 0)
    today = max(record["days"])
    cost = record["days"][today]["all"]["cost_nano_usd"]
    state.book(costing(5), BERLIN, 100, NOW)
    assert day_totals([state], today).cost_nano_usd == cost + 5
    assert (sum(day_curve([state], today)[0]), state.days[today]["all"].untimed_nano_usd) == (5, cost)
    again = written_and_read(state)
    assert again == state
    # Nobody knows when it was spent, so no forecast may take it for a usual day.
    assert past_curves([state], list(record["days"])) == {}
    state.prune(NOW + 5 * 86_400, BERLIN)
    assert set(state.history.spend) == {"model=m"}, "which the old agents had not booked that day"


@pytest.mark.parametrize("zone", [UTC_ZONE, APIA, NEW_YORK])
@pytest.mark.parametrize("date", [(1, 1, 1), (9999, 12, 31)])
def test_a_time_at_the_end_of_the_calendar_is_refused_or_can_be_booked(
    date: tuple[int, int, int], zone: ZoneInfo
) -> None:
    """The next midnight, or the zone's offset, may lie in no year. Half a booking would be worse than none."""
    event = costing(1, time_seconds=datetime(*date, 12, tzinfo=UTC_ZONE).timestamp())
    try:
        check_bookable(event, zone, event.time_seconds)
    except InvalidEvent:
        return
    assert booked(event, zone=zone).events == 1
