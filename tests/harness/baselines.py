"""Baselines of made-up latencies, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedwatch.baselines import Baseline, Measured, Numbers
from embedwatch.sketch import Sketch


def measured(latency_ms: npt.ArrayLike, **fields: Any) -> Measured:
    """One scope; every text a batch of its own unless `fields` say otherwise."""
    latency = Sketch.of(latency_ms)
    waits = Sketch.of(np.full(latency.count, 3.0))
    base: dict[str, Any] = {
        "texts": latency.count, "errors": 0, "batches": latency.count, "effective_batches": float(latency.count),
        "cache_hits": 20, "cache_misses": 80, "tokens_received": 1000, "tokens_embedded": 800, "unpriced_tokens": 0,
        "cost_nano_usd": 16_000, "covered_seconds": 10.0, "phase_seconds": {"embed": 2.0, "publish": 0.5},
        "latency_sketch": latency.to_text(), "queue_wait_sketch": waits.to_text(), "models": ["m"],
        "price_sources": ["override"],
    }  # fmt: skip
    return Measured(Numbers(**(base | fields)), latency, waits)


def baseline(name: str = "v1", **scopes: Measured) -> Baseline:
    """Scopes by name; `all` of 1,000 texts between 50 and 150 ms without any."""
    return Baseline(name, 1_800_000_000.0, 3600, scopes or {"all": measured(np.linspace(50, 150, 1000))})
