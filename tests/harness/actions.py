"""What people ask of alerts, for the tests of alerting."""

from __future__ import annotations

from typing import Any

from embedwatch.events import AlertAction


def action(do: Any = "acknowledge", at: float = 1000.0, **more: Any) -> AlertAction:
    """Of the alert and episode that `verdict` begins, at `at` (Unix seconds); `more` replaces fields."""
    fields: dict[str, Any] = {
        "action_id": f"{do}-{at}",
        "time_seconds": at,
        "alert_id": "latency_p95_ms|model=minilm",
        "episode": 1,
        "do": do,
        "by": "kim",
        "via": "slack",
    }
    return AlertAction(**(fields | more))
