"""Whether latency got worse: what is found, what is left alone, and how often noise is taken for news."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.regression import (
    MIN_BATCHES,
    Outcome,
    Sample,
    Shift,
    decide,
    effective_batches,
    figure,
    fisher,
    shift,
)
from embedwatch.sketch import Sketch


def sample(values_ms: npt.ArrayLike, batches: float | None = None) -> Sample:
    sketch = Sketch.of(values_ms)
    return Sample(sketch, sketch.count if batches is None else batches)


def batched(rng: np.random.Generator, texts: int, mean: int, sigma: float, factor: float = 1.0) -> Sample:
    """Texts in batches of very unequal sizes, each batch with one latency of its own."""
    sizes: list[int] = []
    while sum(sizes) < texts:
        sizes.append(min(int(rng.geometric(1 / mean)), texts - sum(sizes)))
    each_ms = 100.0 * factor * np.exp(sigma * rng.standard_normal(len(sizes)))
    values = np.repeat(each_ms, sizes) * np.exp(0.02 * rng.standard_normal(texts))
    return Sample(Sketch.of(values), effective_batches(texts, sum(n * n for n in sizes)))


def found(baseline: Sample, live: Sample) -> Shift:
    seen = shift(baseline, live)
    assert seen is not None
    return seen


def exact_tail(above: int, count: int, baseline_above: int, baseline_count: int) -> float:
    """The same by counting: of all ways to mark so many, those with `above` or more in the live sample."""
    every, marked = count + baseline_count, above + baseline_above
    ways = sum(math.comb(count, k) * math.comb(every - count, marked - k) for k in range(above, min(count, marked) + 1))
    return float(Fraction(ways, math.comb(every, marked)))


@given(
    count=st.integers(1, 60),
    baseline_count=st.integers(1, 60),
    above=st.integers(0, 60),
    baseline_above=st.integers(0, 60),
)
def test_the_chance_is_the_one_that_counting_gives(
    count: int, baseline_count: int, above: int, baseline_above: int
) -> None:
    above, baseline_above = min(above, count), min(baseline_above, baseline_count)
    chance = fisher(above, count, baseline_above, baseline_count)
    if Fraction(above, count) > Fraction(baseline_above, baseline_count):
        assert chance == pytest.approx(exact_tail(above, count, baseline_above, baseline_count), rel=1e-9)
    else:
        assert chance == 1.0


def test_the_chance_of_large_counts_is_the_normal_ones() -> None:
    """Where the counts are large, Fisher's test and the z-test with continuity correction say the same."""
    n, m, above, of_baseline = 50_000, 80_000, 2700, 4000
    pooled = (above + of_baseline) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (above / n - of_baseline / m - 0.5 * (1 / n + 1 / m)) / error
    assert fisher(above, n, of_baseline, m) == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=0.05)


@pytest.mark.parametrize(
    ("texts", "batches", "factor", "outcome"),
    [
        (2000, 2000, 1.0, "none"),
        (2000, 2000, 1.04, "none"),  # too small to matter, however sure
        (2000, 2000, 1.3, "regression"),
        (2000, 2000, 0.7, "none"),
        (2000, 250, 1.3, "regression"),
        (2000, 20, 1.3, "inconclusive"),  # 20 observations: 13 % of them above the line is chance
        (2000, 20, 3.0, "regression"),
        (2000, 19, 3.0, "inconclusive"),
        (200, 200, 1.5, "regression"),
        (199, 199, 1.5, "inconclusive"),
    ],
)
def test_effect_significance_and_samples_are_all_needed(
    texts: int, batches: int, factor: float, outcome: Outcome
) -> None:
    spread = np.random.default_rng(1).lognormal(4.6, 0.5, 40_000)
    live = np.quantile(spread, (np.arange(texts) + 0.5) / texts) * factor
    assert decide(found(sample(spread), sample(live, batches)))[0] == outcome


def test_what_is_missing_is_said_with_what_is_needed() -> None:
    steady = np.linspace(50, 150, 1000)
    few = decide(found(sample(steady), sample(steady[:150])))
    assert few == ("inconclusive", "150 texts, 200 are needed")
    lumped = decide(found(sample(steady), sample(steady, 7)))
    assert lumped == ("inconclusive", f"1,000 texts weigh as 7 batches, {MIN_BATCHES} are needed")
    old = decide(found(sample(steady, 3), sample(steady)))
    assert old == ("inconclusive", f"the baseline weighs as 3 batches, {MIN_BATCHES} are needed")
    assert shift(sample([]), sample(steady)) is None
    assert shift(sample(steady), sample([])) is None


def test_a_narrow_distribution_that_moves_by_a_hair_is_no_regression() -> None:
    """Every text is above the old p95 then, and nobody would feel it."""
    seen = found(sample([100.0] * 5000), sample([102.0] * 5000))
    assert (seen.share_pct, seen.expected_pct) == (100.0, 0.0)
    assert decide(seen)[0] == "none"
    assert decide(found(sample([100.0] * 5000), sample([110.0] * 5000)))[0] == "regression"


def test_the_effect_is_told_as_a_factor_of_the_p95() -> None:
    steady = np.linspace(50, 150, 1000)
    outcome, words = decide(found(sample(steady), sample(steady * 1.5)))
    assert outcome == "regression"
    assert words == "p95 went from 145 to 218 ms, 1.51 times the baseline's"  # 1.5, and what two sketches are off
    zero = found(sample([0.0] * 500), sample([4.0] * 500))
    assert (zero.factor, zero.growth_pct) == (math.inf, math.inf)
    assert found(sample([0.0] * 500), sample([0.0] * 500)).factor == 1.0


latencies = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=300)


@given(values=latencies, batches=st.integers(1, 400), faster=st.floats(0.01, 1.0))
def test_the_same_or_faster_is_never_a_regression(values: list[float], batches: int, faster: float) -> None:
    live = sample(np.array(values) * faster, batches)
    for share in (0.0, 10.0):
        outcome, _ = decide(
            found(sample(values, batches), live), min_share_pct=share, min_growth_pct=1.0, min_texts=1
        )  # fmt: skip
        assert outcome != "regression"


@pytest.mark.parametrize(("mean", "sigma"), [(8, 0.6), (16, 0.3)])
def test_noise_that_batches_share_is_hardly_ever_taken_for_a_regression(mean: int, sigma: float) -> None:
    """2,000 windows of 2,000 texts each, against 20 baselines: less than one in a thousand."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(20):
        base = batched(rng, 20_000, mean, sigma)
        outcomes = (decide(found(base, batched(rng, 2000, mean, sigma)))[0] for _ in range(100))
        alarms += sum(outcome == "regression" for outcome in outcomes)
    assert alarms < 2


def test_a_slow_down_by_a_third_is_found_in_2000_texts() -> None:
    rng = np.random.default_rng(6)
    base = batched(rng, 40_000, 8, 0.3)
    assert all(decide(found(base, batched(rng, 2000, 8, 0.3, 1.3)))[0] == "regression" for _ in range(100))


def test_a_text_for_each_observation_would_page_for_noise() -> None:
    """Why batches are counted: the same windows with texts as the sample size."""
    rng = np.random.default_rng(5)
    base = batched(rng, 20_000, 64, 0.6)
    windows = [batched(rng, 2000, 64, 0.6) for _ in range(200)]

    def alarms(of: Any) -> int:
        return sum(decide(found(of(base), of(w)))[0] == "regression" for w in windows)

    assert alarms(lambda s: Sample(s.latency, s.latency.count)) > 5
    assert alarms(lambda s: s) == 0


@given(sizes=st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_the_effective_number_of_batches_is_at_most_their_number(sizes: list[int]) -> None:
    number = effective_batches(sum(sizes), sum(n * n for n in sizes))
    assert 1 - 1e-9 <= number <= len(sizes) + 1e-9
    if len(set(sizes)) == 1:
        assert number == pytest.approx(len(sizes))
    assert effective_batches(0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (4.5678, "4.57"), (99.96, "100"), (1234.5, "1,234"), (10, "10"), (0.1, "0.1")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text
