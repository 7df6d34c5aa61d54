"""Agents decide about workers on a real broker: one of them speaks, every one answers, another takes its place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from embedwatch.codec import decode_metric, encode
from embedwatch.events import HeartbeatEvent, PhaseSeconds, ScalingEvent
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, Agents, events, until
from tests.harness.kafka_io import read_topic, send_all

QUICK = {
    "EMBEDWATCH_SCALING_INTERVAL_SECONDS": "0.5",
    "EMBEDWATCH_SCALING_SILENT_SECONDS": "2",
    "EMBEDWATCH_SCALING_TARGET_SECONDS": "1",
    "EMBEDWATCH_SCALING_WARM_UP_SECONDS": "1",
    "EMBEDWATCH_SCALING_MAX_WORKERS": "3",
    "EMBEDWATCH_PRICING_GPU_USD_PER_HOUR": "1.5",
}


def scaling(agents: Agents) -> dict[str, Any]:
    found: dict[str, Any] = agents.get("/api/v1/scaling")[1]
    return found


def decided(agents: Agents) -> int | None:
    return scaling(agents).get("desired_workers")


def test_a_decision_is_said_once_known_to_all_and_gone_on_with(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    one = Agents(embedded_settings, tmp_path / "one")
    two = Agents(embedded_settings, tmp_path / "two", create=False)
    # 160 texts wait, a worker did ten a second, and a second is aimed at: more are needed than there may be.
    for partition in range(PARTITIONS):
        send_all(one.kafka, one.topics.texts, [b"text"] * 40, partition=partition)
    one.send(events(4, time_seconds=time.time() - 30, phase_seconds=PhaseSeconds(embed=1.0)))
    with one.running(environment=QUICK) as child:
        one.wait_ready(child)
        child.wait_until(lambda: decided(one) == 3, 60, "a decision", step_seconds=0.2)
        data = scaling(one)
        assert (data["wanted_workers"] > 3, data["limited_by"], data["at_capacity"]) == (True, "max_workers", True)
        assert (data["cost_usd_per_hour"], data["decisions"][0]["capacity_texts_per_s"]) == (4.5, 10.0)
        changes = data["changes_today"]
        assert "embedwatch_desired_workers 3.0" in one.get("/metrics")[1]
        with two.running(environment=QUICK) as other:
            two.wait_ready(other)
            until(lambda: decided(two) == 3, "the answer of the other process")
            first = scaling(two)["decision_seconds"]
            child.process.kill()
            child.process.wait(30)
            # It holds what it knows while it takes over, and then decides itself.
            until(lambda: (scaling(two).get("decision_seconds") or 0) > first, "a decision of its own", 90)
            until(lambda: decided(two) == 3, "the same number", 90)
            assert scaling(two)["changes_today"] == changes, "it goes on where the other left off"
    said = [decode_metric(record.value) for record in read_topic(
        one.kafka, one.topics.metrics, 10_000, partitions=PARTITIONS, timeout_seconds=3,
    )]  # fmt: skip
    decisions = [event for event in said if isinstance(event, ScalingEvent)]
    asked = [event.desired_workers for event in sorted(decisions, key=lambda e: e.time_seconds) if not event.holds]
    assert asked[-1] == 3
    assert asked == sorted(asked), "up and never down, also when another took over"
    assert len({event.event_id for event in decisions}) == len(decisions)


def test_a_queue_that_only_makes_dead_letters_is_not_scaled_and_raises_queue_stalled(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents, now = Agents(embedded_settings, tmp_path / "one"), time.time()
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules: [{name: queue-failing, type: QUEUE_STALLED, metric: queue_failing_pct}]\n", encoding="utf-8"
    )
    for partition in range(PARTITIONS):
        send_all(agents.kafka, agents.topics.texts, [b"text"] * 40, partition=partition)
    agents.send([encode(HeartbeatEvent("w:1", now, "w", "m", "running"))])
    agents.send(events(4, texts=16, cache_hits=0, misses=4, errors={"timeout": 12}))
    environment = {**QUICK, "EMBEDWATCH_SCALING_SILENT_SECONDS": "5", "EMBEDWATCH_AGENTS_RULES": str(rules)}

    def failing() -> bool:
        """The worker goes on saying that it lives."""
        at = time.time()
        agents.send([encode(HeartbeatEvent(f"w:{at}", at, "w", "m", "running"))])
        return any(row["cause"] == "failing" for row in scaling(agents)["decisions"])

    with agents.running(environment=environment) as child:
        agents.wait_ready(child)
        child.wait_until(
            lambda: any(row["judgement"] == "breached" for row in agents.get("/api/v1/verdicts")[1]["verdicts"]),
            60, "a verdict", step_seconds=0.2,
        )  # fmt: skip
        (verdict,) = agents.get("/api/v1/verdicts")[1]["verdicts"]
        assert (verdict["type"], verdict["value"], verdict["threshold"]) == ("QUEUE_STALLED", 75.0, 50.0)
        child.wait_until(failing, 60, "a decision", step_seconds=1)
        (held,) = [row for row in scaling(agents)["decisions"] if row["cause"] == "failing"]
        assert (held["running_workers"], held["desired_workers"]) == (1, None), "nothing is asked for"
        assert held["reason"] == "75 % of the texts fail: more would not help"
