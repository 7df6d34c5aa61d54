"""Every metric that the agents measure is a Prometheus series with its unit in the name, and labels are bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from embedwatch.events import ScalingEvent
from stream_agents.runtime import Runtime
from stream_agents.web import exposition
from tests.harness.agents_log import NOW, SetClock, batch_event, log_of, runtime_on
from tests.harness.agents_web import busy_runtime, serving

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(runtime: Runtime, clock: SetClock | None = None) -> tuple[Series, dict[str, str]]:
    """Samples by name and labels; kind by family."""

    async def ask() -> str:
        async with serving(runtime, clock=clock) as client, client.get("/metrics") as response:
            return await response.text()

    families = list(text_string_to_metric_families(asyncio.run(ask())))
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    return samples, {family.name: family.type for family in families}


def labels(**values: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name.rstrip("_"), str(value)) for name, value in values.items()))


def test_the_last_minute_by_model_and_by_tenant() -> None:
    found, _ = scrape(busy_runtime())
    for prefix, who in (("", {}), ("model_", {"model": "slow"}), ("tenant_", {"tenant": "acme"})):
        name = f"embedwatch_{prefix}"
        for statistic in ("mean", "min", "max"):
            assert found[f"{name}latency_{statistic}_seconds", labels(**who)] == pytest.approx(
                2.0 if prefix else {"mean": (10 * 0.05 + 30 * 2.0) / 40, "min": 0.05, "max": 2.0}[statistic]
            )
        assert found[f"{name}latency_seconds", labels(**who, quantile="0.99")] == pytest.approx(2.0, rel=0.005)
        assert found[f"{name}queue_wait_seconds", labels(**who, quantile="0.5")] == pytest.approx(0.005, rel=0.005)
        assert found[f"{name}throughput_texts_per_second", labels(**who)] > 0
        assert found[f"{name}throughput_tokens_per_second", labels(**who)] > 0
        assert found[f"{name}error_class_ratio", labels(**who, class_="timeout")] == pytest.approx(
            3 / 30 if prefix else 3 / 40
        )
        assert found[f"{name}phase_seconds_per_batch", labels(**who, phase="embed")] == pytest.approx(0.2)
        assert found[f"{name}phase_seconds_per_text", labels(**who, phase="embed")] == pytest.approx(
            0.2 / 30 if prefix else 0.4 / 40
        )
        assert found[f"{name}cache_token_hit_ratio", labels(**who)] == pytest.approx(0.2)
        assert found[f"{name}padding_ratio", labels(**who)] == pytest.approx(10 / 810)


def test_queue_workers_gpus_and_cache() -> None:
    found, _ = scrape(busy_runtime())
    expected = {
        ("embedwatch_queue_lag_messages", ()): 10,
        ("embedwatch_queue_arrival_messages_per_second", ()): 1,
        ("embedwatch_queue_consumed_messages_per_second", ()): 2,
        ("embedwatch_queue_stalled_partitions", ()): 1,
        ("embedwatch_queue_status", labels(status="STALLED")): 1,
        ("embedwatch_queue_status", labels(status="OK")): 0,
        ("kafka_consumergroup_group_lag", labels(group="g", topic="t", partition=1)): 7,
        ("kafka_consumergroup_group_lag_seconds", labels(group="g", topic="t", partition=0)): 1.5,
        ("embedwatch_model_load_seconds", labels(model="m")): 4.0,
        ("embedwatch_in_flight_texts", ()): 10,
        ("embedwatch_gpu_utilization_ratio", labels(gpu="GPU-1")): 0.5,
        ("embedwatch_gpu_power_watts", labels(gpu="GPU-1")): 250,
        ("embedwatch_gpu_memory_used_bytes", labels(gpu="GPU-1")): 1 << 30,
        ("embedwatch_cache_available", ()): 1,
        ("embedwatch_cache_entries", ()): 10,
    }
    assert {key: found.get(key) for key in expected} == expected
    names = {name for name, _ in found}
    assert "embedwatch_gpu_temperature_celsius" not in names, "not told, so absent"
    assert "embedwatch_cache_evictions" not in names


def test_workers_asked_for_are_series_only_where_something_is_decided() -> None:
    runtime = runtime_on(log_of())
    names = {"embedwatch_desired_workers", "embedwatch_wanted_workers", "embedwatch_running_workers"}
    decision = ScalingEvent(
        event_id="s", time_seconds=NOW - 60, group="g", topic="t", desired_workers=4, wanted_workers=7, workers=3,
        cause="backlog", reason="r", running_workers=2,
    )  # fmt: skip
    assert not names & {name for name, _ in scrape(runtime)[0]}, "nobody has decided"
    runtime.world.apply_scaling(decision)
    found, _ = scrape(runtime)
    assert {name: found[name, ()] for name in names} == {
        "embedwatch_desired_workers": 4, "embedwatch_wanted_workers": 7, "embedwatch_running_workers": 2,
    }  # fmt: skip
    runtime.world.apply_scaling(replace(decision, event_id="s2", time_seconds=NOW, cause="stalled"))
    found, _ = scrape(runtime)
    assert {name for name, _ in found} & names == {"embedwatch_running_workers"}, "absent, never 0"


def test_counters_are_exact_by_model_and_tenant_and_survive_midnight_which_gauges_of_the_day_do_not() -> None:
    clock = SetClock()
    runtime = busy_runtime(clock)
    before, kinds = scrape(runtime, clock)
    slow, plain = labels(model="slow", tenant="acme"), labels(model="m", tenant="")
    assert before["embedwatch_texts_total", slow] == 30
    assert before["embedwatch_texts_total", plain] == 20
    assert before["embedwatch_cost_usd_total", slow] == 2.0
    assert before["embedwatch_errors_total", labels(model="slow", tenant="acme", class_="timeout")] == 3
    assert before["embedwatch_phase_seconds_total", labels(model="m", tenant="", phase="embed")] == pytest.approx(0.4)
    assert before["embedwatch_texts_today", ()] == 50
    assert before["embedwatch_model_cost_usd_today", labels(model="slow")] == 2.0
    assert before["embedwatch_tenant_texts_today", labels(tenant="acme")] == 30
    clock.moved_seconds = 86_400.0
    after, _ = scrape(runtime, clock)
    assert after["embedwatch_texts_today", ()] == 0
    counters = {key for key in before if key[0].endswith("_total")}
    assert all(after[key] >= before[key] for key in counters)
    named = {name for name, _ in before}
    for family, kind in kinds.items():
        if not {family, f"{family}_total"} & named:
            continue
        ends = any(name == f"{family}_total" for name, _ in before)
        quantiles = any(name == family and "quantile" in dict(key) for name, key in before)
        assert kind == ("counter" if ends else "summary" if quantiles else "gauge"), family
        assert family.startswith(("embedwatch_", "kafka_consumergroup_"))


def test_names_of_many_models_and_tenants_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MAX_LABELS", 3)
    runtime = busy_runtime()
    runtime.world.counters.max_series = 5
    for number in range(40):
        event = batch_event(model=f"m{number}", tenant=f"t{number}", texts=100 + number, cost_nano_usd=number * 10**9)
        runtime.world.apply_batch(event, NOW)
        runtime.world.partitions[0].book(event, runtime.world.zone, 1000)
    found, _ = scrape(runtime)
    for name in ("model_throughput_texts_per_second", "tenant_throughput_texts_per_second"):
        assert len([key for key in found if key[0] == f"embedwatch_{name}"]) == 3
    assert {dict(key[1])["model"] for key in found if key[0] == "embedwatch_model_cost_usd_today"} == {
        "m39", "m38", "m37",
    }  # fmt: skip
    texts = {key[1]: value for key, value in found.items() if key[0] == "embedwatch_texts_total"}
    assert len(texts) == 6
    assert sum(texts.values()) == 50 + sum(range(100, 140))
    assert found["embedwatch_overflow_events_total", ()] > 0
