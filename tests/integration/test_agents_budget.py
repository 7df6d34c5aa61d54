"""A day's money on a real broker: budgets are judged, and what the ledger knows comes back after kill -9."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from embedwatch.codec import decode_verdict, encode
from embedwatch.events import HeartbeatEvent, Verdict
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, Agents, until
from tests.harness.agents_log import batch_event
from tests.harness.brokers import APACHE_KAFKA
from tests.harness.commands import say
from tests.harness.kafka_io import read_topic

on_kafka = pytest.mark.parametrize(
    "broker", [pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True
)
USD = 10**9
RULES = "thresholds: {daily_cost_usd: 100, daily_forecast_usd: 30, budget_burn_pct: 100}\n"
CONFIG = "pricing: {gpu_usd_per_hour: 3600}\n"


def zone_where_it_is_noon() -> str:
    """So that neither a midnight nor the first hour of a day comes into the test."""
    offset = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-offset:+d}"  # POSIX counts them westwards


def beat(at_seconds: float) -> bytes:
    return encode(
        HeartbeatEvent(event_id=f"w:{at_seconds}", time_seconds=at_seconds, worker="w", model="m", state="running")
    )


@on_kafka
def test_budgets_corrections_and_machines_are_the_same_after_kill_9(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents, zone, now = Agents(kafka_settings, tmp_path), zone_where_it_is_noon(), time.time()
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = ("--rules", tmp_path / "rules.yaml", "--config", tmp_path / "config.yaml", "--tz", zone)
    address = ("--agents-url", f"http://127.0.0.1:{agents.port}")
    fillers = [
        batch_event(n, time_seconds=now, cost_nano_usd=0, texts=1, cache_hits=0, misses=1)
        for n in range(PARTITIONS - 1)
    ]

    def rows() -> list[dict[str, Any]]:
        return list(agents.get("/api/v1/ledger?scope=all")[1].get("rows", ()))

    def money() -> list[dict[str, Any]]:
        names = ("day", "cost_nano_usd", "late_events", "late_cost_nano_usd", "busy_cost_usd", "allocated_seconds",
                 "allocated_nano_usd", "forecast_basis")  # fmt: skip
        return [{name: row[name] for name in names} for row in rows()]

    with agents.running(*options) as child:
        agents.wait_ready(child)
        agents.send([
            beat(now - 20), batch_event(time_seconds=now - 86_400, cost_nano_usd=2 * USD),
            batch_event(time_seconds=now - 3 * 3600, cost_nano_usd=20 * USD),
            batch_event(time_seconds=now, cost_nano_usd=15 * USD, price_source="gpu-hour"),
            beat(now), *fillers,
        ])  # fmt: skip
        agents.wait_texts(child, 20 + len(fillers))
        until(lambda: len(rows()) == 2 and rows()[1]["allocated_nano_usd"] is not None, "both days")
        yesterday, today = rows()
        assert (yesterday["cost_nano_usd"], yesterday["late_events"]) == (2 * USD, 1)
        assert yesterday["last_correction_seconds"] >= now
        assert (today["cost_nano_usd"], today["late_events"], today["busy_cost_usd"]) == (35 * USD, 0, 15.0)
        assert (today["allocated_seconds"], today["allocated_nano_usd"]) == (20.0, 20 * USD)
        assert today["burn"]["slow"]["usd"] == 15.0
        assert today["budgets"][0]["remaining_usd"] == 65.0
        assert (today["forecast_basis"], today["forecast_usd"] >= 35) == ("last_days", True)

        found: dict[str, Verdict] = {}

        def both() -> bool:
            for record in read_topic(agents.kafka, agents.topics.verdicts, 1):
                verdict = decode_verdict(record.value)
                if verdict.judgement == "breached":
                    found[verdict.alert_type] = verdict
            return {"BUDGET_FORECAST", "BUDGET_BURN_RATE"} <= set(found)

        until(both, "verdicts")
        assert (found["BUDGET_BURN_RATE"].threshold, found["BUDGET_BURN_RATE"].unit) == (10.0, "%")
        assert found["BUDGET_FORECAST"].alert_id == f"daily_forecast_usd|all|{today['day']}"
        page = say(kafka_settings, "report", *address)
        assert "Forecast:" in page
        assert "$65.0000 left" in page
        before = money()
        assert "$20.0000 for the time they ran" in say(kafka_settings, "report", "--day", "today", *address)
        child.process.kill()
        child.process.wait(30)
    with agents.running(*options) as child:
        agents.wait_ready(child)
        agents.wait_texts(child, 20 + len(fillers))
        until(lambda: money() == before, "the same money")
        assert f"recovered the state of {PARTITIONS} partitions" in child.log.read_text(), "not counted from the start"
        page = say(kafka_settings, "report", "--day", "yesterday", "--tz", zone, *address)
        assert "Corrected:           after its close by $2.0000, 10 texts in 1 event, the last one at" in page
        assert "not of 'UTC'" in say(kafka_settings, "report", "--day", "today", "--tz", "UTC", *address, code=2)
