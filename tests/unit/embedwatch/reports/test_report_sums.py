"""Rows add up to the total to the nano-USD, as numbers and as they are printed."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from embedwatch.reports.build import Known, build
from embedwatch.reports.delimited import as_csv
from embedwatch.reports.model import Report, Row
from embedwatch.reports.period import resolve
from embedwatch.reports.sections import sections
from embedwatch.scopes import parse_scope
from stream_agents.compute.days import day_bounds
from tests.harness.agents_log import batch_event
from tests.harness.reports import of_events, taken

ZONE = ZoneInfo("Europe/Berlin")
WEEK = resolve("week", "2026-W47", date(2026, 11, 26))
COUNTS = (
    "texts", "errors", "cache_hits", "duplicates", "misses", "tokens_received", "tokens_embedded", "tokens_saved",
    "unpriced_tokens", "unpriced_saved_tokens", "late_cost_nano_usd",
)  # fmt: skip
event_fields = st.fixed_dictionaries({
    "day": st.sampled_from(WEEK.days),
    "model": st.sampled_from(("a", "b", "c/d", "=e")),
    "tenant": st.sampled_from((None, None, "x", "y", "z,=%")),
    "cost": st.integers(0, 3 * 10**9),
    "saved": st.integers(0, 10**9),
    "unpriced": st.booleans(),
})  # fmt: skip
BYS = ([], ["model"], ["tenant"], ["day"], ["model", "tenant"], ["tenant", "model"], ["day", "tenant", "model"])


def known_of(rows: list[dict[str, Any]], max_scopes: int, max_bytes: int) -> Known:
    parts: list[list[Any]] = [[], []]
    for number, row in enumerate(rows):
        priced = not row["unpriced"]
        parts[number % 2].append(
            batch_event(
                number, time_seconds=day_bounds(row["day"], ZONE)[0] + 3600, model=row["model"], tenant=row["tenant"],
                cost_nano_usd=row["cost"] if priced else 0, saved_nano_usd=row["saved"] if priced else 0,
                price_source="override" if priced else "unknown",
            )
        )  # fmt: skip
    records = of_events(parts, WEEK.days, ZONE, max_scopes, max_bytes)
    days = taken(records, WEEK.days, ZONE.key).closed_days()
    return Known(timezone=ZONE.key, today="2026-12-01", now=day_bounds("2026-12-01", ZONE)[0], days=days)


def summed(rows: list[Row], name: str) -> int:
    return sum(getattr(row, name) or 0 for row in rows)


@given(
    rows=st.lists(event_fields, min_size=1, max_size=14), by=st.sampled_from(BYS), max_scopes=st.integers(1, 14),
    max_bytes=st.sampled_from((1200, 200_000)),
    scope=st.sampled_from(("all", "model=a", "tenant=x", "model=a,tenant=x")),
)  # fmt: skip
def test_rows_and_days_add_up_to_the_total(
    rows: list[dict[str, Any]], by: list[str], max_scopes: int, max_bytes: int, scope: str
) -> None:
    report = build(known_of(rows, max_scopes, max_bytes), WEEK, by, parse_scope(scope))
    for name in (*COUNTS, "cost_nano_usd", "saved_nano_usd"):
        total = getattr(report.total, name) or 0
        assert summed(report.groups, name) == total, name
        assert summed(report.days, name) == total, name
        assert all((getattr(row, name) or 0) >= 0 for row in report.groups), name
    if scope == "all":
        assert report.total.texts == 10 * len(rows)
        assert (report.total.cost_nano_usd or 0) == sum(0 if row["unpriced"] else row["cost"] for row in rows)
    names = [(row.day, row.model, row.tenant) for row in report.groups]
    assert len(set(names)) == len(names)
    _csv_adds_up(report)
    _tables_add_up(report)


def test_of_enough_room_each_row_is_what_was_sent() -> None:
    rows = [
        {"day": WEEK.days[n % 7], "model": "ab"[n % 2], "tenant": (None, "x", "y")[n % 3], "cost": 7 + n, "saved": n,
         "unpriced": False}
        for n in range(30)
    ]  # fmt: skip
    for by in (["model", "tenant"], ["tenant", "model"], ["tenant"], ["day"]):
        report = build(known_of(rows, 100, 200_000), WEEK, by)
        expected: dict[tuple[Any, ...], int] = {}
        for row in rows:
            key = tuple(row[name] if name in by else None for name in ("day", "model", "tenant"))
            expected[key] = expected.get(key, 0) + row["cost"]
        assert {(row.day, row.model, row.tenant): row.cost_nano_usd for row in report.groups} == expected


def test_what_has_no_name_is_called_so_and_stands_last() -> None:
    rows = [
        {"day": WEEK.days[0], "model": model, "tenant": tenant, "cost": 5, "saved": 0, "unpriced": False}
        for model in "abc" for tenant in (None, "x", "y")
    ]  # fmt: skip
    enough = build(known_of(rows, 100, 200_000), WEEK, ["tenant"])
    assert [row.label for row in enough.groups] == ["x", "y", "(no tenant)"]
    assert "(no tenant) / a" in {
        row.label for row in build(known_of(rows, 100, 10**5), WEEK, ["tenant", "model"]).groups
    }
    capped = build(known_of(rows, 4, 200_000), WEEK, ["tenant"])
    assert capped.groups[-1].label == "(no tenant, or beyond the cap)"
    assert build(known_of(rows, 2, 200_000), WEEK, ["model"]).groups[-1].label == "(other models)"


def _csv_adds_up(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report), newline="")))
    assert len(rows) == len(report.groups)
    assert sum(int(row["cost_nano_usd"] or 0) for row in rows) == (report.total.cost_nano_usd or 0)
    assert sum(Decimal(row["cost_usd"] or 0) for row in rows) * 10**9 == (report.total.cost_nano_usd or 0)


def _tables_add_up(report: Report) -> None:
    """Also where rows beyond the first are one."""
    for section in sections(report, 3):
        table = section.table
        if table is None or not table.totals:
            continue
        for name in ("Cost", "Saved", "Texts", "Errors", "Tokens"):
            column = [row[table.head.index(name)].lstrip("$").replace(",", "") for row in table.rows]
            if column[-1] != "no price":
                assert sum(Decimal(c) for c in column[:-1] if c != "no price") == Decimal(column[-1]), name
