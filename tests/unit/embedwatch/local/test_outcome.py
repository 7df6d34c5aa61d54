"""The outcome of a demo: transitions are told once and in order, and what did not happen is not claimed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alerting import states
from embedwatch.events import Verdict
from embedwatch.local.outcome import AlertChange, AlertLog, outcome

VERDICT = Verdict(
    alert_id="demo-latency|all", time_seconds=100.0, rule="demo-latency", alert_type="HIGH_LATENCY", severity="warning",
    scope={}, judgement="breached", metric="latency_p95_ms", threshold=2000.0, comparison=">", unit="ms",
    window_seconds=20.0, samples=50, value=3118.0,
)  # fmt: skip


def record(*history: tuple[float, states.Status], value: float | None = 3118.0) -> bytes:
    """An alert as alerting writes it: should its form change, these tests notice."""
    verdict = msgspec.structs.replace(VERDICT, value=value)
    state = states.AlertState(
        alert_id=VERDICT.alert_id, status=history[-1][1], changed_at_seconds=history[-1][0], verdict=verdict,
        event_seconds=100.0, local_seconds=100.0, heard_seconds=100.0, partition=0, offset=7,
        history=tuple(states.Transition(at, status, "fired") for at, status in history),
    )  # fmt: skip
    return states.encode(state)


def test_each_transition_is_told_once_with_the_value_of_its_time() -> None:
    log = AlertLog()
    assert log.read(record((99.0, "pending"), (100.0, "firing")))
    assert not log.read(record((99.0, "pending"), (100.0, "firing"), value=3500.0))
    assert log.read(record((99.0, "pending"), (100.0, "firing"), (114.5, "resolved"), value=218.0))
    assert log.changes == [
        AlertChange("HIGH_LATENCY", "all", "firing", 3118.0, 2000.0, "1970-01-01T00:01:40.000Z"),
        AlertChange("HIGH_LATENCY", "all", "resolved", 218.0, 2000.0, "1970-01-01T00:01:54.500Z"),
    ]


def test_both_transitions_of_a_record_written_late_are_told() -> None:
    log = AlertLog()
    log.read(record((100.0, "firing"), (114.5, "resolved"), value=None))
    assert [change.state for change in log.changes] == ["firing", "resolved"]
    assert log.changes[1].value is None


@pytest.mark.parametrize("value", [None, b"", b"null", b"[]", b"{}", b'{"verdict": 1}', b"\xff"])
def test_a_record_that_is_no_alert_tells_nothing(value: bytes | None) -> None:
    assert AlertLog().read(value) == []


SUMMARY: dict[str, Any] = {
    "performance": {
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0}, "throughput_texts_per_s": 40.0, "error_rate_pct": 0.0,
    },
    "today": {"tokens_received": 100, "cost_usd": 0.5, "saved_usd": 0.1},
    "cache": {"hit_rate_pct": None},
    "workers": [{"model": "m"}, {"model": "m"}],
}  # fmt: skip


def found(*, vectors: int, dead: int, alerts: list[AlertChange]) -> Any:
    return outcome(
        texts_in=10, vectors_out=vectors, dead_letters=dead, summary=SUMMARY, alerts=alerts, slack_messages=2,
        duration_s=1.0,
    )  # fmt: skip


def test_complete_means_every_text_came_out_once() -> None:
    assert found(vectors=8, dead=2, alerts=[]).complete
    assert not found(vectors=8, dead=1, alerts=[]).complete
    assert not found(vectors=9, dead=2, alerts=[]).complete  # one doubled


def test_an_alert_is_resolved_only_if_that_is_the_last_of_it() -> None:
    def change(state: str) -> AlertChange:
        return AlertChange("HIGH_LATENCY", "all", state, 1.0, 1.0, "")

    firing, over = change("firing"), change("resolved")
    assert found(vectors=10, dead=0, alerts=[firing, over]).resolved("HIGH_LATENCY")
    assert not found(vectors=10, dead=0, alerts=[firing, over, firing]).resolved("HIGH_LATENCY")
    assert not found(vectors=10, dead=0, alerts=[]).resolved("HIGH_LATENCY")
    assert not found(vectors=10, dead=0, alerts=[firing, over]).fired("HIGH_ERROR_RATE")


def test_the_file_has_the_promised_names() -> None:
    written = msgspec.to_builtins(found(vectors=10, dead=0, alerts=[]))
    assert list(written) == [
        "texts_in", "vectors_out", "dead_letters", "model", "latency_ms", "throughput_texts_per_s", "tokens",
        "cost_usd", "saved_usd", "cache_hit_rate_pct", "error_rate_pct", "alerts", "slack_messages", "duration_s",
    ]  # fmt: skip
    assert written["model"] == "m"
    assert list(written["latency_ms"]) == ["p50", "p95", "p99"]
    assert written["cache_hit_rate_pct"] is None
