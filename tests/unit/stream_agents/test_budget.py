"""Forecast and burn rate: exact where a day repeats, never falling as spend grows, unknown where nothing is known."""

from __future__ import annotations

from itertools import accumulate
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.rules import Rule, parse_rules
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.budget import (
    FAST,
    MIN_ELAPSED_SECONDS,
    SLOW,
    Burn,
    PastDay,
    Usual,
    UsualDays,
    budgets_of,
    burn,
    forecast,
    usual_day,
    worse,
)
from stream_agents.compute.days import day_bounds, day_of, days_before
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.scopes import Scope
from stream_agents.compute.world import World
from tests.harness.agents_log import batch_event, written_and_read

UTC_ZONE, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")
HOUR = 3600.0
USD = 10**9
TODAY = "2026-07-14"  # a Tuesday


def usual(*days: list[int], length_hours: float = 24) -> Usual:
    return Usual("weekday", tuple(PastDay(length_hours * HOUR, (0, *accumulate(curve))) for curve in days))


hours = st.lists(st.integers(0, 2**40), min_size=24, max_size=24)


@given(day=hours, weeks=st.integers(1, 4), hour=st.integers(1, 24))
def test_a_day_that_repeats_its_history_comes_to_the_truth_exactly(day: list[int], weeks: int, hour: int) -> None:
    spent = sum(day[:hour])
    found = forecast(spent, hour * HOUR, 24 * HOUR, usual(*[day] * weeks))
    if spent:
        assert found.nano_usd == sum(day)
        assert found.basis == "weekday"
    else:
        assert (found.nano_usd, found.reason) == (None, "nothing was spent yet today")


@given(days=st.lists(hours, min_size=1, max_size=4), spends=st.lists(st.integers(1, 2**45), min_size=2, max_size=2),
       elapsed=st.floats(HOUR, 24 * HOUR))  # fmt: skip
def test_who_has_spent_more_by_now_is_expected_to_spend_more_and_never_less_than_now(
    days: list[list[int]], spends: list[int], elapsed: float
) -> None:
    if not any(map(any, days)):
        days = []
    less, more = (forecast(spent, elapsed, 24 * HOUR, usual(*days)).nano_usd for spent in sorted(spends))
    assert less is not None
    assert more is not None
    assert less <= more
    assert less >= min(spends)
    at_midnight = forecast(min(spends), 24 * HOUR, 24 * HOUR, usual(*days)).nano_usd
    assert at_midnight == pytest.approx(min(spends))


@pytest.mark.parametrize(
    ("spent", "hour", "expected"),
    [
        (120, 12, 240),  # as usual
        # Twice as much by noon: the second half of the day at (240 + 24) / (120 + 24) of its usual pace.
        (240, 12, 240 + 120 * 264 / 144),
        (60, 12, 60 + 120 * 84 / 144),
        (1200, 24, 1200),
    ],
)
def test_the_formula(spent: int, hour: int, expected: float) -> None:
    found = forecast(spent, hour * HOUR, 24 * HOUR, usual([10] * 24))
    assert found.nano_usd == pytest.approx(expected, rel=1e-12)


def test_a_first_cent_before_the_usual_day_begins_is_no_explosion() -> None:
    office = [0] * 8 + [100] * 8 + [0] * 8
    found = forecast(1, 2 * HOUR, 24 * HOUR, usual(office))
    assert found.nano_usd == pytest.approx(1 + 800 * 81 / 80)


@pytest.mark.parametrize("length_hours", [23, 24, 25])
def test_without_history_spend_goes_on_evenly_over_the_length_of_the_day(length_hours: int) -> None:
    found = forecast(100, 6 * HOUR, length_hours * HOUR, Usual())
    assert found.nano_usd == pytest.approx(100 * length_hours / 6)
    assert (found.basis, found.reason) == ("linear", "as if spend went on evenly: no earlier day is known")


@pytest.mark.parametrize("length_hours", [23, 25])
def test_a_short_or_long_day_is_laid_over_the_usual_ones_by_its_share(length_hours: int) -> None:
    even = usual([10] * 24)
    half = forecast(120, length_hours / 2 * HOUR, length_hours * HOUR, even)
    assert half.nano_usd == pytest.approx(240)
    assert forecast(240, length_hours * HOUR, length_hours * HOUR, even).nano_usd == 240
    after_it = forecast(120, 12 * HOUR, 24 * HOUR, usual([10] * length_hours, length_hours=length_hours))
    assert after_it.nano_usd == pytest.approx(120 + length_hours * 5 * (120 + length_hours) / (length_hours * 6))


@pytest.mark.parametrize(
    ("spent", "elapsed", "reason"),
    [
        (0, 12 * HOUR, "nothing was spent yet today"),
        (100, MIN_ELAPSED_SECONDS - 1, "the day is 59 min old, 60 are needed"),
        (100, 0, "the day is 0 min old, 60 are needed"),
        (100, -5, "the day is 0 min old, 60 are needed"),
    ],
)
def test_too_early_or_nothing_spent_is_no_forecast(spent: int, elapsed: float, reason: str) -> None:
    for history in (Usual(), usual([10] * 24)):
        found = forecast(spent, elapsed, 24 * HOUR, history)
        assert (found.nano_usd, found.usd, found.basis, found.reason) == (None, None, None, reason)


def ledger(zone: ZoneInfo, until: float, *spends: tuple[float, int], **fields: Any) -> PartitionState:
    """Booked in time, and pruned as the days go by."""
    state = PartitionState(next_offset=0)
    for at, nano_usd in sorted(spends):
        state.book(batch_event(time_seconds=at, cost_nano_usd=nano_usd, **fields), zone, 100, at)
        state.prune(at, zone)
    state.prune(until, zone)
    return state


@pytest.mark.parametrize(
    ("days_ago", "basis", "count"),
    [
        ([7], "weekday", 1),
        ([28, 21, 14, 7, 1], "weekday", 4),
        ([14, 1, 2], "weekday", 1),
        ([1, 2, 3], "last_days", 3),
        ([6, 5, 4, 3, 2, 1], "last_days", 6),
        ([8, 20], "linear", 0),
        ([35], "linear", 0),
        ([], "linear", 0),
    ],
)
def test_the_same_weekday_comes_before_the_last_days(days_ago: list[int], basis: str, count: int) -> None:
    noon = day_bounds(TODAY, UTC_ZONE)[0] + 12 * HOUR
    state = ledger(UTC_ZONE, noon, *[(noon - 86_400 * days, days) for days in days_ago])
    found = usual_day([state], TODAY, UTC_ZONE, "all")
    assert (found.basis, len(found.days)) == (basis, count)
    assert usual_day([state], TODAY, UTC_ZONE, "model=gone") == Usual()


@settings(deadline=None, max_examples=25)
@given(
    minutes=st.lists(st.integers(0, 24 * 60 - 1), min_size=1, max_size=30),
    zone=st.sampled_from([UTC_ZONE, ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Apia")]),
    hour=st.integers(1, 23),
)
def test_weeks_that_repeat_forecast_themselves_from_the_events_on(
    minutes: list[int], zone: ZoneInfo, hour: int
) -> None:
    """Through two partitions, the shrinking of days, the record and back."""
    begins = [day_bounds(days_before(TODAY, 7 * week), zone)[0] for week in range(1, 5)]
    begin = day_bounds(TODAY, zone)[0]
    now = begin + hour * HOUR
    cost = 3 * USD + 7
    states = [
        ledger(zone, now, *[(b + 60 * minute, cost) for b in [*begins, begin] for minute in part
                            if b + 60 * minute < now])
        for part in (minutes[::2], minutes[1::2])
    ]  # fmt: skip
    world = world_of(zone, *map(written_and_read, states))
    spent = world.day(TODAY).cost_nano_usd
    found = world.forecast(now)
    assert found.nano_usd == (len(minutes) * cost if spent else None)


def world_of(zone: ZoneInfo, *states: PartitionState) -> World:
    world = World(zone=zone, max_scopes=100, lag_group="g", lag_topic="t")
    world.partitions = dict(enumerate(states))
    return world


def test_the_usual_day_is_looked_up_again_after_a_while_a_rebalance_or_midnight() -> None:
    noon = day_bounds(TODAY, UTC_ZONE)[0] + 12 * HOUR
    one, two = (ledger(UTC_ZONE, noon, (noon - 7 * 86_400, cost)) for cost in (100, 300))
    known = UsualDays()

    def whole(partitions: dict[int, PartitionState], now: float) -> float:
        return known.of(partitions, UTC_ZONE, "all", now).whole_nano_usd()

    assert whole({0: one}, noon) == 100
    one.book(batch_event(time_seconds=noon - 7 * 86_400, cost_nano_usd=11), UTC_ZONE, 100, noon)
    one.prune(noon, UTC_ZONE)
    assert whole({0: one}, noon + 59) == 100
    assert whole({0: one}, noon + 60) == 111
    assert whole({0: one, 1: two}, noon + 61) == 411
    assert known.of({0: one, 1: two}, UTC_ZONE, "all", noon + 13 * HOUR).basis == "linear"
    # A day that was not there before is seen at once.
    two.book(batch_event(time_seconds=noon - 86_400, cost_nano_usd=9), UTC_ZONE, 100, noon)
    assert known.of({0: one, 1: two}, UTC_ZONE, "all", noon + 13 * HOUR + 1).basis == "last_days"


def test_burn_is_by_panes_where_they_reach_and_by_buckets_where_they_do_not() -> None:
    now = day_bounds(TODAY, UTC_ZONE)[0] + 12.125 * HOUR  # half of a bucket has passed
    spends = [(now - 60, 8), (now - 600, 20), (now - 800, 40), (now - 5000, 100), (now - 7190, 1000)]
    state = ledger(UTC_ZONE, now, *spends)
    fast, slow = burn([state], "all", UTC_ZONE, now, panes_nano_usd=68)
    assert fast == Burn(FAST, 68)
    assert slow == Burn(SLOW, 168 + 500)  # the bucket in which the two hours began counts by half
    rough, same = burn([state], "all", UTC_ZONE, now)
    assert (rough.nano_usd, same) == (8 + 60 / 2, slow)
    assert rough.note.startswith("by the day's 15-minute buckets")
    # Panes that hold less than the bucket that runs have missed something.
    assert burn([state], "all", UTC_ZONE, now, panes_nano_usd=7)[0] == rough
    assert burn([state], "tenant=x", UTC_ZONE, now, panes_nano_usd=0)[0].nano_usd == 0


def test_spend_without_a_time_of_day_is_said_to_be_left_out() -> None:
    now = day_bounds(TODAY, UTC_ZONE)[0] + 12 * HOUR
    state = ledger(UTC_ZONE, now, (now - 60, 8))
    assert [one.note for one in burn([state], "all", UTC_ZONE, now, panes_nano_usd=8)] == ["", ""]
    state.days[TODAY]["all"].cost_nano_usd += 500  # as a record of version 1 has it
    fast, slow = burn([state], "all", UTC_ZONE, now)
    assert "left out" in slow.note
    assert slow.note in fast.note
    assert burn([state], "all", UTC_ZONE, now, panes_nano_usd=8)[0] == Burn(FAST, 8)


def test_yesterdays_spend_burns_nothing_of_todays_budget() -> None:
    midnight = day_bounds(TODAY, UTC_ZONE)[0]
    state = ledger(UTC_ZONE, midnight + 60, (midnight - 60, 100), (midnight + 30, 3))
    assert [one.nano_usd for one in burn([state], "all", UTC_ZONE, midnight + 60)] == [3, 3]
    world = world_of(UTC_ZONE, state)
    world.started_seconds = midnight - 10_000
    for at, cost in ((midnight - 60, 100), (midnight + 30, 3)):
        world.apply_batch(batch_event(time_seconds=at, cost_nano_usd=cost), midnight + 60)
    assert world.burn(midnight + 60)[0] == Burn(FAST, 3)


@pytest.mark.parametrize(
    ("started_ago", "by_panes"), [(None, False), (60, False), (899, False), (900, True), (10_000, True)]
)
def test_panes_are_asked_only_when_the_agents_have_watched_for_the_whole_window(
    started_ago: float | None, by_panes: bool
) -> None:
    now = day_bounds(TODAY, UTC_ZONE)[0] + 12.125 * HOUR
    world = world_of(UTC_ZONE, ledger(UTC_ZONE, now, (now - 600, 20)))
    world.started_seconds = None if started_ago is None else now - started_ago
    world.apply_batch(batch_event(time_seconds=now - 600, cost_nano_usd=20), now)
    fast, _ = world.burn(now)
    assert (fast.nano_usd, bool(fast.note)) == ((20, False) if by_panes else (10, True))


def test_the_worse_window_is_the_one_nearer_to_its_limit() -> None:
    assert worse([Burn(FAST, 100), Burn(SLOW, 249)]).window is FAST
    assert worse([Burn(FAST, 100), Burn(SLOW, 251)]).window is SLOW
    assert Burn(FAST, 15 * USD).pct_of(100) == 15
    assert Burn(FAST, 15 * USD).pct_of(0) is None


def rules(text: str) -> tuple[Rule, ...]:
    return parse_rules(YamlFile("rules.yaml", text))


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ((), ["all"]),
        ((("model", "a"),), ["each"]),
        ((("tenant", "x"),), ["x"]),
        ((("tenant", "y"),), []),
        ((("model", "a"), ("tenant", "x")), ["both", "x-each"]),
        ((("model", "a"), ("tenant", "y")), ["both"]),
        ((("scope", "other"),), []),
    ],
)
def test_the_budgets_of_a_scope_are_those_of_the_rules_that_judge_it(scope: Scope, names: list[str]) -> None:
    text = """
rules:
  - {name: all, metric: daily_cost_usd, threshold: 1}
  - {name: each, metric: daily_cost_usd, threshold: 1, by: model}
  - {name: x, metric: daily_cost_usd, threshold: 1, scope: {tenant: x}}
  - {name: both, metric: daily_cost_usd, threshold: 1, by: [model, tenant]}
  - {name: x-each, metric: daily_cost_usd, threshold: 1, by: [model], scope: {tenant: x}}
  - {name: f, metric: daily_forecast_usd, threshold: 1}
"""
    assert [rule.name for rule in budgets_of(rules(text), scope)] == names


def test_a_day_of_the_clock_change_is_as_long_as_it_is() -> None:
    for day, length in (("2026-03-08", 23), ("2026-11-01", 25)):
        begin, end = day_bounds(day, NEW_YORK)
        at = begin + 10 * HOUR
        world = world_of(NEW_YORK, ledger(NEW_YORK, at, (begin + HOUR, 10 * USD)))
        assert (end - begin) / HOUR == length
        assert day_of(at, NEW_YORK) == day
        assert world.forecast(at).usd == pytest.approx(length)
