"""Which days a period has, and which hours of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.reports.build import build
from embedwatch.reports.period import MAX_YEAR, MIN_YEAR, Kind, Period, check_period, resolve
from embedwatch.reports.source import gather
from embedwatch.settings import Settings
from stream_agents.compute.days import day_bounds
from tests.harness.agents_log import batch_event
from tests.harness.reports import NoAgents, RecordsOfTopics, hour, of_events

TODAY = date(2026, 11, 26)  # a Thursday


@pytest.mark.parametrize(
    ("kind", "text", "name", "first", "last"),
    [
        ("day", "today", "2026-11-26", "2026-11-26", "2026-11-26"),
        ("day", "yesterday", "2026-11-25", "2026-11-25", "2026-11-25"),
        ("day", "2024-02-29", "2024-02-29", "2024-02-29", "2024-02-29"),
        ("week", "this-week", "2026-W48", "2026-11-23", "2026-11-29"),
        ("week", "last-week", "2026-W47", "2026-11-16", "2026-11-22"),
        ("week", "last", "2026-W47", "2026-11-16", "2026-11-22"),
        ("week", "2026-W01", "2026-W01", "2025-12-29", "2026-01-04"),
        ("week", "2026-W53", "2026-W53", "2026-12-28", "2027-01-03"),
        ("month", "this-month", "2026-11", "2026-11-01", "2026-11-30"),
        ("month", "last-month", "2026-10", "2026-10-01", "2026-10-31"),
        ("month", "this", "2026-11", "2026-11-01", "2026-11-30"),
        ("month", "2024-02", "2024-02", "2024-02-01", "2024-02-29"),
        ("month", "2028-02", "2028-02", "2028-02-01", "2028-02-29"),
        ("month", "2026-12", "2026-12", "2026-12-01", "2026-12-31"),
    ],
)
def test_a_period_is_whole_days(kind: Kind, text: str, name: str, first: str, last: str) -> None:
    found = resolve(kind, text, TODAY)
    assert (found.name, found.first.isoformat(), found.last.isoformat()) == (name, first, last)
    assert (found.days[0], found.days[-1]) == (first, last)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("day", "2026-02-29"), ("day", "tomorrow"), ("day", ""), ("day", "last-week"), ("day", "0001-01-01"),
        ("day", "9999-12-31"), ("week", "2025-W53"), ("week", "2026-W00"), ("week", "2026-47"), ("week", "W47"),
        ("month", "2026-13"), ("month", "2026-00"), ("month", "0001-01"), ("month", "9999-12"), ("month", "november"),
        ("day", "2026-13-01"), ("day", "last"), ("week", ""), ("week", "2026-11"), ("month", "2026-W47"),
        ("month", "2026-11-01"), ("month", "9999-13"),
    ],
)  # fmt: skip
def test_what_names_no_period_is_refused_with_examples(kind: Kind, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{kind}"):
        resolve(kind, text, TODAY)
    with pytest.raises(ConfigError, match=f"^--{kind}"):
        check_period(kind, text)


def test_what_is_no_period_is_answered_with_examples() -> None:
    for kind in get_args(Kind):
        with pytest.raises(ConfigError, match=f"--{kind} is .* or a"):
            check_period(kind, "tomorrow")


@given(st.dates(date(MIN_YEAR, 1, 8), date(MAX_YEAR, 12, 20)), st.sampled_from(("day", "week", "month")))
def test_periods_follow_each_other_without_gap_and_are_found_by_their_names(today: date, kind: Kind) -> None:
    this = {"day": "today", "week": "this-week", "month": "this-month"}[kind]
    period = resolve(kind, this, today)
    assert period.first <= today <= period.last
    assert (period.first - period.before.last).days == 1
    assert resolve(kind, period.name, TODAY) == period
    assert today.isoformat() in period.days
    assert len(period.days) == {"day": 1, "week": 7}.get(kind, len(period.days))


@pytest.mark.parametrize(("day", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-11-25", 24)])
def test_a_day_has_its_hours_also_where_the_clock_is_set(day: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin, end = day_bounds(day, zone)
    assert end - begin == hours * 3600
    event = batch_event(time_seconds=begin + 1800)
    records = of_events([[event]], [day], zone)
    records += [hour(begin + n * 3600, texts=100) for n in range(-1, hours + 1)]
    known, period = _gather(records, lambda _: resolve("day", day, TODAY), "Europe/Berlin", end + 86_400)
    found = build(known, period, [])
    assert found.measured is not None
    assert found.measured.texts == 100 * hours
    assert found.total.texts == 10


def test_what_day_it_is_is_said_by_the_zone() -> None:
    zone = ZoneInfo("Pacific/Auckland")
    moment = day_bounds("2026-11-26", zone)[0] + 60  # still the 25th in Europe
    records = of_events([[batch_event(time_seconds=moment - 7200)]], ["2026-11-25"], zone)
    _, period = _gather(records, lambda today: resolve("day", "yesterday", today), "Pacific/Auckland", moment)
    assert period.name == "2026-11-25"


def test_a_day_of_another_zone_is_no_day_of_this_and_is_told() -> None:
    zone = ZoneInfo("Asia/Tokyo")
    begin, end = day_bounds("2026-11-25", zone)
    records = of_events([[batch_event(time_seconds=begin + 60)]], ["2026-11-25"], zone)
    known, _ = _gather(records, lambda _: resolve("day", "2026-11-25", TODAY), "Europe/Berlin", end + 86_400)
    assert not known.days
    assert any("Asia/Tokyo" in note for note in known.notes)


def test_another_zone_than_that_of_the_agents_is_refused() -> None:
    settings = Settings.model_validate({"budget": {"timezone": "Europe/Berlin"}})
    with pytest.raises(ConfigError, match="book by days of Europe/Berlin"):
        gather(settings, NoAgents(), RecordsOfTopics({}), _never, 0.0, (), "UTC")


def test_neither_agents_nor_topic_is_an_error_that_names_both() -> None:
    with pytest.raises(ConnectionFailed, match=r"nobody answers.*no broker"):
        gather(
            Settings(), NoAgents(), RecordsOfTopics({}, broken=True), lambda today: resolve("day", "today", today),
            1.8e9, (),
        )  # fmt: skip


def _never(today: date) -> Period:
    raise AssertionError(today)


def _gather(records: Any, choose: Callable[[date], Period], timezone: str, now: float) -> Any:
    settings = Settings.model_validate({"budget": {"timezone": timezone}, "agents": {"app_id": "app"}})
    return gather(settings, NoAgents(), RecordsOfTopics({settings.topics.days: records}), choose, now, ())
