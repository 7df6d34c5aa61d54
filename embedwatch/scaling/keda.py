"""KEDA's Kafka trigger and the HorizontalPodAutoscaler behind it, as their documentation describes them. Pure.

What ours is compared with. The trigger gives the lag in messages, cut off at `partitions x lagThreshold`; the HPA looks
every 15 s, wants `ceil(lag / lagThreshold)` replicas unless that is within a tenth of what there is, adds at most 4 or
100 % in 15 s, and takes away only what was not wanted at any time of the last 300 s (its stabilisation window).
https://keda.sh/docs/latest/scalers/apache-kafka/ and
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ say so.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from embedwatch.scaling.policy import Load

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
UP_PODS, UP_FACTOR = 4, 2.0


@dataclass(slots=True)
class Keda:
    """`lag_threshold_texts`: `lagThreshold`, in texts; a message of many texts counts as so many."""

    lag_threshold_texts: float
    min_workers: int = 1
    max_workers: int = 100
    down_stabilization_seconds: float = 300.0
    _next: float = 0.0
    _current: int | None = None
    _recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, load: Load, now: float) -> int:
        """Replicas from now on."""
        have = load.workers + load.starting
        if self._current is not None and now < self._next:
            return self._current
        self._next = now + SYNC_SECONDS
        most = min(self.max_workers, load.partitions)
        lag = min(load.backlog_texts or 0.0, load.partitions * self.lag_threshold_texts)
        ratio = lag / (self.lag_threshold_texts * max(have, 1))
        wanted = have if abs(ratio - 1.0) <= TOLERANCE and have else math.ceil(lag / self.lag_threshold_texts)
        wanted = min(max(wanted, self.min_workers), most)
        self._recommended.append((now, wanted))
        while self._recommended[0][0] < now - self.down_stabilization_seconds:
            self._recommended.popleft()
        stable = max(number for _, number in self._recommended)
        fastest = max(have + UP_PODS, math.floor(have * UP_FACTOR))
        self._current = wanted = min(wanted, fastest) if wanted > have else min(have, stable)
        return wanted
