"""The numbers of a moment: absence is None, and no quotient fails."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from embedwatch.events import BatchEvent, CacheEvent, GpuSample, HeartbeatEvent
from embedwatch.rules import Rule, parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.scopes import Scope
from stream_agents.compute.summary import day_summary, statistics_ms, summary, verdict_rows
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event
from tests.harness.verdicts import verdict

UTC_ZONE = ZoneInfo("UTC")


def world_of(*events: BatchEvent) -> World:
    world = World(zone=UTC_ZONE, max_scopes=100, lag_group="g", lag_topic="t")
    world.partitions = {0: PartitionState(next_offset=0), 1: PartitionState(next_offset=0)}
    for number, event in enumerate(events):
        world.apply_batch(event, NOW)
        world.partitions[number % 2].book(event, UTC_ZONE, 100)
    return world


def test_with_nothing_to_tell_every_measure_is_none_and_only_counts_are_zero() -> None:
    data = summary(world_of(), NOW)
    performance, cache, today = data["performance"], data["cache"], data["today"]
    assert performance["latency_ms"] == {
        "p50": None, "p95": None, "p99": None, "avg": None, "min": None, "max": None, "count": 0,
    }  # fmt: skip
    for name in ("throughput_texts_per_s", "throughput_tokens_per_s", "error_rate_pct", "padding_waste_pct",
                 "covered_seconds"):  # fmt: skip
        assert performance[name] is None
    for name in ("hit_rate_pct", "token_hit_rate_pct", "available", "entries", "memory_bytes", "evictions"):
        assert cache[name] is None
    assert cache["reason"] == "no sample yet"
    for name in ("savings_pct", "cost_per_text_usd", "cost_per_million_tokens_usd"):
        assert today[name] is None
    assert (today["texts"], today["cost_nano_usd"]) == (0, 0)
    assert data["queue"]["status"] == "UNKNOWN"
    assert data["queue"]["depth_texts"] is None
    assert data["workers"] == []


def test_the_numbers_of_one_batch() -> None:
    data = summary(world_of(batch_event(errors={"timeout": 1})), NOW)
    assert data["scope"] == "all"
    performance, today = data["performance"], data["today"]
    assert performance["latency_ms"]["p95"] == 50.0
    assert performance["queue_wait_ms"]["p50"] == 5.0
    assert (performance["texts"], performance["errors"], performance["error_rate_pct"]) == (10, 1, 10.0)
    assert performance["errors_by_class"] == {"timeout": 1}
    assert (data["cache"]["hits"], data["cache"]["misses"], data["cache"]["hit_rate_pct"]) == (2, 8, 20.0)
    assert today["cost_nano_usd"] == 1_234_567
    assert today["cost_usd"] == 0.001234567
    assert today["cost_per_text_usd"] == pytest.approx(0.001234567 / 9)
    assert today["cost_per_million_tokens_usd"] == pytest.approx(0.001234567 / 800 * 1e6)
    assert (today["day"], today["timezone"]) == ("2027-01-15", "UTC")


def test_cancelled_texts_are_counted_beside_those_that_failed() -> None:
    performance = summary(world_of(batch_event(misses=5, errors={"timeout": 1, "cancelled": 2})), NOW)["performance"]
    assert (performance["errors"], performance["cancelled_texts"], performance["error_rate_pct"]) == (3, 2, 10.0)
    assert performance["errors_by_class"] == {"cancelled": 2, "timeout": 1}
    assert performance["error_rate_pct_by_class"] == {"cancelled": 20.0, "timeout": 10.0}


def test_a_cache_that_serves_everything_saves_all_of_it_and_divides_by_nothing() -> None:
    event = batch_event(
        cache_hits=10, misses=0, tokens_embedded=0, tokens_saved=1000, cost_nano_usd=0, saved_nano_usd=5000,
        padding_tokens=0,
    )  # fmt: skip
    data = summary(world_of(event), NOW)
    assert (data["cache"]["hit_rate_pct"], data["cache"]["token_hit_rate_pct"]) == (100.0, 100.0)
    assert data["today"]["savings_pct"] == 100.0
    assert data["today"]["cost_without_cache_usd"] == 5000 / 1e9
    assert data["today"]["cost_per_million_tokens_usd"] is None
    assert data["performance"]["padding_waste_pct"] is None


def test_tokens_without_a_price_are_left_out_of_the_price_of_a_million() -> None:
    events = [batch_event(), batch_event(cost_nano_usd=0, unpriced_tokens=800)]
    today = summary(world_of(*events), NOW)["today"]
    assert today["unpriced_tokens"] == 800
    assert today["cost_per_million_tokens_usd"] == pytest.approx(0.001234567 / 800 * 1e6)
    alone = summary(world_of(events[1]), NOW)["today"]
    assert alone["cost_per_million_tokens_usd"] is None


def test_a_batch_that_failed_whole_has_no_price_a_text() -> None:
    failed = batch_event(texts=10, cache_hits=0, misses=0, errors={"timeout": 10}, cost_nano_usd=7)
    today = summary(world_of(failed), NOW)["today"]
    assert (today["cost_nano_usd"], today["cost_per_text_usd"]) == (7, None)


def test_a_scope_has_its_own_numbers_and_an_unknown_one_has_none() -> None:
    world = world_of(batch_event(tenant="a"), batch_event(tenant="b", cost_nano_usd=1))
    mine = summary(world, NOW, scope=(("tenant", "b"),))
    assert (mine["scope"], mine["performance"]["texts"], mine["today"]["cost_nano_usd"]) == ("tenant=b", 10, 1)
    assert summary(world, NOW, scope=(("tenant", "c"),))["performance"]["latency_ms"]["p95"] is None
    assert day_summary(world, "2020-01-01")["texts"] == 0


def test_the_window_is_the_one_asked_for() -> None:
    world = world_of(batch_event(time_seconds=NOW - 200), batch_event())
    assert summary(world, NOW, window_seconds=60)["performance"]["texts"] == 10
    assert summary(world, NOW, window_seconds=300)["performance"]["texts"] == 20
    assert summary(world, NOW, window_seconds=60)["today"]["texts"] == 20


def test_workers_and_the_cache_as_they_last_said() -> None:
    world = world_of()
    gpu = GpuSample(index=0, name="H100", utilization_pct=50.0, memory_used_bytes=1)
    world.apply_heartbeat(HeartbeatEvent(
        event_id="e", time_seconds=NOW - 3, worker="w", model="m", state="running", model_load_seconds=2.0, gpus=[gpu]
    ))  # fmt: skip
    for worker, ago, available in (("w", 1, True), ("v", 9, False)):
        world.apply_cache(CacheEvent(
            event_id="e", time_seconds=NOW - ago, worker=worker, available=available, entries=5, reason=None
        ))  # fmt: skip
    data = summary(world, NOW)
    (row,) = data["workers"]
    assert (row["worker"], row["silent_seconds"], row["model_load_seconds"]) == ("w", 3.0, 2.0)
    assert row["gpus"][0]["name"] == "H100"
    assert row["gpus"][0]["power_watts"] is None
    assert (data["cache"]["available"], data["cache"]["entries"]) == (True, 5)


def test_a_worker_that_has_said_nothing_for_longer_than_the_rule_allows_is_silent() -> None:
    world = world_of()
    world.apply_heartbeat(HeartbeatEvent("w:1", NOW, "w", "m", "running"))
    told = {
        seconds: [(row["state"], row["silent_seconds"]) for row in summary(world, NOW + seconds)["workers"]]
        for seconds in (0, 60, 183)
    }
    assert told == {0: [("running", 0.0)], 60: [("running", 60.0)], 183: [("silent", 183.0)]}


def test_the_energy_of_a_gpu_is_told_once_for_the_workers_that_share_it() -> None:
    world = world_of()
    assert summary(world, NOW)["gpus"] == []
    for ago in (60, 30, 0):
        for worker in ("v", "w"):
            gpu = GpuSample(uuid="GPU-1", name="H100", energy_joules=30_000.0 - 300 * ago)
            world.apply_heartbeat(HeartbeatEvent(
                event_id=f"{worker}:{ago}", time_seconds=NOW - ago, worker=worker, model="m", state="running",
                gpus=[gpu], tokens_embedded=1000 * (60 - ago),
            ))  # fmt: skip
    data = summary(world, NOW)
    assert data["gpus"] == [{
        "uuid": "GPU-1", "name": "H100", "joules_per_million_tokens": 150_000.0, "reason": None,
        "energy_joules": 18_000.0, "tokens_embedded": 120_000, "covered_seconds": 60.0, "workers": 2,
    }]  # fmt: skip
    assert [(row["tokens_embedded"], row["gpus"][0]["uuid"]) for row in data["workers"]] == [(60_000, "GPU-1")] * 2


def test_what_was_not_counted_is_told() -> None:
    world = world_of(batch_event(time_seconds=NOW - 7200))
    world.partitions[0].rejected = {"invalid": 2}
    world.partitions[1].rejected = {"invalid": 1, "empty": 1}
    world.partitions[1].accepted_gaps = 4
    data = summary(world, NOW)
    assert (data["late_events"], data["rejected_events"], data["accepted_gaps"]) == (1, {"invalid": 3, "empty": 1}, 4)
    assert data["today"]["texts"] == 10, "late for a window is not late for the ledger"


def test_it_is_plain_data_that_json_can_hold() -> None:
    data = summary(world_of(batch_event()), NOW)
    assert json.loads(msgspec.json.encode(data)) == json.loads(json.dumps(data, allow_nan=False))


def test_statistics_of_an_empty_sketch_hold_no_infinity() -> None:
    assert set(statistics_ms(Sketch()).values()) == {None, 0}


def test_verdicts_are_shown_breached_first() -> None:
    made: list[Any] = [
        verdict(judgement, alert_id=f"{judgement}-{n}")
        for n in (2, 1) for judgement in ("ok", "inconclusive", "breached", "no_data")
    ]  # fmt: skip
    rows = verdict_rows([*made, verdict("breached", alert_id="z", value=float("inf"))])
    assert [row["alert_id"] for row in rows] == [
        "breached-1", "breached-2", "z", "no_data-1", "no_data-2", "inconclusive-1", "inconclusive-2", "ok-1", "ok-2",
    ]  # fmt: skip
    assert rows[2]["value"] is None


def budget_rules(text: str) -> tuple[Rule, ...]:
    return parse_rules(YamlFile("rules.yaml", text))


def test_a_budget_shows_what_is_left_the_forecast_and_how_fast_it_burns() -> None:
    world = world_of(
        batch_event(cost_nano_usd=2 * 10**9, time_seconds=NOW - 4 * 3600, tenant="a"),
        batch_event(cost_nano_usd=10**9, tenant="b"),
    )
    rules = budget_rules("""
thresholds: {daily_cost_usd: 12, daily_forecast_usd: 5}
rules:
  - {name: each, metric: daily_cost_usd, threshold: 0.5, by: tenant}
  - {name: nothing, metric: daily_cost_usd, threshold: 0, scope: {tenant: b}}
""")
    world.started_seconds = NOW - 1000
    today = summary(world, NOW, rules=rules)["today"]
    assert (today["forecast_usd"], today["forecast_basis"]) == (pytest.approx(9.0), "linear")  # a third of the day
    assert today["forecast_reason"] == "as if spend went on evenly: no earlier day is known"
    assert today["burn"] == {
        "fast": {"window_seconds": 900, "usd": 1.0, "limit_pct": 10.0, "note": ""},
        "slow": {"window_seconds": 7200, "usd": 1.0, "limit_pct": 25.0, "note": ""},
    }
    (budget,) = today["budgets"]
    assert budget == {
        "rule": "daily_cost_usd", "budget_usd": 12.0, "remaining_usd": 9.0, "spent_pct": 25.0,
        "forecast_pct": pytest.approx(75.0), "burn_fast_pct": pytest.approx(100 / 12),
        "burn_slow_pct": pytest.approx(100 / 12),
    }  # fmt: skip
    assert today["cost_per_1000_texts_usd"] == pytest.approx(150)
    assert today["cost_per_million_tokens_usd"] == pytest.approx(1875)
    tenant = summary(world, NOW, scope=(("tenant", "b"),), rules=rules)["today"]
    overspent, nothing = tenant["budgets"]
    assert (overspent["remaining_usd"], overspent["spent_pct"]) == (-0.5, 200.0)
    assert (nothing["remaining_usd"], nothing["spent_pct"], nothing["burn_fast_pct"]) == (-1.0, None, None)
    assert summary(world, NOW)["today"]["budgets"] == []


def test_a_day_that_is_over_has_a_budget_and_no_forecast() -> None:
    world = world_of(batch_event(cost_nano_usd=2 * 10**9, time_seconds=NOW - 86_400))
    day = day_summary(world, "2027-01-14", now=NOW, rules=budget_rules("thresholds: {daily_cost_usd: 1}"))
    assert (day["forecast_usd"], day["forecast_reason"], day["burn"]) == (None, "the day is not today", {})
    (budget,) = day["budgets"]
    assert (budget["remaining_usd"], budget["forecast_pct"], budget["burn_slow_pct"]) == (-1.0, None, None)


def test_a_correction_stands_in_the_row_of_its_day() -> None:
    world = world_of(batch_event(cost_nano_usd=5, time_seconds=NOW - 86_400))
    assert day_summary(world, "2027-01-14")["last_correction_seconds"] is None
    late = batch_event(cost_nano_usd=2 * 10**9, time_seconds=NOW - 86_400)
    world.partitions[1].book(late, UTC_ZONE, 100, NOW - 7)
    day = day_summary(world, "2027-01-14")
    assert (day["cost_nano_usd"], day["late_cost_nano_usd"], day["late_cost_usd"]) == (2 * 10**9 + 5, 2 * 10**9, 2.0)
    assert (day["late_events"], day["last_correction_seconds"]) == (1, NOW - 7)
    world.partitions[0].book(batch_event(time_seconds=NOW - 9 * 86_400), UTC_ZONE, 100, NOW)
    assert summary(world, NOW)["old_events"] == 1


def machines(price: str | None) -> World:
    """Two workers of a model paid by the hour, one of a model paid by the token, one idle, each there for an hour."""
    world = world_of(
        batch_event(model="local", price_source="gpu-hour", cost_nano_usd=10**9, tenant="a"),
        batch_event(model="api", cost_nano_usd=7 * 10**9),
    )
    world.gpu_usd_per_hour = None if price is None else Decimal(price)
    for number, (worker, model) in enumerate((("v", "local"), ("w", "local"), ("x", "api"), ("y", "idle"))):
        for ago in range(3600, -1, -60):
            beat = HeartbeatEvent(
                event_id=f"{worker}:{ago}", time_seconds=NOW - ago, worker=worker, model=model, state="running"
            )
            world.partitions[number % 2].allocation.add(beat, UTC_ZONE, NOW)
    return world


def test_machines_cost_for_the_time_they_were_there_beside_what_was_booked_as_busy() -> None:
    day = day_summary(machines("0.75"), "2027-01-15")
    assert (day["busy_cost_usd"], day["allocated_nano_usd"], day["allocated_cost_usd"]) == (1.0, 1_500_000_000, 1.5)
    assert day["allocated_seconds"] == 4 * 3600
    local = day_summary(machines("0.75"), "2027-01-15", (("model", "local"),))
    assert (local["allocated_seconds"], local["allocated_cost_usd"]) == (7200, 1.5)


@pytest.mark.parametrize(
    ("scope", "price"),
    [((), None), ((("model", "api"),), "0.75"), ((("model", "idle"),), "0.75"), ((("tenant", "a"),), "0.75")],
)
def test_a_machine_without_a_price_by_the_hour_has_no_allocated_cost(scope: Scope, price: str | None) -> None:
    day = day_summary(machines(price), "2027-01-15", scope)
    assert (day["allocated_nano_usd"], day["allocated_cost_usd"]) == (None, None)
    assert (day["allocated_seconds"] is None) == (scope == (("tenant", "a"),))
