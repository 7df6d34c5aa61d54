"""How far any quantile of the sketch is from the exact one, over data of several shapes, whole and merged of parts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.claims import Claim, Result
from embedwatch.sketch import LARGEST_MS, RELATIVE_ERROR, SMALLEST_MS, Sketch

ERROR = Claim(
    "sketch_max_relative_error_pct", "any quantile of the latency sketch against the exact one, the worst of all", "%",
    0.5, "at_most",
)  # fmt: skip
CLAIMS = (ERROR,)

VALUES = 200_000
PARTS = 500
#: Every thousandth, and the ends closely.
QUANTILES = np.unique(np.concatenate([np.arange(1, 1000) / 1000, 1 - np.logspace(-6, -1, 60), np.logspace(-6, -1, 60)]))


def measure(ids: frozenset[str]) -> Iterator[Result]:
    worst = {name: worst_error_pct(values) for name, values in shapes().items()}
    # Rounded at a millionth of a per cent: the last place of a float decides on which side of an edge a value falls.
    yield Result.of(ERROR, [round(max(worst.values()), 6)], quantiles=float(QUANTILES.size), **worst)


def shapes() -> dict[str, npt.NDArray[np.float64]]:
    rng = np.random.default_rng(7)
    gamma = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
    edges = gamma ** np.arange(math.ceil(math.log(SMALLEST_MS, gamma)), math.floor(math.log(LARGEST_MS, gamma)))
    return {
        "lognormal": rng.lognormal(3, 1.2, VALUES),
        "bimodal": np.concatenate([rng.normal(50, 3, VALUES * 19 // 20), rng.normal(2000, 50, VALUES // 20)]).clip(0.1),
        "constant": np.full(VALUES, 42.0),
        "heavy_tailed": (rng.pareto(0.8, VALUES) + 1).clip(max=LARGEST_MS),
        # A hair on either side of every edge of a bucket, where the error is largest, over the whole range.
        "adversarial": np.concatenate([edges * (1 - 1e-12), edges * (1 + 1e-12)]).clip(SMALLEST_MS, LARGEST_MS),
    }


def worst_error_pct(values: npt.NDArray[np.float64]) -> float:
    """Against numpy, for all values in one sketch and for sketches of parts on the wire, merged."""
    parts = np.array_split(np.random.default_rng(1).permutation(values), PARTS)
    merged = Sketch.merged(Sketch.from_text(Sketch.of(part).to_text()) for part in parts)
    exact = np.quantile(values, QUANTILES, method="higher")
    worst = 0.0
    for sketch in (Sketch.of(values), merged):
        found = np.array([sketch.quantile(float(q)) for q in QUANTILES], dtype=np.float64)
        worst = max(worst, float(np.max(np.abs(found - exact) / exact)))
    return 100.0 * worst
