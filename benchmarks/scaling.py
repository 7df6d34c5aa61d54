"""The scaling policy beside KEDA's rule at its best, on every trace; and how long a large simulation takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.claims import Claim, Result
from embedwatch.scaling.policy import Aims, Scaler
from embedwatch.scaling.simulator import Plant, simulate
from embedwatch.scaling.traces import SHAPES, trace
from embedwatch.scaling.versus import FEWER_HOURS_PCT, STABILIZATIONS_SECONDS, settings_of, versus

VERSUS = Claim(
    "autoscale_vs_keda_traces_won",
    "traces (of five) on which, beside KEDA at its best setting, the same p95 wait takes 20 % fewer worker-hours, or "
    "the same worker-hours bring a p95 wait 30 % lower",
    "traces", 5.0, "at_least",
)  # fmt: skip
DAY = Claim(
    "simulate_day_s", "24 h of 1,000 partitions and 500 workers simulated", "s", 30.0, "at_most"
)  # fmt: skip
CLAIMS = (VERSUS, DAY)

STEP_SECONDS = 5.0
PLANT = Plant(partitions=120, capacity_texts_per_s=100.0, warm_up_seconds=30.0, rebalance_seconds=3.0)
MEAN_TEXTS_PER_S = 600.0
THRESHOLDS = 14


def measure(ids: frozenset[str]) -> Iterator[Result]:
    if DAY.id in ids:
        yield day()
    if VERSUS.id in ids:
        yield beside_keda()


def day() -> Result:
    plant = Plant(partitions=1000, capacity_texts_per_s=10.0, warm_up_seconds=60.0, start_workers=100)
    arrivals = trace("wave", texts_per_s=2000.0, seconds=86_400, step_seconds=STEP_SECONDS)
    scaler = Scaler(Aims(max_workers=500))
    begun = time.perf_counter()
    found = simulate(arrivals, STEP_SECONDS, plant, lambda load, now: scaler.decide(load, now).desired)
    took = time.perf_counter() - begun
    return Result.of(DAY, [took], most_workers=float(found.workers.max()), steps=float(len(arrivals)))


def beside_keda() -> Result:
    won = 0
    told: dict[str, float] = {}
    settings = settings_of(PLANT.capacity_texts_per_s, THRESHOLDS, STABILIZATIONS_SECONDS)
    for name in SHAPES:
        mean = 1e8 / 86_400 if name == "day-100m" else MEAN_TEXTS_PER_S
        arrivals = trace(name, texts_per_s=mean, seconds=86_400, step_seconds=STEP_SECONDS)
        found = versus(arrivals, STEP_SECONDS, PLANT, Aims(max_workers=PLANT.partitions), settings)
        won += found.won
        told[f"{name}_p95_s"] = found.ours.wait_p95_seconds
        told[f"{name}_worker_hours"] = found.ours.worker_hours
        told[f"{name}_changes"] = float(found.ours.scale_events)
        for what, best in (("same_wait", found.same_wait), ("same_hours", found.same_hours)):
            if best is not None:
                told[f"{name}_keda_{what}_p95_s"] = best[1].wait_p95_seconds
                told[f"{name}_keda_{what}_worker_hours"] = best[1].worker_hours
    told["fewer_hours_wanted_pct"] = FEWER_HOURS_PCT
    return Result.of(VERSUS, [float(won)], **told)
