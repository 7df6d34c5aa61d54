"""When a silence holds, over changes of the clock too, and which alerts it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.events import Silence
from embedwatch.silences import KEEP_SECONDS, forgettable, is_over, labels, matches, mistake, next_start, quiet_until
from tests.harness.verdicts import verdict

BERLIN = ZoneInfo("Europe/Berlin")


def silence(**more: Any) -> Silence:
    fields: dict[str, Any] = {
        "silence_id": "s1",
        "created_seconds": 0.0,
        "by": "ada",
        "match": {},
        "starts_seconds": 100.0,
        "ends_seconds": 200.0,
    }
    return Silence(**(fields | more))


def weekly(at: str, hours: float, *weekdays: int, zone: str = "Europe/Berlin", **more: Any) -> Silence:
    return silence(
        starts_seconds=0.0, ends_seconds=None, weekdays=weekdays, at=at, for_seconds=hours * 3600, timezone=zone, **more
    )


def berlin(*parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=BERLIN, fold=fold).timestamp()  # type: ignore[misc,arg-type]


def test_it_holds_from_its_start_up_to_its_end() -> None:
    found = silence()
    assert [quiet_until(found, at) for at in (99.9, 100.0, 199.9, 200.0)] == [None, 200.0, 200.0, None]
    assert [next_start(found, at) for at in (0.0, 100.0, 200.0)] == [100.0, None, None]
    assert [is_over(found, at) for at in (0.0, 150.0, 200.0)] == [False, False, True]


def test_it_comes_again_each_week() -> None:
    nights = weekly("02:00", 2.0, 6)  # Sundays
    assert quiet_until(nights, berlin(2026, 11, 22, 1, 59)) is None
    assert quiet_until(nights, berlin(2026, 11, 22, 2, 0)) == berlin(2026, 11, 22, 4, 0)
    assert quiet_until(nights, berlin(2026, 11, 22, 4, 0)) is None
    assert quiet_until(nights, berlin(2026, 11, 23, 2, 30)) is None
    assert next_start(nights, berlin(2026, 11, 22, 4, 0)) == berlin(2026, 11, 29, 2, 0)
    assert not is_over(nights, berlin(2030, 1, 1))


def test_a_stretch_runs_over_midnight() -> None:
    late = weekly("22:00", 4.0, 4)  # Fridays
    assert quiet_until(late, berlin(2026, 11, 28, 1, 59)) == berlin(2026, 11, 28, 2, 0)
    assert quiet_until(late, berlin(2026, 11, 28, 2, 0)) is None


def test_the_wall_clock_says_when_it_begins_in_summer_and_in_winter() -> None:
    nights = weekly("02:00", 1.0, *range(7))
    assert next_start(nights, berlin(2026, 7, 1, 12)) == datetime(2026, 7, 2, 0, 0, tzinfo=UTC).timestamp()
    assert next_start(nights, berlin(2026, 12, 1, 12)) == datetime(2026, 12, 2, 1, 0, tzinfo=UTC).timestamp()


def test_clocks_go_forward_over_its_beginning() -> None:
    """On 2026-03-29 there is no 02:30 in Berlin: after 01:59 it is 03:00."""
    nights = weekly("02:30", 2.0, 6)
    start = berlin(2026, 3, 29, 3, 30)
    assert next_start(nights, berlin(2026, 3, 29, 1, 0)) == start
    assert quiet_until(nights, start) == start + 7200


def test_clocks_show_its_beginning_twice() -> None:
    """On 2026-10-25 it is 02:30 in Berlin twice: it begins once, the first time, and lasts as long as ever."""
    nights = weekly("02:30", 2.0, 6)
    first = berlin(2026, 10, 25, 2, 30, fold=0)
    assert quiet_until(nights, first - 1) is None
    assert quiet_until(nights, first) == first + 7200
    assert quiet_until(nights, berlin(2026, 10, 25, 2, 30, fold=1)) == first + 7200
    assert quiet_until(nights, first + 7200) is None


def test_a_weekly_one_keeps_within_its_own_start_and_end() -> None:
    start, end = berlin(2026, 11, 23, 3, 0), berlin(2026, 11, 25, 3, 0)
    found = weekly("02:00", 2.0, *range(7), zone="Europe/Berlin")
    found = Silence(**{f: getattr(found, f) for f in found.__struct_fields__} | {"starts_seconds": start})
    assert quiet_until(found, berlin(2026, 11, 23, 2, 30)) is None
    assert next_start(found, berlin(2026, 11, 23, 2, 30)) == start
    found = Silence(**{f: getattr(found, f) for f in found.__struct_fields__} | {"ends_seconds": end})
    assert quiet_until(found, berlin(2026, 11, 25, 2, 30)) == end
    assert quiet_until(found, end) is None
    assert is_over(found, end)


@given(
    st.integers(0, 23),
    st.sets(st.integers(0, 6), min_size=1),
    st.floats(0.25, 24.0),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 366 * 24 * 4),
)
def test_it_holds_exactly_after_a_beginning_on_the_wall(
    hour: int, days: set[int], hours: float, zone: str, quarter: int
) -> None:
    """Against the slow way: every quarter of an hour of the days before, is it a beginning on the clock there?"""
    found = weekly(f"{hour:02}:00", hours, *sorted(days), zone=zone)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)
    ends = []
    for back in range(int(hours * 4) + 8):
        moment = now - timedelta(minutes=15 * back)
        local = moment.astimezone(ZoneInfo(zone))
        if local.weekday() in days and (local.hour, local.minute, local.fold) == (hour, 0, 0):
            ends.append(moment.timestamp() + hours * 3600)
    skipped = any(  # a beginning that the clock leaps over is tested by itself
        (now - timedelta(hours=h)).astimezone(ZoneInfo(zone)).utcoffset() != now.astimezone(ZoneInfo(zone)).utcoffset()
        for h in range(int(hours) + 30)
    )
    if not skipped:
        latest = max(ends, default=0.0)
        assert quiet_until(found, now.timestamp()) == (latest if latest > now.timestamp() else None)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_clock_is_so_bad_that_it_raises(now: float) -> None:
    found = weekly("02:00", 2.0, *range(7))
    quiet_until(found, now)
    next_start(found, now)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"alert_type": "HIGH_LATENCY"}, True),
        ({"alert_type": "HIGH_*"}, True),
        ({"alert_type": "high_*"}, False),
        ({"severity": "critical", "model": "mini*"}, True),
        ({"severity": "critical", "model": "large*"}, False),
        ({"model": "[ml]inilm"}, True),
        ({"tenant": "*"}, False),
        ({"rule": "latency_p95_m?"}, True),
    ],
)
def test_every_pattern_has_to_fit(match: dict[str, str], expected: bool) -> None:
    assert matches(silence(match=match), labels(verdict())) is expected


def test_a_scope_cannot_pass_for_a_severity() -> None:
    assert labels(verdict(scope={"severity": "info"}))["severity"] == "critical"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"match": {"modell": "x"}}, "no label 'modell'"),
        ({"ends_seconds": 99.0}, "ends before it begins"),
        ({"ends_seconds": None}, "no end"),
        ({"weekdays": (1,), "for_seconds": 60.0}, "time of day"),
        ({"weekdays": (1,), "at": "02:00"}, "length"),
        ({"weekdays": (1,), "at": "02:00", "for_seconds": 8 * 86_400.0}, "7 days"),
        ({"weekdays": (1,), "at": "02:00", "for_seconds": 60.0, "timezone": "Mars/Base"}, "no time zone"),
        ({"weekdays": (1,), "at": "02:00", "for_seconds": 60.0, "timezone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_what_cannot_be_obeyed_is_named(more: dict[str, Any], words: str) -> None:
    found = mistake(silence(**more))
    assert found is not None
    assert words in found
    assert quiet_until(silence(**more), 99.5) is None


def test_what_has_been_over_for_a_week_may_be_forgotten() -> None:
    found = silence()
    assert [forgettable(found, 200.0 + KEEP_SECONDS + more) for more in (-0.1, 0.0, 1e6)] == [False, True, True]
    assert not forgettable(weekly("02:00", 2.0, 6), 1e12)  # it comes again for ever


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(-1e9, 3e9), st.booleans())
def test_what_is_forgotten_never_holds_again(starts: float, lasts: float, now: float, weekly_too: bool) -> None:
    days: dict[str, Any] = {"weekdays": (0, 6), "at": "23:00", "for_seconds": 7200.0} if weekly_too else {}
    found = silence(starts_seconds=starts, ends_seconds=starts + lasts, **days)
    assert not forgettable(found, now) or is_over(found, now)
