"""What the agents expose and what they declare are the same, in a state where every number is known."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from functools import cache
from itertools import chain
from typing import Literal

import pytest
from msgspec.structs import replace
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from embedwatch.events import BatchEvent, GpuSample, HeartbeatEvent, LagEvent
from embedwatch.metric_families import every
from stream_agents.compute.queue_history import running_workers
from stream_agents.compute.summary import summary
from stream_agents.compute.world import STALE_LAG_SECONDS, World
from stream_agents.runtime import Runtime
from stream_agents.web import exposition, families, series
from stream_agents.web.families import FAMILIES
from tests.harness.agents_log import NOW, SetClock, batch_event, log_of, runtime_on, started
from tests.harness.agents_web import busy_runtime, serving
from tests.harness.requirements import need_promtool
from tools import reference

DECLARED = {family.full_name: family for family in every(FAMILIES)}


def answer(runtime: Runtime, clock: SetClock | None = None) -> str:
    async def ask() -> str:
        async with serving(runtime, clock=clock) as client, client.get("/metrics") as response:
            return await response.text()

    return asyncio.run(ask())


def families_of(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


@cache
def full() -> str:
    """The answer of a busy world, with what it lacks."""
    runtime = busy_runtime()
    world = runtime.world
    for ago, tokens in ((60.0, 0), (0.0, 60_000)):
        gpu = GpuSample(
            index=0, name="g", uuid="GPU-2", utilization_pct=1.0, temperature_celsius=60.0, power_watts=1.0,
            memory_used_bytes=1, memory_total_bytes=2, energy_joules=9000.0 - 100 * ago,
        )  # fmt: skip
        world.apply_heartbeat(
            HeartbeatEvent(
                event_id=f"x:{ago}", time_seconds=NOW - ago, worker="x", model="m", state="running", gpus=[gpu],
                tokens_embedded=tokens,
            )
        )  # fmt: skip
    sample = world.caches["v"]
    world.apply_cache(replace(sample, time_seconds=NOW + 1, evictions=5))
    runtime.merger.take_partial(b"alone", b"nonsense", NOW)
    runtime.merger.refused.setdefault("invalid", 1)
    runtime.edges.failures.failed("verdicts", 0.0)
    return answer(runtime)


def test_every_declared_family_is_exposed_with_its_type_labels_and_meaning() -> None:
    found = families_of(full())
    assert set(DECLARED) == set(found)
    for name, family in DECLARED.items():
        made = found[name]
        assert made.type == family.kind, name
        assert made.documentation == family.text, name
        assert made.samples, f"{name}: the test has no sample of it"
        for sample in made.samples:
            assert sample.name in family.series
            assert set(sample.labels) == set(family.labels), name


@pytest.mark.parametrize("make", [families.gauge, families.counter, families.quantiles])
def test_a_family_that_is_not_declared_cannot_be_made(make: object) -> None:
    for name, by in (("no_such_family", ""), ("ready", "model"), ("latency_seconds", "worker")):
        with pytest.raises(KeyError):
            families._declared(name, by, "gauge")
    with pytest.raises(KeyError):
        make("no_such_family")  # type: ignore[operator]
    with pytest.raises(KeyError, match="declared as a counter"):
        families.gauge("texts")


def test_the_table_is_in_base_units_and_says_what_to_do() -> None:
    assert max(Counter(family.full_name for family in every(FAMILIES)).values()) == 1
    units = {
        "_seconds": "seconds", "_ratio": "ratio", "_usd": "USD", "_usd_today": "USD", "_bytes": "bytes",
        "_celsius": "degrees Celsius", "_watts": "watts", "_per_second": "per second", "_tokens": "tokens",
    }  # fmt: skip
    for family in FAMILIES:
        assert family.text.endswith(".")
        assert family.bad.endswith((".", "?")), family.name
        assert family.group
        assert set(family.labels) <= set(reference.LABELS), family.name
        for end, unit in units.items():
            if family.name.endswith(end) and not family.name.endswith(("last_900_seconds", "million_tokens")):
                assert family.unit.endswith(unit), family.name
    exposed = [*every(FAMILIES), *reference.sdk_families(), *chain(*reference.STAGES)]
    assert {label for family in exposed for label in family.labels} == set(reference.LABELS)


def test_the_page_has_every_family_once() -> None:
    page = reference.metrics_page()
    for family in FAMILIES:
        rows = [line for line in page.splitlines() if line.startswith(f"| `{family.series[0]}`")]
        assert len(rows) == 1, family.name
        assert family.bad in rows[0]


def test_tables_of_the_sdk_are_found() -> None:
    names = {family.full_name for family in reference.sdk_families()}
    assert not names & set(DECLARED), "two that say different things under one name"


def test_what_stages_say_of_themselves_has_names_of_its_own_and_says_what_to_do() -> None:
    tables = list(chain(*reference.STAGES))
    series = Counter(name for family in (*tables, *every(FAMILIES)) for name in family.series)
    assert max(series.values()) == 1
    page = reference.metrics_page()
    for family in tables:
        assert family.text.endswith(".")
        assert family.bad.endswith((".", "?")), family.name
        assert f"| `{family.series[0]}` |" in page


@pytest.mark.parametrize("state", ["full", "just started"])
def test_promtool_finds_nothing_wrong(state: str) -> None:
    promtool = need_promtool()
    text = full() if state == "full" else answer(runtime_on(log_of()))
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_partitions_are_counted_by_status_and_old_samples_are_unknown() -> None:
    clock = SetClock()
    runtime = busy_runtime(clock)
    found = {
        s.labels["status"]: s.value for s in families_of(answer(runtime, clock))["embedwatch_queue_partitions"].samples
    }
    assert found == {"OK": 1, "STALLED": 1, "STOPPED": 0, "REWOUND": 0, "UNKNOWN": 0}
    clock.moved_seconds = STALE_LAG_SECONDS + 1
    lag = LagEvent(
        event_id="l2", time_seconds=clock.now(), group="g", topic="t", partition=2, status="UNKNOWN", reason="no answer"
    )
    runtime.world.apply_lag(lag)
    text = answer(runtime, clock)
    found = {s.labels["status"]: s.value for s in families_of(text)["embedwatch_queue_partitions"].samples}
    assert found == {"OK": 0, "STALLED": 0, "STOPPED": 0, "REWOUND": 0, "UNKNOWN": 3}
    assert not families_of(text)["embedwatch_queue_lag_seconds"].samples


def test_silence_of_workers_is_counted_from_when_the_agents_began_to_listen() -> None:
    clock = SetClock()
    runtime = runtime_on(log_of(), clock=clock)
    names = ("embedwatch_worker_silent_seconds", "embedwatch_workers_silent_seconds")
    assert not any(families_of(answer(runtime, clock))[name].samples for name in names), "no worker is known"
    for worker, ago in (("old", 5000.0), ("new", 0.0)):
        runtime.world.apply_heartbeat(
            HeartbeatEvent(event_id=f"{worker}:1", time_seconds=NOW - ago, worker=worker, model="m", state="running")
        )

    def silent() -> list[float]:
        found = families_of(answer(runtime, clock))
        return [found[name].samples[0].value for name in names]

    assert silent() == [0.0, 0.0], "what they did before is not known"
    clock.moved_seconds = 70.0
    assert silent() == [70.0, 70.0]
    runtime.world.apply_heartbeat(
        HeartbeatEvent(event_id="new:2", time_seconds=NOW + 65, worker="new", model="m", state="running")
    )
    assert silent() == [70.0, 5.0]


def test_rules_are_1_or_0_where_they_can_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = busy_runtime()
    rows = families_of(answer(runtime))["embedwatch_rule_breached"].samples
    found = {sample.labels["rule"]: sample.value for sample in rows if sample.labels["severity"] != "info"}
    judged = {verdict.rule for verdict in runtime.verdicts if verdict.judgement in ("breached", "ok")}
    assert set(found) == judged
    assert found["latency_p95_ms"] == found["error_rate_pct"] == 1
    assert found["daily_cost_usd"] == found["unpriced_tokens"] == 0
    assert "cache_hit_rate_pct" not in found, "too few samples: neither 0 nor 1"
    monkeypatch.setattr(exposition, "MAX_LABELS", 2)
    rows = families_of(answer(runtime))["embedwatch_rule_breached"].samples
    assert [sample.value for sample in rows] == [1.0, 1.0], "the breached ones first"


def test_what_a_minute_stands_on_is_absent_where_nothing_came() -> None:
    world: World = runtime_on(log_of()).world

    def counts(*events: BatchEvent) -> dict[str, float]:
        for event in events:
            world.apply_batch(event, NOW)
        made = series.windowed([((), world.windows.window((), 60, NOW), None)], "")
        return {
            family.name: family.samples[0].value
            for family in made
            if family.name.endswith("_minute") and family.samples
        }

    assert counts() == {}
    assert counts(batch_event(unpriced_tokens=7, cache_errors=2)) == {
        "embedwatch_texts_last_minute": 10, "embedwatch_cache_lookups_last_minute": 10,
        "embedwatch_cache_errors_last_minute": 2, "embedwatch_unpriced_tokens_last_minute": 7,
    }  # fmt: skip


def test_a_process_with_the_sdk_is_no_worker_anywhere() -> None:
    clock = SetClock()
    runtime = started(log_of(), clock=clock)

    def heard(role: Literal["worker", "caller"]) -> None:
        beat = HeartbeatEvent(f"{role}:1", NOW, role, "m", "running", role=role)
        runtime.world.apply_heartbeat(beat)

    heard("caller")
    assert running_workers(runtime.world, NOW) is None
    heard("worker")
    assert running_workers(runtime.world, NOW) == 1
    (sample,) = families_of(answer(runtime, clock))["embedwatch_workers"].samples
    assert sample.value == 1
    rows = summary(runtime.world, NOW)["workers"]
    assert [(row["worker"], row["role"]) for row in rows] == [("caller", "caller"), ("worker", "worker")]
