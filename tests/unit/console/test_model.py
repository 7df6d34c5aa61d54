"""The view model: read from the agents' own answers, and from answers that lack or garble anything."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.frame import frame
from console.link import Link
from console.look import Look
from console.model import Reading, View, scope_words, view
from tests.harness.agents_log import NOW

JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def test_the_view_has_the_numbers_of_the_agents_with_their_units(busy_view: View) -> None:
    found = busy_view
    assert (found.latency_ms.p99, found.texts) == (pytest.approx(2000, rel=0.006), 50)
    assert found.errors.by_class_pct == {"timeout": 6.0}
    assert (found.queue.status, found.queue.depth_texts, found.queue.lag_seconds) == ("STALLED", 100, 90.0)
    assert (found.scaling.running_workers, found.scaling.desired_workers, found.scaling.wanted_workers) == (2, 4, 7)
    assert (found.scaling.limited_by, found.scaling.reason) == ("max_workers", "9,000 texts wait")
    assert found.money.spent_usd == pytest.approx(2.002469134)
    assert found.money.budget is not None
    assert (found.money.budget.budget_usd, found.money.budget.others) == (100.0, 0)
    assert [worker.name for worker in found.workers] == ["v", "w"]
    assert found.workers[0].gpus[0].power_watts == 250.0
    assert found.history
    assert found.time_seconds == NOW


def test_the_view_is_json_with_null_for_what_is_not_known(busy_view: View) -> None:
    data = json.loads(msgspec.json.encode(busy_view))
    assert data["latency_ms"]["p99"] == busy_view.latency_ms.p99
    empty = json.loads(msgspec.json.encode(view("http://a", Reading({}, ready=False))))
    assert empty["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert (empty["throughput_texts_per_s"], empty["money"]["spent_usd"], empty["queue"]["status"]) == (
        None, None, "UNKNOWN",
    )  # fmt: skip


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["performance", "today", "cache", "queue", "scaling", "workers", "breached",
                                        "time_seconds", "scope", "window_seconds"]), JUNK), JUNK)  # fmt: skip
def test_whatever_answers_is_shown_and_nothing_breaks(summary: dict[str, Any], alerts: Any) -> None:
    answer = {"states": alerts, "breached": alerts, "states_known": True}
    rows = [each for each in [alerts] if isinstance(each, dict)]
    found = view("http://a", Reading(summary, True, (), answer, rows))
    msgspec.json.encode(found)
    assert len(frame(found, "http://a", Link(), Look(), NOW, 80, 24)) == 24


def state(**fields: Any) -> dict[str, Any]:
    return {
        "alert_id": "latency_p95_ms", "title": "high latency", "type": "HIGH_LATENCY", "scope": {"model": "slow"},
        "status": "firing", "severity": "critical", "value": 2000.0, "threshold": 500.0, "unit": "ms", "episode": 3,
        "since_seconds": NOW - 700, "act": None, "quiet": None, "summary": "P95 latency is 2,000 ms.", **fields,
    }  # fmt: skip


def test_alerts_have_their_state_and_who_took_them_on() -> None:
    acknowledged = state(alert_id="b", status="acknowledged", act={"do": "acknowledge", "by": "Ada"})
    snoozed = state(alert_id="c", status="snoozed", act={"do": "snooze", "by": "Bo", "until_seconds": NOW + 60})
    silenced = state(alert_id="d", quiet={"kind": "silence", "by": "maintenance"})
    answer = {"states_known": True, "states": [state(), acknowledged, snoozed, silenced], "breached": [{"type": "X"}]}
    found = view("http://a", Reading({}, True, (), answer))
    assert found.alert_states_known
    assert [(row.status, row.who, row.quiet) for row in found.alerts] == [
        ("firing", "", ""), ("acknowledged", "Ada", ""), ("snoozed", "Bo", ""), ("firing", "", "silence maintenance"),
    ]  # fmt: skip
    assert [row.until_seconds for row in found.alerts] == [None, None, NOW + 60, None]
    assert (found.alerts[0].episode, found.alerts[0].scope, found.alerts[0].title) == (3, "model slow", "high latency")


def test_where_states_are_not_all_known_what_is_breached_stands_beside_them() -> None:
    breached = [{"alert_id": "latency_p95_ms", "type": "HIGH_LATENCY"}, {"alert_id": "b", "type": "HIGH_LAG"}]
    answer = {"states_known": False, "states_reason": "read anew", "states": [state()], "breached": breached}
    found = view("http://a", Reading({}, True, (), answer))
    assert (found.alert_states_known, found.alert_states_reason) == (False, "read anew")
    assert [(row.alert_id, row.status, row.title) for row in found.alerts] == [
        ("latency_p95_ms", "firing", "high latency"), ("b", "breached", "high lag"),
    ]  # fmt: skip


def test_scopes_are_told_in_words() -> None:
    assert scope_words("all") == "all"
    assert scope_words("model=a%2Cb,tenant=acme") == "model a,b, tenant acme"
    assert scope_words("%1b") == "%1b", "no scope: as it stands"


def test_a_stretch_that_is_not_over_is_in_no_picture() -> None:
    """It may be a second long: one batch in it would look like the fastest minute of the hour."""
    rows = [{"throughput_texts_per_s": 5.0, "open": False}, {"throughput_texts_per_s": 900.0, "open": True}]
    assert [point.texts_per_s for point in view("http://a", Reading({}, True, (), None, rows)).history] == [5.0]
    old = [{"state": "closed", "performance": {"throughput_texts_per_s": 4.0}}, {"state": "open", "performance": {}}]
    assert [point.texts_per_s for point in view("http://a", Reading({}, True, (), None, old)).history] == [4.0]
