"""Did latency get worse? Two distributions, one answer: yes, no, or too little to tell. Pure, no I/O.

The question is put to the baseline's p95: 5 % of its texts lie above it, and so do 5 % of the live ones if nothing
changed. A regression needs three things at once:

- an effect: more than `min_share_pct` of the live texts above it (10 % by default, twice what is expected), and a p95
  that grew by more than `min_growth_pct`. The second one is for narrow distributions, where a shift of 1 % that nobody
  feels moves every text across the line;
- significance: Fisher's exact test on the two counts above that line, one-sided, p < 0.0005 (z = 3.29). The baseline's
  p95 is an estimate too, so the test has two samples. It is exact because the counts are small: of 62 batches 3 are
  expected above the line, where the normal approximation takes twice as many false alarms as it says;
- enough to look at: `min_texts` live texts, and `MIN_BATCHES` batches on both sides.

The texts of a batch share its forward pass, so they are not independent observations. The test takes them as all equal:
its sample size is not the number of texts but the effective number of batches, `(sum of n)^2 / sum of n^2` over batches
of n texts (L. Kish, "Survey Sampling", 1965), which is the number of batches where all are of one size, and less where
few large ones decide. Simulated noise of that kind gives false alarms in less than 0.1 % of the windows
(tests/unit/embedwatch/test_regression.py). What batches share with each other, such as a minute of a busy machine,
stays unseen: the minimum effect and `for:` of a rule are there for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from embedwatch.sketch import Sketch

QUANTILE = 0.95
MIN_SHARE_PCT = 10.0
MIN_GROWTH_PCT = 5.0
MIN_TEXTS = 200
#: The least number of observations of which one lies above their own p95.
MIN_BATCHES = 20
P_VALUE = 0.0005

Outcome = Literal["regression", "none", "inconclusive"]


def effective_batches(texts: int, squared_texts: float) -> float:
    """Kish's effective number of batches, from the sums of n and of n^2; 0 without a text."""
    return texts * texts / squared_texts if squared_texts > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Latencies of some texts, and the effective number of batches that they were in (`effective_batches`)."""

    latency: Sketch
    effective_batches: float

    @property
    def independent(self) -> int:
        """Observations that do not share a forward pass, rounded down."""
        return int(min(self.latency.count, self.effective_batches) + 1e-9)


@dataclass(frozen=True, slots=True)
class Shift:
    """How live latencies lie against a baseline's p95. Latencies in ms, shares in percent of texts."""

    baseline_p95_ms: float
    p95_ms: float
    expected_pct: float  # of the baseline's own texts above its p95: 5 %, less where many values are equal
    share_pct: float
    p_value: float  # of a share so large, had nothing changed
    texts: int
    batches: int
    baseline_batches: int

    @property
    def factor(self) -> float:
        """Of the p95: 1.5 is half as slow again."""
        if self.baseline_p95_ms > 0:
            return self.p95_ms / self.baseline_p95_ms
        return math.inf if self.p95_ms > 0 else 1.0

    @property
    def growth_pct(self) -> float:
        return 100.0 * (self.factor - 1.0)


def shift(baseline: Sample, live: Sample) -> Shift | None:
    """Compare two samples; None when one of them is empty."""
    line, p95 = baseline.latency.quantile(QUANTILE), live.latency.quantile(QUANTILE)
    if line is None or p95 is None:
        return None
    expected, share = baseline.latency.share_above(line) or 0.0, live.latency.share_above(line) or 0.0
    count, of_baseline = live.independent, baseline.independent
    # Rounded to the side that finds less.
    above = math.floor(share * count + 1e-9)
    p_value = fisher(above, count, math.ceil(expected * of_baseline - 1e-9), of_baseline)
    return Shift(
        baseline_p95_ms=line,
        p95_ms=p95,
        expected_pct=100.0 * expected,
        share_pct=100.0 * share,
        p_value=p_value,
        texts=live.latency.count,
        batches=count,
        baseline_batches=of_baseline,
    )


def decide(
    found: Shift,
    *,
    min_share_pct: float = MIN_SHARE_PCT,
    min_growth_pct: float = MIN_GROWTH_PCT,
    min_texts: int = MIN_TEXTS,
) -> tuple[Outcome, str]:
    """The answer and, in a few words without a full stop, why."""
    if found.texts < min_texts:
        return "inconclusive", f"{found.texts:,} texts, {min_texts:,} are needed"
    if found.batches < MIN_BATCHES:
        return (
            "inconclusive",
            f"{found.texts:,} texts weigh as {found.batches} batches, {MIN_BATCHES} are needed",
        )
    if found.baseline_batches < MIN_BATCHES:
        return (
            "inconclusive",
            f"the baseline weighs as {found.baseline_batches} batches, {MIN_BATCHES} are needed",
        )
    moved = f"p95 {_went(found)}, {found.factor:.2f} times the baseline's"
    if found.share_pct <= min_share_pct or found.growth_pct <= min_growth_pct:
        return "none", moved
    if found.p_value >= P_VALUE:
        chance = (
            f"{found.batches} batches against {found.baseline_batches} are too few to tell it from chance "
            f"(p = {found.p_value:.2g})"
        )
        return "inconclusive", f"{moved}, but {chance}"
    return "regression", moved


def _went(found: Shift) -> str:
    return f"went from {figure(found.baseline_p95_ms)} to {figure(found.p95_ms)} ms"


def figure(value: float) -> str:
    """Three significant digits or all before the point: 0.0123, 4.56, 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = f"{value:,.{min(max(0, 2 - math.floor(math.log10(abs(value)))), 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def fisher(above: int, count: int, baseline_above: int, baseline_count: int) -> float:
    """Chance of `above` or more of `count`, given that `above + baseline_above` of all are and that both are alike.

    The upper tail of the hypergeometric distribution (R. A. Fisher, "On the interpretation of chi-squared from
    contingency tables, and the calculation of P", 1922). 1 where the share is not larger than the baseline's.
    """
    if count <= 0 or baseline_count <= 0 or above * baseline_count <= baseline_above * count:
        return 1.0
    every, marked = count + baseline_count, above + baseline_above
    log_term = (
        _log_choose(marked, above) + _log_choose(every - marked, count - above) - _log_choose(every, count)
    )  # of exactly `above`
    term = total = 1.0
    for k in range(above, min(count, marked)):
        # Beyond the mean each term is smaller than the one before it.
        term *= (marked - k) * (count - k) / ((k + 1) * (every - marked - count + k + 1))
        total += term
        if term < total * 1e-12:
            break
    return min(1.0, math.exp(log_term + math.log(total)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
