"""Level 2: the numbers of all calls of this process, in memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from embedwatch.events import CANCELLED
from embedwatch.pricing import known_nano_usd, money_state, to_usd
from embedwatch.sdk.bounds import Bounds
from embedwatch.sdk.call import Call
from embedwatch.sdk.day import DayCost, zone_of
from embedwatch.sdk.texts import MOST_TEXTS, whole
from embedwatch.sketch import Sketch

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class EmbeddingMetrics:
    """Counts calls, and tells them as the guide's class of this name does: `record_operation` and `summary`.

    Where the two differ, the guide's number was not what its name says:

    - With nothing counted yet a rate is None. The guide says 0, which reads as "no errors" or "nothing cached".
    - `avg_latency_ms` is over all calls. The guide divides the time of all by the calls that missed the cache.
    - `error_rate` is failed calls of all calls that were not cancelled. The guide divides by those that missed the
      cache, and can pass 100 %.
    - Calls for which no cache was asked are in no `cache_hit_rate`.
      A call that its caller gave up is in `cancelled_calls` and `errors_by_class`, and has not failed.
    - `total_cost_usd` is None where no price is known, and a part where `cost_state` is "partial". The guide says 0.
    - Latency is of calls that succeeded: a failure is counted as one, and not as a fast or slow answer.
    - `daily_cost_usd` is of the calls that ended since midnight of `timezone`, by this process since it was started.

    `cache_hit_rate_pct` and `error_rate_pct` are the same numbers under the names that thresholds have. Any thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        timezone: str = "UTC",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._zone = zone_of(timezone)
        self.reset()

    def reset(self) -> None:
        """Begin anew. Also what a forked child does."""
        self._lock = threading.RLock()  # reentrant, for signal handlers
        self._begun = self._clock()
        self._day = DayCost(self._zone)
        self._latency = Sketch()
        self._phases: dict[str, float] = {}
        self._bounds = Bounds()
        self._errors: Counter[str] = Counter()
        self.total_texts = self.total_calls = self.failed_calls = self.cancelled_calls = 0
        self.total_cache_hits = self.total_duplicates = self.total_misses = self._uncached = self.failed_texts = 0
        self.total_tokens = self.tokens_saved = self.unpriced_tokens = 0
        self._unpriced = self._unsaved = self._uncounted = self.unsettled_calls = 0
        self.cost_nano_usd = self.saved_nano_usd = 0

    def record(self, call: Call) -> None:
        """One call as the monitor saw it."""
        with self._lock:
            self._count(call.texts, call.cache_hits, call.duplicates, call.misses, call.errors)
            self._uncached += call.uncached_texts
            if call.error_class is not None:
                if call.error_class == CANCELLED:
                    self.cancelled_calls += 1
                else:
                    self.failed_calls += 1
                self._errors[call.error_class] += 1
            else:
                self._latency.add(call.seconds * 1000)
            for phase, seconds in call.phase_seconds.items():
                name = self._bounds.phase(phase)
                self._phases[name] = self._phases.get(name, 0.0) + seconds
            self.total_tokens += call.tokens or 0
            self.tokens_saved += call.tokens_saved
            self._uncounted += call.tokens is None
            # A call whose tokens nobody knows read one a text at least.
            unpriced = call.cost_nano_usd is None and (call.tokens if call.tokens is not None else call.misses)
            self.unpriced_tokens += unpriced or 0
            gap = bool(unpriced) or call.unsettled
            self._unpriced += gap
            self._day.add(call.cost_nano_usd or 0, gap, call.start_seconds + call.seconds)
            self.unsettled_calls += call.unsettled
            self._unsaved += call.saved_nano_usd is None
            self.cost_nano_usd += call.cost_nano_usd or 0
            self.saved_nano_usd += call.saved_nano_usd or 0

    def record_operation(
        self, num_texts: int, latency_ms: float, cache_hits: int = 0, cost: float | None = None, error: bool = False
    ) -> None:
        """As in the guide; `cost` in USD. Without one the cost is unknown, where the guide takes it for free."""
        from embedwatch.sdk.context import nano_usd

        texts = whole(num_texts, MOST_TEXTS) or 0
        hits = 0 if error else min(whole(cache_hits, MOST_TEXTS) or 0, texts)
        spent = 0 if cost is None and texts and hits == texts else nano_usd(cost)
        with self._lock:
            self._count(texts, hits, 0, 0 if error else texts - hits, texts if error else 0)
            if error:
                self.failed_calls += 1
                self._errors["other"] += 1
            else:
                self._latency.add(latency_ms)
            self._uncounted += 1
            self._unpriced += spent is None
            self._day.add(spent or 0, spent is None, self._wall_clock())
            self.cost_nano_usd += spent or 0

    def _count(self, texts: int, hits: int, duplicates: int, misses: int, failed: int) -> None:
        self.total_calls += 1
        self.total_texts += texts
        self.total_cache_hits += hits
        self.total_duplicates += duplicates
        self.total_misses += misses
        self.failed_texts += failed

    def summary(self) -> dict[str, Any]:
        """The guide's keys and some more. What is not known is None."""
        with self._lock:
            elapsed = self._clock() - self._begun
            done = self.total_texts - self.failed_texts
            # Where no cache is asked nothing is missed in one.
            hit_rate = _pct(self.total_cache_hits, self.total_cache_hits + self.total_misses - self._uncached)
            error_rate = _pct(self.failed_calls, self.total_calls - self.cancelled_calls)
            latency = self._latency
            spread = {f"latency_{name}_ms": latency.quantile(q) for name, q in PERCENTILES.items()}
            some = bool(latency.count)
            today = self._day.today(self._wall_clock())
            return {
                "total_texts": self.total_texts,
                "cache_hit_rate": hit_rate,
                "avg_latency_ms": latency.mean(),
                "throughput_texts_per_sec": done / elapsed if elapsed > 0 and self.total_calls else None,
                "total_cost_usd": to_usd(known_nano_usd(self.cost_nano_usd, self._unpriced)),
                "error_rate": error_rate,
                "elapsed_seconds": elapsed,
                **spread,
                "latency_min_ms": latency.minimum if some else None,
                "latency_max_ms": latency.maximum if some else None,
                "cache_hit_rate_pct": hit_rate,
                "error_rate_pct": error_rate,
                "cost_state": money_state(self.cost_nano_usd, self._unpriced),
                "daily_cost_usd": to_usd(known_nano_usd(*today)),
                "daily_cost_state": money_state(*today),
                "saved_usd": to_usd(known_nano_usd(self.saved_nano_usd, self._unsaved)),
                "total_tokens": None if self._uncounted and not self.total_tokens else self.total_tokens,
                "tokens_saved": self.tokens_saved,
                "unpriced_tokens": self.unpriced_tokens,
                "unsettled_calls": self.unsettled_calls,
                "total_calls": self.total_calls,
                "failed_calls": self.failed_calls,
                "cancelled_calls": self.cancelled_calls,
                "failed_texts": self.failed_texts,
                "cache_hits": self.total_cache_hits,
                "cache_misses": self.total_misses,
                "duplicates": self.total_duplicates,
                "errors_by_class": dict(self._errors),
                "phase_ms": {name: seconds * 1000 for name, seconds in self._phases.items()},
            }


class MemorySink:
    """Keeps `EmbeddingMetrics` of the monitor's calls. Every monitor has one: it is added where none is given."""

    begins = False

    def __init__(self, metrics: EmbeddingMetrics | None = None, *, name: str = "memory") -> None:
        self.name = name
        self.metrics = metrics or EmbeddingMetrics()

    def begin(self) -> None:
        """Keeps nothing."""

    def record(self, call: Call) -> None:
        self.metrics.record(call)

    def summary(self) -> dict[str, Any]:
        return self.metrics.summary()

    def after_fork(self) -> None:
        """The child counts its own calls."""
        self.metrics.reset()

    def flush(self, timeout_seconds: float) -> bool:
        return True

    def close(self, timeout_seconds: float) -> None:
        """The numbers stay."""


def _pct(part: int, whole_: int) -> float | None:
    return 100.0 * part / whole_ if whole_ else None
