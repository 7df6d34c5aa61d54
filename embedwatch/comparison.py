"""Two measurements side by side, and whether the second is slower. Pure; `embedwatch compare` prints it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from embedwatch.baselines import Baseline, Measured
from embedwatch.errors import InputError
from embedwatch.regression import MIN_TEXTS, QUANTILE, Outcome, Shift, decide, figure, shift
from embedwatch.yamlfile import closest

MAX_REGRESSION_PCT = 10.0
ALL = "all"


@dataclass(frozen=True, slots=True)
class Row:
    """One number of both. `change`: in percent of A, or in percentage points where the number is a percentage."""

    name: str
    unit: str
    a: float | None
    b: float | None
    change: Literal["relative", "points"] = "relative"

    @property
    def changed(self) -> float | None:
        if self.a is None or self.b is None:
            return None
        if self.change == "points":
            return self.b - self.a
        return 100.0 * (self.b / self.a - 1.0) if self.a else None

    def cells(self) -> tuple[str, str, str, str]:
        """As text: name with unit, A, B, change."""
        changed = self.changed
        sign = "%" if self.change == "relative" else "points"
        shown = "" if changed is None else f"{changed:+,.1f} {sign}"
        return f"{self.name} ({self.unit})" if self.unit else self.name, _shown(self.a), _shown(self.b), shown


def _shown(value: float | None) -> str:
    return "unknown" if value is None else figure(value)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One scope of A and B."""

    scope: str
    rows: tuple[Row, ...]
    outcome: Outcome
    words: str
    notes: tuple[str, ...]
    shift: Shift | None

    def as_json(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "outcome": self.outcome,
            "words": self.words,
            "notes": list(self.notes),
            "p95_factor": None if self.shift is None else self.shift.factor,
            "p_value": None if self.shift is None else self.shift.p_value,
            "rows": [
                {"name": r.name, "unit": r.unit, "a": r.a, "b": r.b, "change": r.changed, "change_unit":
                 "%" if r.change == "relative" else "points"}
                for r in self.rows
            ],
        }  # fmt: skip


def chosen_scopes(a: Baseline, b: Baseline, wanted: Iterable[str]) -> list[str]:
    """The scopes asked for; without any `all`, or else whatever both have. Raises `InputError` for one not in both."""
    both = [scope for scope in a.scopes if scope in b.scopes]
    asked = list(dict.fromkeys(wanted))
    for scope in asked:
        for side in (a, b):
            if scope not in side.scopes:
                raise InputError(f"baseline {side.name!r} has no scope {scope!r}{closest(scope, side.scopes)}")
    if asked:
        return asked
    if not both:
        raise InputError(f"baselines {a.name!r} and {b.name!r} have no scope in common")
    return [ALL] if ALL in both else both


def compare(
    a: Baseline,
    b: Baseline,
    scope: str = ALL,
    *,
    max_regression_pct: float = MAX_REGRESSION_PCT,
    min_texts: int = MIN_TEXTS,
) -> Comparison:
    """A regression: B's p95 is more than `max_regression_pct` above A's, and by more than chance.

    Raises KeyError for a scope that one of them does not have.
    """
    one, other = a.scopes[scope], b.scopes[scope]
    found = shift(one.sample, other.sample)
    rows = tuple(_rows(one, other, found))
    notes = tuple(_notes(a, b, scope))
    if found is None:
        empty = a.name if not one.texts else b.name
        words = f"Inconclusive ({scope}): {empty} has no latency of any text."
        return Comparison(scope, rows, "inconclusive", words, notes, None)
    if one.texts < min_texts:
        reason = f"{a.name} holds {one.texts:,} texts, {min_texts:,} are needed"
        return Comparison(scope, rows, "inconclusive", f"Inconclusive ({scope}): {reason}.", notes, found)
    outcome, reason = decide(found, min_share_pct=0.0, min_growth_pct=max_regression_pct, min_texts=min_texts)
    share = (
        f"{figure(found.share_pct)} % of the texts are above the old p95, "
        f"{figure(100 * (1 - QUANTILE))} % would be expected"
    )
    growth = f"{found.growth_pct:+,.1f} %"
    if outcome == "regression":
        words = f"REGRESSION ({scope}): {reason} ({growth}, {max_regression_pct:g} % allowed); {share}."
    elif outcome == "none":
        words = f"No regression ({scope}): {reason} ({growth}, {max_regression_pct:g} % allowed); {share}."
    else:
        words = f"Inconclusive ({scope}): {reason}."
    return Comparison(scope, rows, outcome, words, notes, found)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several scopes: one regression is one; else one that is not known leaves the whole unknown."""
    found = set(outcomes)
    return "regression" if "regression" in found else "inconclusive" if "inconclusive" in found else "none"


def _rows(one: Measured, other: Measured, found: Shift | None) -> Iterable[Row]:
    for name, q in (("p50 latency", 0.50), ("p95 latency", QUANTILE), ("p99 latency", 0.99)):
        yield Row(name, "ms", one.latency.quantile(q), other.latency.quantile(q))
    yield Row(
        "texts above A's p95",
        "%",
        None if found is None else found.expected_pct,
        None if found is None else found.share_pct,
        "points",
    )
    yield Row("p95 queue wait", "ms", one.queue_wait.quantile(QUANTILE), other.queue_wait.quantile(QUANTILE))
    yield Row("throughput", "texts/s", one.throughput_texts_per_s, other.throughput_texts_per_s)
    yield Row("throughput", "tokens/s", one.throughput_tokens_per_s, other.throughput_tokens_per_s)
    yield Row("cost of 1M tokens", "USD", one.cost_per_million_tokens_usd, other.cost_per_million_tokens_usd)
    yield Row("cache hit rate", "%", one.cache_hit_rate_pct, other.cache_hit_rate_pct, "points")
    yield Row("error rate", "%", one.error_rate_pct, other.error_rate_pct, "points")
    yield Row("texts", "", one.texts, other.texts)
    # Not their plain number, which has a batch once for each tenant in it: this one decides.
    yield Row("independent batches", "", one.sample.independent, other.sample.independent)


def _notes(a: Baseline, b: Baseline, scope: str) -> Iterable[str]:
    one, other = a.scopes[scope].numbers, b.scopes[scope].numbers
    for what, before, after in (
        ("models", one.models, other.models),
        ("price sources", one.price_sources, other.price_sources),
    ):
        if sorted(before) != sorted(after):
            yield f"{what} differ: {', '.join(before) or 'none'} in {a.name}, {', '.join(after) or 'none'} in {b.name}"
