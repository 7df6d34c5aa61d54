"""Once on each local day, on those of 23 and 25 hours too."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.digest_time import DAY_SECONDS, Schedule
from embedwatch.errors import ConfigError
from embedwatch.settings import load

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def moments(schedule: Schedule, begin: float, days: int) -> list[float]:
    """As the service would find them, looking every ten minutes."""
    found, since = [], begin
    for step in range(days * 144):
        now = begin + step * 600.0
        if schedule.due(since, now):
            found.append(now)
            since = now
    return found


@pytest.mark.parametrize("wall", [time(0), time(2, 30), time(3), time(9), time(23, 50)])
@pytest.mark.parametrize("change", [date(2026, 3, 29), date(2026, 10, 25)])
def test_a_day_of_23_or_25_hours_has_one_digest(wall: time, change: date) -> None:
    begin = datetime.combine(change - timedelta(days=2), time(12, 0, 1), BERLIN).timestamp()
    found = moments(Schedule(wall, BERLIN), begin, 5)
    days = [datetime.fromtimestamp(moment, BERLIN).date() for moment in found]
    assert len(found) == 5
    assert days == sorted(set(days))
    for moment in found:
        local = datetime.fromtimestamp(moment, BERLIN)
        left_out = wall == time(2, 30) and local.date() == date(2026, 3, 29)
        assert (local.hour, local.minute) == ((3, 30) if left_out else (wall.hour, wall.minute))


def test_between_digests_lie_23_and_25_hours_when_the_clocks_change() -> None:
    nine = Schedule(time(9), BERLIN)
    spring, autumn = nine.latest(at("2026-03-29T12:00")), nine.latest(at("2026-10-25T12:00"))
    assert (spring, autumn) == (at("2026-03-29T09:00"), at("2026-10-25T09:00"))
    assert spring is not None
    assert autumn is not None
    assert spring - at("2026-03-28T09:00") == 23 * 3600
    assert autumn - at("2026-10-24T09:00") == 25 * 3600


def test_many_days_away_are_one_digest_and_none_comes_before_its_time() -> None:
    nine, since = Schedule(time(9), BERLIN), at("2026-03-01T09:00")
    assert not nine.due(since, at("2026-03-02T08:59:59"))
    assert nine.due(since, at("2026-03-02T09:00"))
    assert nine.due(since, at("2026-03-09T17:00"))
    assert not nine.due(at("2026-03-09T17:00"), at("2026-03-10T08:59:59"))


def test_a_clock_that_stepped_back_makes_no_second_one_and_one_that_was_wrong_holds_up_none() -> None:
    nine, since = Schedule(time(9), BERLIN), at("2026-03-02T09:00:01")
    assert not nine.due(since, at("2026-03-02T08:00"))
    assert not nine.due(since, at("2026-03-02T09:00:02"))
    assert nine.due(at("2031-01-01T00:00"), at("2026-03-02T08:00"))


@given(
    now=st.floats(0, 4e9),
    wall=st.times(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia"]),
)
def test_the_latest_moment_is_past_and_no_older_than_the_longest_day(now: float, wall: time, zone: str) -> None:
    schedule = Schedule(wall.replace(microsecond=0), ZoneInfo(zone))
    moment = schedule.latest(now)
    assert moment is not None
    assert now - 2 * DAY_SECONDS - 2 * 3600 < moment <= now  # Apia left out a whole day
    assert schedule.latest(moment) == moment


@pytest.mark.parametrize("now", [float("nan"), float("inf"), -1e18, 1e18])
def test_a_clock_beyond_all_calendars_makes_none(now: float) -> None:
    assert Schedule(time(9), UTC).latest(now) is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("9:30", "09:30"), ("09:30:00", "09:30"), ("00:00", "00:00"), ("23:59:58", "23:59:58"),
        ("off", None), ("None", None), (" ", None),
        # As YAML reads 10:30, 10:30:15 and `off` without quotes.
        (630, "10:30"), (37815, "10:30:15"), (False, None),
    ],
)  # fmt: skip
def test_the_time_of_the_digest_is_taken_as_it_is_meant(given: object, meant: str | None) -> None:
    assert load(None, {"alerts.digest_at": given}, {}).alerts.digest_at == meant


@pytest.mark.parametrize("given", ["9", "24:00", "12:60", "09:00 CET", "noon", 1.5, True, -30])
def test_what_is_no_time_of_day_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="digest_at"):
        load(None, {"alerts.digest_at": given}, {})
