"""What can be measured: groups of claims, each measured in one run, so that their ratios come from the same minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks import (
    agents_latency,
    agents_recovery,
    agents_sketch,
    agents_speed,
    alerts_latency,
    fleet,
    lag,
    scaling,
    sdk_overhead,
    workers_cache,
    workers_memory,
    workers_speed,
)
from benchmarks.claims import Claim, Result

Group = tuple[tuple[Claim, ...], Callable[[frozenset[str]], Iterable[Result]]]
GROUPS: tuple[Group, ...] = (
    (workers_speed.CLAIMS, workers_speed.measure),
    (workers_cache.CLAIMS, workers_cache.measure),
    (workers_memory.CLAIMS, workers_memory.measure),
    (agents_speed.CLAIMS, agents_speed.measure),
    (agents_latency.CLAIMS, agents_latency.measure),
    (agents_sketch.CLAIMS, agents_sketch.measure),
    (agents_recovery.CLAIMS, agents_recovery.measure),
    (alerts_latency.CLAIMS, alerts_latency.measure),
    (scaling.CLAIMS, scaling.measure),
    (lag.CLAIMS, lag.measure),
    (fleet.CLAIMS, fleet.measure),
    (sdk_overhead.CLAIMS, sdk_overhead.measure),
)
