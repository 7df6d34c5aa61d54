"""Verdicts for the tests of alerting."""

from __future__ import annotations

from typing import Any

from embedwatch.events import Judgement, Verdict


def verdict(judgement: Judgement = "breached", at: float = 1000.0, **more: Any) -> Verdict:
    """A verdict of a latency rule, judged at `at` (Unix seconds); `more` replaces fields."""
    values = {"breached": 1240.0, "ok": 210.0}
    fields: dict[str, Any] = {
        "alert_id": "latency_p95_ms|model=minilm",
        "time_seconds": at,
        "rule": "latency_p95_ms",
        "alert_type": "HIGH_LATENCY",
        "severity": "critical",
        "scope": {"model": "minilm"},
        "judgement": judgement,
        "metric": "latency_p95_ms",
        "threshold": 800.0,
        "comparison": ">",
        "unit": "ms",
        "window_seconds": 10.0,
        "samples": 240,
        "value": values.get(judgement),
    }
    return Verdict(**(fields | more))
