"""Two baselines side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.comparison import Comparison, Row, chosen_scopes, compare, worst
from embedwatch.errors import InputError
from embedwatch.regression import Outcome
from tests.harness.baselines import baseline, measured

SPREAD = np.random.default_rng(3).lognormal(4.6, 0.4, 4000)


def compared(factor: float, texts: int = 4000, **options: Any) -> Comparison:
    b = baseline("v2", all=measured(SPREAD[:texts] * factor))
    return compare(baseline("v1", all=measured(SPREAD)), b, **options)


@pytest.mark.parametrize(
    ("factor", "options", "outcome"),
    [
        (1.0, {}, "none"),
        (1.08, {}, "none"),
        (1.2, {}, "regression"),
        (1.08, {"max_regression_pct": 5.0}, "regression"),
        (1.2, {"max_regression_pct": 25.0}, "none"),
        (0.5, {"max_regression_pct": 0.0}, "none"),
        (1.5, {"texts": 150}, "inconclusive"),
        (1.5, {"texts": 150, "min_texts": 100}, "regression"),
    ],
)
def test_slower_by_more_than_is_allowed_is_a_regression(factor: float, options: dict[str, Any], outcome: str) -> None:
    assert compared(factor, **options).outcome == outcome


def test_the_verdict_is_one_line_with_the_effect() -> None:
    words = compared(1.5).words
    assert words.startswith("REGRESSION (all): p95 went from 19")
    assert "1.51 times the baseline's (+50.7 %, " in words
    assert " 10 % allowed); " in words
    assert words.endswith("% of the texts are above the old p95, 5 % would be expected.")
    assert compared(1.0).words.startswith("No regression (all): p95 went from ")
    assert compared(1.5, texts=150).words == "Inconclusive (all): 150 texts, 200 are needed."


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_side_with_too_little_is_named(side: str) -> None:
    full = baseline("full", all=measured(SPREAD))
    small, empty = baseline("small", all=measured(SPREAD[:50])), baseline("empty", all=measured([]))
    for other in (small, empty):
        found = compare(other, full) if side == "a" else compare(full, other)
        assert found.outcome == "inconclusive"
    assert compare(small, full).words == "Inconclusive (all): small holds 50 texts, 200 are needed."
    assert compare(full, empty).words == "Inconclusive (all): empty has no latency of any text."
    assert compare(full, empty).as_json()["p95_factor"] is None


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=400), batches=st.floats(1, 500))
def test_nothing_is_slower_than_itself(values: list[float], batches: float) -> None:
    same = baseline("v", all=measured(values, effective_batches=batches))
    found = compare(same, same, max_regression_pct=0.0, min_texts=1)
    assert found.outcome in ("none", "inconclusive")
    assert all(not row.changed for row in found.rows)
    assert (found.outcome == "none") == (int(min(batches, len(values)) + 1e-9) >= 20)


def test_changes_are_in_percent_and_of_percentages_in_points() -> None:
    assert Row("x", "ms", 100.0, 150.0).cells() == ("x (ms)", "100", "150", "+50.0 %")
    assert Row("x", "%", 20.0, 15.0, "points").cells() == ("x (%)", "20", "15", "-5.0 points")
    assert Row("x", "", None, 15.0).cells() == ("x", "unknown", "15", "")
    assert Row("x", "", 0.0, 15.0).changed is None


def test_the_rows_are_those_of_a_dashboard() -> None:
    rows = {cells[0]: cells for cells in (row.cells() for row in compared(1.5).rows)}
    assert rows["p50 latency (ms)"][3].startswith("+50")
    assert rows["texts above A's p95 (%)"][1] == "4.98"
    assert rows["throughput (texts/s)"][1:] == ("400", "400", "+0.0 %")
    assert rows["cost of 1M tokens (USD)"][1] == "0.02"
    assert rows["cache hit rate (%)"][1:] == ("20", "20", "+0.0 points")
    assert rows["error rate (%)"][1] == "0"


def test_another_model_is_noted() -> None:
    b = baseline("v2", all=measured(SPREAD, models=["n"], price_sources=["override", "unknown"]))
    assert compare(baseline("v1", all=measured(SPREAD)), b).notes == (
        "models differ: m in v1, n in v2", "price sources differ: override in v1, override, unknown in v2",
    )  # fmt: skip
    assert compared(1.0).notes == ()


def test_scopes_are_those_asked_for_or_all_or_what_both_have() -> None:
    one = measured(SPREAD)
    a, b = baseline("a", **{"all": one, "model=x": one}), baseline("b", **{"all": one, "model=x": one, "tenant=t": one})
    assert chosen_scopes(a, b, ()) == ["all"]
    assert chosen_scopes(a, b, ["model=x", "all", "model=x"]) == ["model=x", "all"]
    assert chosen_scopes(baseline("c", **{"model=x": one}), b, ()) == ["model=x"]
    with pytest.raises(InputError, match="baseline 'a' has no scope 'tenant=t'; known are: all, model=x"):
        chosen_scopes(a, b, ["tenant=t"])
    with pytest.raises(InputError, match="have no scope in common"):
        chosen_scopes(baseline("c", **{"model=y": one}), b, ())


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        (["none", "inconclusive", "regression"], "regression"),
        (["none", "inconclusive"], "inconclusive"),
        (["none", "none"], "none"),
    ],
)
def test_the_worst_scope_decides(outcomes: list[Outcome], whole: Outcome) -> None:
    assert worst(outcomes) == whole
