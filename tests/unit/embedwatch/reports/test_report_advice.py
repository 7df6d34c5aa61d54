"""Each rule of advice says its number where it is known, and nothing where it is not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from embedwatch.reports import advice
from embedwatch.reports.build import build
from embedwatch.reports.model import (
    AlertRow,
    AlertsInfo,
    BudgetInfo,
    Forecast,
    LatencyRow,
    Measured,
    PhaseRow,
    Report,
    Row,
    ScalingInfo,
)
from embedwatch.reports.sections import sections
from tests.harness.reports import NOVEMBER, month

Change = Callable[[Report], Report]


@pytest.fixture(scope="module")
def quiet() -> Report:
    """A report in which nothing stands out."""
    found = build(month(), NOVEMBER, ["tenant"])
    return replace(
        found,
        total=replace(found.total, texts=1000, errors=1, error_rate_pct=0.1, hit_rate_pct=90.0, duplicates=0),
        budget=budget(), measured=measured(), scaling=ScalingInfo(1, 1, 2, 0, {}), alerts=AlertsInfo([]),
        allocated_seconds_by_model={"m": 7200.0}, groups=[row("a", 50), row("b", 50)],
    )  # fmt: skip


def row(tenant: str | None, cost: int | None, **more: Any) -> Row:
    texts = {name: 0 for name in Row.__struct_fields__ if Row.__annotations__[name] == "int"}
    rates = dict.fromkeys(
        ("hit_rate_pct", "error_rate_pct", "cost_share_pct", "cost_per_million_tokens_nano_usd", "saved_nano_usd")
    )
    return Row(**{**texts, **rates, "label": str(tenant), "cost_nano_usd": cost, "tenant": tenant, **more})


def budget(spent: float = 50.0, forecast: float | None = None, over: tuple[str, ...] = ()) -> BudgetInfo:
    return BudgetInfo("daily", False, 10**11, 3 * 10**12, spent, 10**11, list(over), forecast)


def measured(**more: Any) -> Measured:
    latency = LatencyRow("all", 1000, 90.0, 100.0, 110.0, 95.0, 200.0)
    base: dict[str, Any] = {
        "texts": 1000, "of_texts": 1000,
        "phases": [PhaseRow("embed", 90.0, 90.0, 1.0), PhaseRow("publish", 10.0, 10.0, 1.0)],
        "latency": latency, "latency_by_model": [], "latency_over_time": [], "wait_mean_ms": 5.0, "wait_p95_ms": 9.0,
        "padding_pct": 1.0, "truncated_texts": 0, "cache_errors": 0, "busy_seconds": 7000.0, "errors_by_class": {},
    }  # fmt: skip
    return Measured(**{**base, **more})


def total(**more: Any) -> Change:
    return lambda report: replace(report, total=replace(report.total, **more))


def with_measured(**more: Any) -> Change:
    return lambda report: replace(report, measured=measured(**more))


def phase(name: str) -> Change:
    return with_measured(phases=[PhaseRow("embed", 60.0, 60.0, 1.0), PhaseRow(name, 40.0, 40.0, 1.0)])


def both(one: Change, two: Change) -> Change:
    return lambda report: two(one(report))


ALERT = AlertRow("a", "high latency", "", "critical", 1, 0.0, 0.0, True, "")
ERRORS = total(error_rate_pct=3.25)
RULES: list[tuple[str, str, Change]] = [
    ("unpriced_tokens", "1,234 tokens", total(unpriced_tokens=1234)),
    ("budget_exceeded", "120 %", lambda r: replace(r, budget=budget(120.0))),
    ("budget_forecast", "130 %", lambda r: replace(r, budget=budget(60.0, 130.0), forecast=Forecast(5, "x"))),
    ("budget_near", "85 %", lambda r: replace(r, budget=budget(85.0))),
    ("days_over_budget", "1 day went", lambda r: replace(r, budget=budget(50.0, None, ("2026-11-03",)))),
    ("late_cost", "50.0 %", total(cost_nano_usd=100, late_cost_nano_usd=50)),
    ("dominant_tenant", "a is 90 %", lambda r: replace(r, groups=[row("a", 90), row("b", 10)])),
    (
        "dominant_model", "m is 85 %",
        lambda r: replace(r, by=["model"], groups=[row(None, 85, model="m"), row(None, 15, model="n")]),
    ),
    ("low_hit_rate", "12.5 %", total(hit_rate_pct=12.5, duplicates=50)),
    ("low_hit_rate", "0.0 %", total(hit_rate_pct=0.0, cache_hits=0, duplicates=50)),
    ("cache_errors", "17 times", with_measured(cache_errors=17)),
    ("errors", "3.2 %", ERRORS),
    ("errors", "timeout (9)", both(with_measured(errors_by_class={"timeout": 9, "connection": 1}), ERRORS)),
    ("padding", "44 %", with_measured(padding_pct=44.0)),
    ("queue_wait", "12.5 s", with_measured(wait_mean_ms=12_500.0)),
    *((f"slow_{name}", "40 %", phase(name)) for name in ("cache_lookup", "tokenise", "cache_write", "publish")),
    ("idle_workers", "5 %", with_measured(busy_seconds=360.0)),
    ("truncated", "9.0 %", with_measured(truncated_texts=90)),
    ("at_capacity", "3 decisions", lambda r: replace(r, scaling=ScalingInfo(5, 1, 9, 3, {}))),
    ("active_alerts", "1 alert not over", lambda r: replace(r, alerts=AlertsInfo([ALERT]))),
]  # fmt: skip


@pytest.mark.parametrize(("code", "number", "change"), RULES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_fires_with_its_number_and_alone(quiet: Report, code: str, number: str, change: Change) -> None:
    assert [one.code for one in advice.of(quiet)] == ["nothing"]
    (found,) = advice.of(change(quiet))
    assert found.code == code
    assert number in found.what
    assert found.do.endswith(".")
    assert found.limit is None or found.value != found.limit


def test_every_rule_is_tried() -> None:
    """Each code that stands in the module."""
    source = inspect.getsource(advice)
    codes = set(re.findall(r'Advice\(\s*f?"([a-z_{}.]+)"', source)) - {"nothing"}
    codes = codes - {"dominant_{dimension}", "slow_{slowest.phase}"} | {"dominant_tenant", "dominant_model"}
    tried = {code for code, _, _ in RULES}
    assert codes <= tried
    assert len(codes) > 14


def test_without_data_there_is_no_advice_on_it(quiet: Report) -> None:
    nothing = replace(
        quiet, measured=None, budget=None, forecast=None, scaling=None, alerts=AlertsInfo(None, "away"),
        groups=[], allocated_seconds_by_model={},
        total=replace(quiet.total, texts=0, hit_rate_pct=None, error_rate_pct=None, cost_nano_usd=None),
    )  # fmt: skip
    assert [one.code for one in advice.of(nothing)] == ["nothing"]


def test_of_a_handful_of_texts_no_rate_is_advice(quiet: Report) -> None:
    few = total(texts=20, error_rate_pct=50.0, hit_rate_pct=0.0, duplicates=10)(quiet)
    few = replace(few, measured=measured(texts=20, padding_pct=80.0, truncated_texts=20))
    assert [one.code for one in advice.of(few)] == ["nothing"]


def test_the_most_urgent_stands_first_and_all_are_shown(quiet: Report) -> None:
    found = total(error_rate_pct=3.0, unpriced_tokens=7)(replace(quiet, measured=measured(padding_pct=40.0)))
    found = replace(found, advice=advice.of(found))
    assert [one.severity for one in found.advice] == ["act", "act", "look"]
    (section,) = [section for section in sections(found) if section.points]
    assert len(section.points) == 3
