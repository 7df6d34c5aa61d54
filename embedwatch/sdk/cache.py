"""The guide's numbers of a cache: how often it had the text, how large it is, and what it saved."""

from __future__ import annotations

import threading
from typing import Any


class CacheMetrics:
    """Counts hits and misses. With none of either the hit rate is None, where the guide says 0 %. Any thread."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()

    def record_hit(self, count: int = 1) -> None:
        with self._lock:
            self.hits += count

    def record_miss(self, count: int = 1) -> None:
        with self._lock:
            self.misses += count

    def hit_rate(self) -> float | None:
        """Per cent."""
        total = self.hits + self.misses
        return 100.0 * self.hits / total if total else None

    def summary(self) -> dict[str, float | int | None]:
        rate = self.hit_rate()
        return {
            "hits": self.hits,
            "misses": self.misses,
            "total": self.hits + self.misses,
            "hit_rate_pct": None if rate is None else round(rate, 2),
        }


class CacheSizeMonitor:
    """Size of a Redis or Valkey cache, asked of a client of redis-py (or one like it).

    Where it differs from the guide's: `avg_entry_size_kb` is the memory of the data over the entries of all databases,
    which is what that memory is of (the guide divides all memory of the server, buffers too, by the entries of one
    database); it is None for an empty cache; and a cache that cannot be asked is None with a reason, no exception.
    """

    def __init__(self, redis_client: Any) -> None:
        self.redis = redis_client

    def get_cache_size(self) -> int:
        """Entries of the client's database. Raises what the client raises."""
        return int(self.redis.dbsize())

    def get_memory_usage(self) -> float:
        """MB of the whole server. Raises what the client raises."""
        return float(self.redis.info("memory")["used_memory"]) / (1024 * 1024)

    def get_stats(self) -> dict[str, float | int | str | None]:
        """`cache_entries`, `memory_mb`, `avg_entry_size_kb`, and `unavailable`: why it could not be asked."""
        try:
            entries = self.get_cache_size()
            memory = self.redis.info("memory")
            keyspace = self.redis.info("keyspace")
            everywhere = sum(int(db["keys"]) for db in keyspace.values() if isinstance(db, dict)) or entries
            data_bytes = float(memory.get("used_memory_dataset", memory["used_memory"]))
            return {
                "cache_entries": entries,
                "memory_mb": round(float(memory["used_memory"]) / (1024 * 1024), 2),
                "avg_entry_size_kb": round(data_bytes / 1024 / everywhere, 2) if everywhere else None,
                "unavailable": None,
            }
        except Exception as error:  # of any client, and its address may hold a password: no message
            nothing = dict.fromkeys(("cache_entries", "memory_mb", "avg_entry_size_kb"))
            return {**nothing, "unavailable": type(error).__name__}


def analyze_cache_effectiveness(cache_metrics: Any, cost_tracker: Any = None) -> dict[str, float | None]:
    """What the cache saved: of a `CacheMetrics` and a `CostTracker`, or of `Monitor.summary()` alone.

    The saving is measured: the price of the tokens of those texts that were hits (`CostTracker.record_cached`). The
    guide extrapolates `cost / (1 - hit rate)`, which is right only if hits are as long as misses, and divides by zero
    when everything was a hit. Where the price, or what the hits held, is not known, the saving is None.
    """
    if cost_tracker is None:
        rate, actual, saved = (cache_metrics[name] for name in ("cache_hit_rate", "total_cost_usd", "saved_usd"))
    else:
        rate, actual = cache_metrics.hit_rate(), cost_tracker.total_cost
        counted = cost_tracker.cached_texts or not cache_metrics.hits
        saved = cost_tracker.total_saved if counted else None
    whole = None if actual is None or saved is None else actual + saved
    return {
        "cache_hit_rate": None if rate is None else round(rate, 2),
        "actual_cost_usd": actual,
        "no_cache_cost_usd": whole,
        "savings_usd": saved,
        "savings_pct": round(100.0 * saved / whole, 2) if whole and saved is not None else None,
    }
