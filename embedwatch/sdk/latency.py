"""The guide's trackers of latency: the spread of a number of calls, and where the time of one goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from embedwatch.sketch import Sketch


class LatencyTracker:
    """`record` latencies in ms, `percentiles` of them.

    The guide keeps every value in a list, which grows for ever. This one keeps a sketch of a few KiB whose percentiles
    are within 0.5 % of the exact ones; `avg`, `min` and `max` are exact. Any thread. `record` raises ValueError for
    what is no finite number.
    """

    def __init__(self) -> None:
        self._sketch = Sketch()
        self._lock = threading.Lock()

    def record(self, latency_ms: float) -> None:
        with self._lock:
            self._sketch.add(latency_ms)

    def percentiles(self) -> dict[str, float]:
        """`p50`, `p95`, `p99`, `avg`, `min`, `max` in ms; empty when nothing was recorded, as in the guide."""
        with self._lock:
            mean = self._sketch.mean()
            if mean is None:
                return {}
            found = {name: self._sketch.quantile(q) or 0.0 for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
            return {**found, "avg": mean, "min": self._sketch.minimum, "max": self._sketch.maximum}


class DetailedLatencyTracker:
    """Embeds one text through a cache and tells where the time went, as the guide's `track_embedding`.

    Where it differs: a cached vector is one that is not None (the guide asks whether it is true, which numpy refuses);
    a hit has a `total_ms`, too; the clock is monotonic; and `breakdown` sums up all calls. With a `monitor` each text
    is a call of it with its phases; in your own code `call.phase("cache_lookup")` does the same.
    """

    def __init__(self, embedder: Any, cache: Any = None, *, monitor: Any = None) -> None:
        self.embedder = embedder
        self.cache = cache
        self._monitor = monitor
        self._trackers: dict[str, LatencyTracker] = {}

    def track_embedding(self, text: str) -> tuple[Any, dict[str, float]]:
        """The vector, and ms by phase. What embedder and cache raise goes on."""
        if self._monitor is None:
            return self._track(text, None)
        with self._monitor.call(text) as call:
            return self._track(text, call)

    def _track(self, text: str, call: Any) -> tuple[Any, dict[str, float]]:
        timings: dict[str, float] = {}
        begun = perf_counter()
        found = None
        if self.cache is not None:
            found = self._timed(timings, "cache_lookup", call, lambda: self.cache.get(text))
        if found is None:
            found = self._timed(timings, "embedding_generation", call, lambda: self.embedder.embed_single(text))
            if self.cache is not None:
                self._timed(timings, "cache_write", call, lambda: self.cache.set(text, found))
        elif call is not None:
            call.cache(hits=1)
        timings["total_ms"] = (perf_counter() - begun) * 1000
        for name, latency_ms in timings.items():
            self._trackers.setdefault(name, LatencyTracker()).record(latency_ms)
        return found, timings

    def _timed(self, timings: dict[str, float], name: str, call: Any, work: Callable[[], Any]) -> Any:
        begun = perf_counter()
        try:
            return work()
        finally:
            seconds = perf_counter() - begun
            timings[f"{name}_ms"] = seconds * 1000
            if call is not None:
                call.add_phase("embed" if name == "embedding_generation" else name, seconds)

    def breakdown(self) -> dict[str, dict[str, float]]:
        """Percentiles by phase over all texts so far."""
        return {name: tracker.percentiles() for name, tracker in self._trackers.items()}
