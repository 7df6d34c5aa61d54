"""The guide's alerts and dashboard, for one process. Across processes the stages do this: rules, routes, Slack."""

from __future__ import annotations

import difflib
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

from embedwatch.errors import ConfigError

log = logging.getLogger("embedwatch.sdk")

#: The guide's.
THRESHOLDS: dict[str, float] = {
    "latency_p95_ms": 500,
    "error_rate_pct": 1.0,
    "cache_hit_rate_pct": 40,
    "daily_cost_usd": 100,
    "queue_depth": 1000,
}
MOST_ALERTS = 1000


class _Kind(NamedTuple):
    alert_type: str
    words: str
    below: bool = False


_KINDS = {
    "latency_p95_ms": _Kind("HIGH_LATENCY", "p95 latency: {:.2f}ms"),
    "error_rate_pct": _Kind("HIGH_ERROR_RATE", "Error rate: {:.2f}%"),
    "cache_hit_rate_pct": _Kind("LOW_CACHE_HIT_RATE", "Cache hit rate: {:.2f}%", below=True),
    "daily_cost_usd": _Kind("BUDGET_EXCEEDED", "Daily cost: ${:.2f}"),
    "queue_depth": _Kind("HIGH_QUEUE_DEPTH", "Queue depth: {:.0f}"),
}


class AlertSystem:
    """`check_metrics(monitor.summary())` against thresholds by name.

    Where it differs from the guide's: an alert is told once and then its end (the guide tells it again with every
    check); any part of the thresholds may be left out (there a KeyError); `queue_depth`, which the guide lists, is
    checked; a number that is missing or None neither raises an alert nor ends one; times have a zone. `notify` takes
    each alert; without it they are printed, as in the guide.

    `daily_cost_usd` of a summary is the spend of this process, since it was started, of the day in the time zone of
    `EmbeddingMetrics(timezone=...)`: neither other processes nor a start before are in it. That is what the agents are
    for. No summary has a `queue_depth`: the SDK knows no queue of yours, and its own holds calls that are over. Give
    `queue_depth`, which is asked at every check (`queue.qsize`), or put the number into the metrics. What a check could
    not judge is in `unknown()`, and a threshold without any number is said once in the log.
    """

    def __init__(
        self,
        thresholds: Mapping[str, float] = THRESHOLDS,
        *,
        notify: Callable[[dict[str, Any]], None] | None = None,
        queue_depth: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name in thresholds:
            if name not in _KINDS:
                near = difflib.get_close_matches(str(name), _KINDS, n=1)
                raise ConfigError(
                    f"threshold {name!r} is not known; "
                    + (f"did you mean {near[0]}?" if near else f"known are {', '.join(_KINDS)}")
                )
            if _number(thresholds[name]) is None:
                raise ConfigError(f"threshold {name} is {thresholds[name]!r}; it must be a number")
        self.thresholds = dict(thresholds)
        self._queue_depth = queue_depth
        self._unknown: dict[str, str] = {}
        self._told: set[str] = set()
        self.alerts: deque[dict[str, Any]] = deque(maxlen=MOST_ALERTS)
        self._notify = notify or _print
        self._clock = clock
        self._firing: set[str] = set()

    def check_metrics(self, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is new: alerts that begin (`state` "firing") and those that are over ("resolved")."""
        new = []
        self._unknown = {}
        for name, threshold in self.thresholds.items():
            kind = _KINDS[name]
            value, why = self._value(name, metrics)
            if value is None:
                self._unknown[name] = why
                continue
            breached = value < threshold if kind.below else value > threshold
            if breached == (kind.alert_type in self._firing):
                continue
            (self._firing.add if breached else self._firing.discard)(kind.alert_type)
            new.append(self._tell(kind, value, threshold, breached))
        return new

    def _value(self, name: str, metrics: Mapping[str, Any]) -> tuple[float | None, str]:
        """The number to judge, or why there is none."""
        given: Any = metrics.get(name)
        if name == "queue_depth" and name not in metrics and self._queue_depth is not None:
            try:
                given = self._queue_depth()
            except Exception as error:
                return None, f"queue_depth() raised {type(error).__name__}"
        elif name not in metrics:
            self._say_once(name)
            return None, "the metrics have no such number"
        if given is None:
            return None, "not known yet"
        value = _number(given)
        return value, "" if value is not None else f"no number, but {type(given).__name__}"

    def _say_once(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            hint = ": give AlertSystem(queue_depth=...)" if name == "queue_depth" else ""
            log.warning("alerts: the threshold %s cannot be judged, the metrics have no such number%s", name, hint)

    def unknown(self) -> dict[str, str]:
        """Thresholds that the last check could not judge, with the reason: they neither fired nor ended."""
        return dict(self._unknown)

    def _tell(self, kind: _Kind, value: float, threshold: float, breached: bool) -> dict[str, Any]:
        alert = {
            "type": kind.alert_type,
            "state": "firing" if breached else "resolved",
            "message": kind.words.format(value),
            "value": value,
            "threshold": threshold,
            "timestamp": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
        }
        self.alerts.append(alert)
        self._notify(alert)
        return alert

    def get_alerts(self) -> list[dict[str, Any]]:
        """The last thousand, the oldest first."""
        return list(self.alerts)

    def firing(self) -> frozenset[str]:
        """Types that are not over."""
        return frozenset(self._firing)


def _number(value: Any) -> float | None:
    """None for what is none: a text that looks like one, a truth value, NaN."""
    if isinstance(value, str | bytes | bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _print(alert: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{'ALERT' if alert['state'] == 'firing' else 'OVER'} [{alert['type']}]: {alert['message']}\n")


def print_dashboard(
    metrics: Mapping[str, Any],
    cache_metrics: Mapping[str, Any] | None = None,
    cost_tracker: Mapping[str, Any] | None = None,
    *,
    file: TextIO | None = None,
) -> None:
    """The guide's dashboard. `Monitor.summary()` alone is enough; what is not known is a dash, no KeyError."""
    cache = cache_metrics or {
        "hit_rate_pct": metrics.get("cache_hit_rate_pct"), "hits": metrics.get("cache_hits"),
        "misses": metrics.get("cache_misses"),
    }  # fmt: skip
    cost, texts = metrics.get("total_cost_usd"), metrics.get("total_texts")
    costs = cost_tracker or {
        "total_cost_usd": cost, "total_tokens": metrics.get("total_tokens"),
        "avg_cost_per_text": cost / texts if cost is not None and texts else None,
    }  # fmt: skip
    lines = [
        "=" * 60, "EMBEDDING PIPELINE DASHBOARD", "=" * 60,
        "\nPERFORMANCE:",
        f"  Throughput:     {_show(metrics.get('throughput_texts_per_sec'), '{:.2f} texts/sec')}",
        f"  Latency (avg):  {_show(metrics.get('avg_latency_ms'), '{:.2f} ms')}",
        f"  Latency (p95):  {_show(metrics.get('latency_p95_ms'), '{:.2f} ms')}",
        f"  Error Rate:     {_show(metrics.get('error_rate_pct'), '{:.2f}%')}",
        "\nCACHE:",
        f"  Hit Rate:       {_show(cache.get('hit_rate_pct'), '{:.2f}%')}",
        f"  Total Hits:     {_show(cache.get('hits'), '{:,}')}",
        f"  Total Misses:   {_show(cache.get('misses'), '{:,}')}",
        "\nCOST:",
        f"  Total Cost:     {_show(costs.get('total_cost_usd'), '${:.6f}')}",
        f"  Total Tokens:   {_show(costs.get('total_tokens'), '{:,}')}",
        f"  Avg Cost/Text:  {_show(costs.get('avg_cost_per_text'), '${:.9f}')}",
        "\nOVERALL:",
        f"  Total Texts:    {_show(texts, '{:,}')}",
        f"  Elapsed Time:   {_show(metrics.get('elapsed_seconds'), '{:.2f}s')}",
        "=" * 60,
    ]  # fmt: skip
    (file or sys.stdout).write("\n".join(lines) + "\n")


def _show(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)
