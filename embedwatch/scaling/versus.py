"""One trace through our policy and through KEDA's rule in many settings: who needs less for the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embedwatch.scaling.keda import Keda
from embedwatch.scaling.policy import Aims, Scaler
from embedwatch.scaling.simulator import Outcome, Plant, simulate
from embedwatch.scaling.traces import Array

#: What is worth a change of tool: so many fewer worker-hours for the same wait, or that much less wait for the same.
FEWER_HOURS_PCT = 20.0
LOWER_WAIT_PCT = 30.0
#: Two waits, or two bills, that are called the same.
SAME = 1.005
#: KEDA's default, a minute, and none at all.
STABILIZATIONS_SECONDS = (300.0, 60.0, 0.0)
#: lagThreshold in seconds of a worker's work, from half a second to ten minutes.
THRESHOLDS_SECONDS = (0.5, 600.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """Of KEDA."""

    lag_threshold_texts: float
    down_stabilization_seconds: float


@dataclass(frozen=True, slots=True)
class Versus:
    """`same_wait`: KEDA's cheapest setting that waits no longer (p95) than ours; `same_hours`: of those that cost no
    more, the one that waits least. None where there is none."""

    ours: Outcome
    keda: Sequence[tuple[Setting, Outcome]]

    @property
    def same_wait(self) -> tuple[Setting, Outcome] | None:
        limit = max(self.ours.wait_p95_seconds * SAME, 0.1)
        fit = [each for each in self.keda if each[1].wait_p95_seconds <= limit]
        return min(fit, key=lambda each: each[1].worker_hours) if fit else None

    @property
    def same_hours(self) -> tuple[Setting, Outcome] | None:
        fit = [each for each in self.keda if each[1].worker_hours <= self.ours.worker_hours * SAME]
        return min(fit, key=lambda each: each[1].wait_p95_seconds) if fit else None

    @property
    def fewer_hours_pct(self) -> float | None:
        """Worker-hours saved at the same wait; None where no setting of KEDA waits as little."""
        found = self.same_wait
        return None if found is None else 100.0 * (1.0 - self.ours.worker_hours / found[1].worker_hours)

    @property
    def lower_wait_pct(self) -> float | None:
        """p95 wait saved at the same worker-hours; None where no setting of KEDA costs as little."""
        found = self.same_hours
        if found is None or not found[1].wait_p95_seconds:
            return None if found is None else 0.0
        return 100.0 * (1.0 - self.ours.wait_p95_seconds / found[1].wait_p95_seconds)

    @property
    def won(self) -> bool:
        """By either of the two measures, or because KEDA reaches neither our wait nor our bill."""
        fewer, lower = self.fewer_hours_pct, self.lower_wait_pct
        if fewer is None and lower is None:
            return True
        return (fewer is not None and fewer >= FEWER_HOURS_PCT) or (lower is not None and lower >= LOWER_WAIT_PCT)


def settings_of(capacity_texts_per_s: float, thresholds: int, stabilizations: Sequence[float]) -> list[Setting]:
    """So many lag thresholds, evenly spread on a logarithmic scale, with each of the stabilisation windows."""
    low, high = THRESHOLDS_SECONDS
    return [
        Setting(float(seconds * capacity_texts_per_s), stabilization)
        for stabilization in stabilizations
        for seconds in np.geomspace(low, high, thresholds)
    ]


def versus(
    arrivals: Array,
    step_seconds: float,
    plant: Plant,
    aims: Aims,
    settings: Sequence[Setting],
    told: Callable[[int], None] = lambda _: None,
) -> Versus:
    """`told` is called with the number of simulations done."""
    scaler = Scaler(aims)
    ours = simulate(arrivals, step_seconds, plant, lambda load, now: scaler.decide(load, now).desired)
    told(1)
    keda = []
    for number, setting in enumerate(settings, 2):
        rule = Keda(
            setting.lag_threshold_texts,
            min_workers=aims.min_workers,
            max_workers=aims.most(plant.partitions)[0],
            down_stabilization_seconds=setting.down_stabilization_seconds,
        )
        keda.append((setting, simulate(arrivals, step_seconds, plant, rule.decide)))
        told(number)
    return Versus(ours, keda)
