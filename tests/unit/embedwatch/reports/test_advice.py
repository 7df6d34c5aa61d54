"""Numbers that stand out become advice with the number in it, and others do not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from embedwatch.reports import advice
from embedwatch.reports.build import build
from embedwatch.reports.model import Advice, AlertRow, AlertsInfo, Report, ScalingInfo
from tests.harness.reports import NOVEMBER, month


@pytest.fixture(scope="module")
def calm() -> Report:
    """A month in which nothing stands out."""
    report = build(month(), NOVEMBER, ["model"])
    assert report.measured is not None
    assert report.budget is not None
    return replace(
        report,
        total=replace(report.total, hit_rate_pct=70.0),
        measured=replace(report.measured, padding_pct=3.0),
        budget=replace(report.budget, days_over=[]),
        scaling=None,
    )


def found(report: Report) -> dict[str, Advice]:
    return {one.code: one for one in advice.of(report)}


def test_where_nothing_stands_out_it_says_so(calm: Report) -> None:
    assert list(found(calm)) == ["nothing"]


TOTALS: list[tuple[str, dict[str, Any], str, str]] = [
    ("unpriced_tokens", {"unpriced_tokens": 5}, "5 tokens", "price"),
    ("low_hit_rate", {"hit_rate_pct": 12.0}, "12.0 %", "memory"),
    ("low_hit_rate", {"hit_rate_pct": 0.0, "cache_hits": 0}, "0.0 %", "--cache-url"),
    ("errors", {"error_rate_pct": 3.0}, "3.0 %", "timeout"),
    ("late_cost", {"late_cost_nano_usd": 10**12}, "booked after", "clock"),
]


@pytest.mark.parametrize(("code", "changes", "what", "do"), TOTALS)
def test_totals(calm: Report, code: str, changes: dict[str, Any], what: str, do: str) -> None:
    one = found(replace(calm, total=replace(calm.total, **changes)))[code]
    assert what in one.what
    assert do in one.do


MEASURED: list[tuple[str, dict[str, Any], str]] = [
    ("padding", {"padding_pct": 40.0}, "40 %"),
    ("queue_wait", {"wait_mean_ms": 90_000.0}, "90.0 s"),
    ("truncated", {"truncated_texts": 10**9}, "longer than the model reads"),
    ("cache_errors", {"cache_errors": 12}, "12 times"),
]


@pytest.mark.parametrize(("code", "changes", "what"), MEASURED)
def test_what_was_measured(calm: Report, code: str, changes: dict[str, Any], what: str) -> None:
    assert calm.measured is not None
    assert what in found(replace(calm, measured=replace(calm.measured, **changes)))[code].what


def test_a_phase_that_is_not_the_models(calm: Report) -> None:
    assert calm.measured is not None
    phases = [replace(row, share_pct=60.0 if row.phase == "publish" else 5.0) for row in calm.measured.phases]
    phases.sort(key=lambda row: -row.share_pct)
    one = found(replace(calm, measured=replace(calm.measured, phases=phases)))["slow_publish"]
    assert "60 %" in one.what
    assert "broker" in one.do


def test_workers_that_were_there_and_did_little(calm: Report) -> None:
    assert calm.measured is not None
    measured = replace(calm.measured, busy_seconds=36_000.0, of_texts=calm.measured.texts)
    one = found(replace(calm, measured=measured, allocated_seconds_by_model={"m": 360_000.0}))["idle_workers"]
    assert "10 %" in one.what
    assert one.value == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"spent_pct": 130.0}, "budget_exceeded"), ({"spent_pct": 90.0}, "budget_near"),
        ({"days_over": ["2026-11-03"]}, "days_over_budget"),
    ],
)  # fmt: skip
def test_budgets(calm: Report, changes: dict[str, Any], code: str) -> None:
    assert calm.budget is not None
    assert code in found(replace(calm, budget=replace(calm.budget, **changes)))


def test_one_model_that_is_nearly_all_of_the_cost(calm: Report) -> None:
    first, *rest = calm.groups
    groups = [replace(first, cost_nano_usd=10**15), *rest]
    one = found(replace(calm, groups=groups))["dominant_model"]
    assert "text-embedding-3-large" in one.what
    assert one.value > 80
    assert "dominant_model" not in found(replace(calm, groups=[first]))


def test_alerts_that_are_not_over_and_limits_that_were_reached(calm: Report) -> None:
    alerts = AlertsInfo([AlertRow("x", "high latency", "", "warning", 1, 1.0, 2.0, True, "")])
    scaling = ScalingInfo(4, 1, 7, 3, {})
    got = found(replace(calm, alerts=alerts, scaling=scaling))
    assert "high latency" in got["active_alerts"].what
    assert "3 decisions" in got["at_capacity"].what


def test_what_is_urgent_comes_first(calm: Report) -> None:
    assert calm.measured is not None
    report = replace(
        calm,
        total=replace(calm.total, error_rate_pct=3.0),
        measured=replace(calm.measured, padding_pct=40.0),
    )
    assert [one.severity for one in advice.of(report)] == ["act", "look"]


def test_of_a_handful_of_texts_no_rate_is_judged(calm: Report) -> None:
    total = replace(calm.total, texts=50, error_rate_pct=50.0, hit_rate_pct=0.0)
    assert not {"errors", "low_hit_rate"} & set(found(replace(calm, total=total)))
