"""What a demo found, as numbers: the file that `embedwatch demo --json` writes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec


class LatencyMs(msgspec.Struct, frozen=True):
    """Of a text, from the worker taking it to its vector's acknowledgement. None: no text was embedded."""

    p50: float | None
    p95: float | None
    p99: float | None


class AlertChange(msgspec.Struct, frozen=True):
    """One transition. `at` is ISO 8601 in UTC; `value` is the newest one judged when it happened."""

    type: str
    scope: str
    state: str
    value: float | None
    threshold: float
    at: str


class Outcome(msgspec.Struct, frozen=True):
    """`vectors_out` and `dead_letters` are counted in the topics, not taken from what the workers say of themselves."""

    texts_in: int
    vectors_out: int
    dead_letters: int
    model: str
    latency_ms: LatencyMs
    throughput_texts_per_s: float | None
    tokens: int
    cost_usd: float | None  # None: nothing has a price
    saved_usd: float | None
    cache_hit_rate_pct: float | None
    error_rate_pct: float | None
    alerts: list[AlertChange]
    slack_messages: int
    duration_s: float

    @property
    def complete(self) -> bool:
        """Every text became a vector or a dead letter, once."""
        return self.vectors_out + self.dead_letters == self.texts_in

    def fired(self, alert_type: str) -> bool:
        return any(change.type == alert_type and change.state == "firing" for change in self.alerts)

    def resolved(self, alert_type: str) -> bool:
        """It fired, and the last that was heard of it is that it is over."""
        states = [change.state for change in self.alerts if change.type == alert_type]
        return "firing" in states and states[-1] == "resolved"


class AlertLog:
    """Transitions out of the records of the `alerts` topic, each once, in order.

    Alerting owns those records; this reads the few fields that it shares with the world, as any other program would.
    """

    def __init__(self) -> None:
        self.changes: list[AlertChange] = []
        self._seen: set[tuple[str, float, str]] = set()

    def read(self, data: bytes | None) -> list[AlertChange]:
        """The transitions that this record tells for the first time. A record that is no alert tells none."""
        try:
            record = msgspec.json.decode(data or b"")
            verdict = record["verdict"]
            fresh = [
                (str(record["alert_id"]), float(step["at_seconds"]), str(step["status"]))
                for step in record.get("history", ())
            ]
            alert_type, scope = str(verdict["alert_type"]), scope_text(verdict.get("scope", {}))
            value: float | None = verdict.get("value")
            threshold = float(verdict["threshold"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
            return []
        new = []
        for key in fresh:
            if key not in self._seen and key[2] in ("firing", "no_data", "resolved"):
                self._seen.add(key)
                new.append(AlertChange(alert_type, scope, key[2], value, threshold, iso(key[1])))
        self.changes += new
        return new


def scope_text(scope: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in scope.items()) or "all"


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def outcome(
    *,
    texts_in: int,
    vectors_out: int,
    dead_letters: int,
    summary: dict[str, Any],
    alerts: Iterable[AlertChange],
    slack_messages: int,
    duration_s: float,
) -> Outcome:
    """From what was counted, and from the agents' `summary` over a window that holds the whole run."""
    performance, day = summary["performance"], summary["today"]
    latency = performance["latency_ms"]
    models = sorted({worker["model"] for worker in summary["workers"]})
    return Outcome(
        texts_in=texts_in,
        vectors_out=vectors_out,
        dead_letters=dead_letters,
        model=", ".join(models),
        latency_ms=LatencyMs(latency["p50"], latency["p95"], latency["p99"]),
        throughput_texts_per_s=performance["throughput_texts_per_s"],
        tokens=day["tokens_received"],
        cost_usd=day["cost_usd"],
        saved_usd=day["saved_usd"],
        cache_hit_rate_pct=summary["cache"]["hit_rate_pct"],
        error_rate_pct=performance["error_rate_pct"],
        alerts=list(alerts),
        slack_messages=slack_messages,
        duration_s=duration_s,
    )
