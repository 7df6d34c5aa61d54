"""Which days a name stands for."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ConfigError
from embedwatch.reports.period import check_period, resolve

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
        ("week", "2026-W53", "2026-W53", "2026-12-28", "2027-01-03"),
        ("month", "this-month", "2026-11", "2026-11-01", "2026-11-30"),
        ("month", "last-month", "2026-10", "2026-10-01", "2026-10-31"),
        ("month", "this", "2026-11", "2026-11-01", "2026-11-30"),
        ("month", "2024-02", "2024-02", "2024-02-01", "2024-02-29"),
    ],
)
def test_a_period_by_its_name(kind: Any, text: str, name: str, first: str, last: str) -> None:
    found = resolve(kind, text, TODAY)
    assert (found.name, found.days[0], found.days[-1]) == (name, first, last)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("day", ""), ("day", "tomorrow"), ("day", "2026-13-01"), ("day", "last"), ("week", "2025-W53"), ("week", ""),
        ("week", "2026-11"), ("week", "W47"), ("month", "2026-W47"), ("month", "2026-00"), ("month", "2026-11-01"),
        ("month", "9999-13"),
    ],
)  # fmt: skip
def test_what_names_no_period_is_refused_with_what_would(kind: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=f"--{kind} is .* or a"):
        check_period(kind, text)


@given(st.sampled_from(["day", "week", "month"]), st.dates(date(1971, 2, 1), date(2200, 1, 1)))
def test_periods_of_a_kind_stand_side_by_side(kind: Any, day: date) -> None:
    name = {"day": "today", "week": "this-week", "month": "this-month"}[kind]
    found = resolve(kind, name, day)
    assert day.isoformat() in found.days
    assert found.before.last + timedelta(days=1) == found.first
    assert resolve(kind, found.name, TODAY) == found
    assert len(found.days) == {"day": 1, "week": 7}.get(kind, len(found.days))
