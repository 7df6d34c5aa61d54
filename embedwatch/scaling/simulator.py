"""A queue, its workers and whoever decides how many they are, step by step. Pure; texts are a fluid.

Each partition has a queue of its own and is read by one worker, a worker reads its partitions in turn and does
`capacity_texts_per_s` in all. A worker that is started works after `warm_up_seconds`; when one joins or leaves, nobody
reads for `rebalance_seconds`. The wait of a text is exact for the fluid: from the curve of arrivals to the departures'.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from embedwatch.scaling.policy import Load
from embedwatch.scaling.traces import Array

#: Rates of lag samples are over a minute.
RATE_SECONDS = 60.0
_BINS_PER_E = 100  # waits to 1 %
_FIRST_SECONDS, _BINS = 0.05, 2000


@dataclass(frozen=True, slots=True)
class Plant:
    """What is scaled."""

    partitions: int = 24
    capacity_texts_per_s: float = 100.0
    warm_up_seconds: float = 30.0
    rebalance_seconds: float = 3.0
    start_workers: int = 1
    #: How much of what arrives each partition gets; None: all the same.
    weights: Array | None = None


@dataclass(slots=True)
class Outcome:
    """What came of it. Waits are over texts, `worker_hours` from the start of a process to its end."""

    texts: float
    worker_hours: float
    scale_events: int
    turns: int  # changes of direction
    left_texts: float
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_max_seconds: float
    #: By step: texts arriving, waiting, workers that work, wanted.
    arrivals: Array = field(repr=False)
    backlog: Array = field(repr=False)
    workers: Array = field(repr=False)
    waits: Array = field(repr=False)  # of the texts done in the step, the mean; NaN where none was


Decide = Callable[[Load, float], int]


class _Waits:
    """Texts by their wait."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS + 1)
        self.longest = 0.0

    def add(self, seconds: Array, texts: Array) -> None:
        bins = np.zeros(len(seconds), dtype=np.int64)
        some = seconds > _FIRST_SECONDS
        bins[some] = np.minimum((np.log(seconds[some] / _FIRST_SECONDS) * _BINS_PER_E).astype(np.int64) + 1, _BINS)
        self.counts += np.bincount(bins, weights=texts, minlength=_BINS + 1)
        done = texts > 0
        if done.any():
            self.longest = max(self.longest, float(seconds[done].max()))

    def quantile(self, share: float) -> float:
        total = self.counts.sum()
        if not total:
            return math.nan
        found = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return 0.0 if found == 0 else _FIRST_SECONDS * math.exp((found - 0.5) / _BINS_PER_E)


class _Fleet:
    """Workers that work and that start; who reads which partition."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.ready = plant.start_workers
        self.starting: deque[float] = deque()  # when each will work
        self.paused_until = 0.0
        self.of = self._assigned()

    def _assigned(self) -> np.ndarray:
        return np.arange(self.plant.partitions) % max(self.ready, 1)

    def to(self, number: int, now: float) -> None:
        """Start or stop as many; who starts is stopped first."""
        while len(self.starting) and self.ready + len(self.starting) > number:
            self.starting.pop()
        if self.ready > number:
            self.ready = number
            self._rebalance(now)
        for _ in range(number - self.ready - len(self.starting)):
            self.starting.append(now + self.plant.warm_up_seconds)

    def arrive(self, now: float) -> None:
        before = self.ready
        while self.starting and self.starting[0] <= now:
            self.starting.popleft()
            self.ready += 1
        if self.ready != before:
            self._rebalance(now)

    def _rebalance(self, now: float) -> None:
        self.of = self._assigned()
        self.paused_until = now + self.plant.rebalance_seconds

    @property
    def all(self) -> int:
        return self.ready + len(self.starting)


def simulate(arrivals: Array, step_seconds: float, plant: Plant, decide: Decide, every_seconds: float = 5.0) -> Outcome:
    """Run a trace (`traces.trace`) through a policy that is asked each `every_seconds`."""
    steps, parts = len(arrivals), plant.partitions
    weights = np.full(parts, 1.0 / parts) if plant.weights is None else plant.weights / plant.weights.sum()
    times = np.arange(1, steps + 1) * step_seconds
    curve = np.concatenate([[0.0], np.cumsum(arrivals)])  # of all, at the end of each step
    edges = np.concatenate([[0.0], times])
    fleet, waits = _Fleet(plant), _Waits()
    done = np.zeros(parts)
    backlog, workers, mean_waits = np.zeros(steps), np.zeros(steps), np.full(steps, np.nan)
    hours, events, turns, direction = 0.0, 0, 0, 0
    asked = 0.0
    window = max(round(RATE_SECONDS / step_seconds), 1)
    for step in range(steps):
        now = float(times[step])
        fleet.arrive(now)
        queue = curve[step + 1] * weights - done
        served = _serve(queue, fleet, now, step_seconds)
        before = done
        done = done + served
        if served.any():
            # When those came that leave now: half a step and its share are lost in neither direction.
            came = np.interp((before + served / 2.0) / weights, curve, edges)
            late = np.maximum(now - step_seconds / 2.0 - came, 0.0)
            waits.add(late, served)
            mean_waits[step] = float(np.average(late, weights=served))
        waiting = max(curve[step + 1] - float(done.sum()), 0.0)
        backlog[step], workers[step] = waiting, fleet.ready
        hours += fleet.all * step_seconds / 3600.0
        if now >= asked:
            asked = now + every_seconds
            first = max(step + 1 - window, 0)
            rate = (curve[step + 1] - curve[first]) / ((step + 1 - first) * step_seconds)
            load = Load(
                status="OK", partitions=parts, backlog_texts=0.0 if waiting < 0.5 else waiting,
                arrival_texts_per_s=rate, capacity_texts_per_s=plant.capacity_texts_per_s, workers=fleet.ready,
                starting=len(fleet.starting), warm_up_seconds=plant.warm_up_seconds,
            )  # fmt: skip
            wanted, had = decide(load, now), fleet.all
            if wanted != had:
                events += 1
                turn = 1 if wanted > had else -1
                turns += direction not in (0, turn)
                direction = turn
                fleet.to(wanted, now)
    return Outcome(
        texts=float(curve[-1]),
        worker_hours=hours,
        scale_events=events,
        turns=turns,
        left_texts=max(float(curve[-1] - done.sum()), 0.0),
        wait_p50_seconds=waits.quantile(0.5),
        wait_p95_seconds=waits.quantile(0.95),
        wait_max_seconds=waits.longest,
        arrivals=arrivals,
        backlog=backlog,
        workers=workers,
        waits=mean_waits,
    )


def _serve(queue: Array, fleet: _Fleet, now: float, step_seconds: float) -> Array:
    """Texts done of each partition in a step."""
    start = now - step_seconds
    working = step_seconds - min(max(fleet.paused_until - start, 0.0), step_seconds)
    if not fleet.ready or working <= 0.0:
        return np.zeros_like(queue)
    each = fleet.plant.capacity_texts_per_s * working
    asked = np.bincount(fleet.of, weights=queue, minlength=fleet.ready)
    share = np.minimum(1.0, each / np.maximum(asked, 1e-12))
    served: Array = queue * share[fleet.of]
    return served
