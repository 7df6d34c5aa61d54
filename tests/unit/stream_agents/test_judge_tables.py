"""Every metric that can be judged has its table of cases: breached, ok, at the threshold, too few samples, nothing.

A metric of `METRICS` without a table fails here. A table is one threshold and what the world holds in each case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.events import (
    BatchEvent,
    CacheEvent,
    GpuSample,
    HeartbeatEvent,
    Judgement,
    LagEvent,
    MetricEvent,
    ScalingEvent,
)
from embedwatch.rules import METRICS, parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.judge import judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event

UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True)
class Refused:
    """An event that could not be counted."""

    worker: str = "w"
    reason: str = "invalid"
    ago: float = 0.0


Events = Sequence[MetricEvent | Refused]


@dataclass(frozen=True)
class Table:
    """Events for each case. `few` holds fewer samples than are needed, by the metric's own minimum or by `needed`.

    `nothing` is an empty window, which is no data; of a present state it is what makes it not known, which is
    inconclusive. `value` is that of `at`, the threshold.
    """

    threshold: float
    breached: Events
    ok: Events
    at: Events
    few: Events
    nothing: Sequence[Events] = ((),)
    needed: int | None = None


def took(count: int, *latencies_ms: float) -> Events:
    """A batch of `count` texts, each of the latencies as often as the others."""
    values = [ms for ms in latencies_ms for _ in range(count // len(latencies_ms))]
    return [batch_event(texts=count, latency_sketch=Sketch.of(values).to_text())]


def batch(**fields: Any) -> Events:
    return [batch_event(**fields)]


def lag(partition: int = 0, ago: float = 0.0, **fields: Any) -> LagEvent:
    base: dict[str, Any] = {
        "group": "g", "topic": "t", "status": "OK", "lag_messages": 1, "lag_texts": 1, "oldest_age_seconds": 1.0,
    }  # fmt: skip
    return LagEvent(event_id="l", time_seconds=NOW - ago, partition=partition, **{**base, **fields})


def beat(worker: str = "w", ago: float = 0.0, *gpus: float | None, **fields: Any) -> HeartbeatEvent:
    samples = [GpuSample(n, utilization_pct=pct, uuid=f"GPU-{worker}-{n}") for n, pct in enumerate(gpus)]
    return HeartbeatEvent(f"{worker}:1", NOW - ago, worker, "m", "running", gpus=samples, **fields)


def decision(wanted: int, desired: int, ago: float = 0.0, **fields: Any) -> ScalingEvent:
    base: dict[str, Any] = {
        "workers": desired, "cause": "arrivals", "reason": "r", "at_capacity": wanted > desired,
        "limited_by": "max_workers" if wanted > desired else None, **fields,
    }  # fmt: skip
    return ScalingEvent("s", NOW - ago, "g", "t", desired_workers=desired, wanted_workers=wanted, **base)


#: In a window of the last minute nothing, but before it.
OLD = [batch_event(time_seconds=NOW - 200)]
NO_LATENCY = batch(texts=0, cache_hits=0, misses=0, latency_sketch=Sketch().to_text())
NO_SAMPLE_OF_LAG: list[Events] = [(), [lag(ago=31.0)], [lag(group="another")], [lag(topic="another")]]

TABLES: dict[str, Table] = {
    "latency_p50_ms": Table(
        100, took(20, 101), took(20, 99), took(20, 100), took(19, 900), ((), OLD, NO_LATENCY)
    ),
    "latency_p95_ms": Table(
        500, [*took(900, 100), *took(100, 650)], [*took(960, 100), *took(40, 650)], took(20, 500), took(19, 9000),
        ((), OLD, NO_LATENCY),
    ),
    "latency_p99_ms": Table(
        500, [*took(980, 100), *took(20, 650)], [*took(992, 100), *took(8, 650)], took(100, 500), took(99, 9000),
        ((), OLD, NO_LATENCY),
    ),
    "latency_avg_ms": Table(
        100, took(20, 50, 152), took(20, 50, 148), took(20, 50, 150), took(18, 50, 900), ((), OLD, NO_LATENCY)
    ),
    "latency_max_ms": Table(
        100, [*took(20, 1), *took(1, 100.001)], took(20, 99.999), took(20, 100), took(2, 900), ((), OLD, NO_LATENCY),
        needed=3,
    ),
    "error_rate_pct": Table(
        1.0, batch(texts=1000, errors={"timeout": 6, "other": 5}), batch(texts=1000, errors={"timeout": 9}),
        batch(texts=1000, errors={"timeout": 5, "other": 5}), batch(texts=19, errors={"timeout": 19}),
        ((), OLD, NO_LATENCY),
    ),
    "cache_hit_rate_pct": Table(
        40, batch(texts=100, cache_hits=39, misses=61), batch(texts=100, cache_hits=41, misses=59),
        # Copies within a poll are neither: 40 of 100 looked up.
        batch(texts=300, cache_hits=40, misses=60, duplicates=200), batch(texts=99, cache_hits=0, misses=99),
        ((), OLD, batch(texts=100, cache_hits=0, misses=0, duplicates=50, errors={"timeout": 50})),
    ),
    "throughput_texts_per_s": Table(
        10, [*batch(time_seconds=NOW - 20, texts=100), *batch(texts=99)],
        [*batch(time_seconds=NOW - 20, texts=100), *batch(texts=101)],
        [*batch(time_seconds=NOW - 20, texts=100), *batch(texts=100)], batch(texts=4, time_seconds=NOW - 20),
        ((), OLD), needed=5,
    ),
    "throughput_tokens_per_s": Table(
        100, batch(time_seconds=NOW - 20, tokens_embedded=1999), batch(time_seconds=NOW - 20, tokens_embedded=2001),
        batch(time_seconds=NOW - 20, tokens_embedded=2000), batch(texts=4, time_seconds=NOW - 20),
        ((), OLD), needed=5,
    ),
    "unpriced_tokens": Table(
        0, batch(unpriced_tokens=1), batch(), batch(unpriced_tokens=0), batch(texts=4, unpriced_tokens=9), ((), OLD),
        needed=5,
    ),
    "cache_errors": Table(
        2, [*batch(cache_errors=2), *batch(cache_errors=1)], batch(cache_errors=1), batch(cache_errors=2),
        batch(texts=4, cache_errors=9), ((), OLD), needed=5,
    ),
    "rejected_events": Table(
        1, [Refused(), Refused("v", "not_json", 800.0)], [*batch(), Refused(ago=960.0)], [Refused(ago=899.0)],
        # That none was refused is known, also where nothing came: there is no empty window.
        [Refused()] * 4, (), needed=5,
    ),
    "daily_forecast_usd": Table(
        # A third of the day has passed.
        99, batch(cost_nano_usd=33_100_000_000), batch(cost_nano_usd=32_900_000_000),
        batch(cost_nano_usd=33_000_000_000), batch(texts=4, cost_nano_usd=90_000_000_000),
        ((), batch(cost_nano_usd=0)), needed=5,
    ),
    "budget_burn_pct": Table(
        # Of a budget of 10 USD a tenth may be spent in 15 minutes: the threshold is 10 USD, and judged are 10 %.
        10, batch(cost_nano_usd=1_010_000_000), batch(cost_nano_usd=990_000_000), batch(cost_nano_usd=1_000_000_000),
        batch(texts=4, cost_nano_usd=5_000_000_000), needed=5,
    ),
    "daily_cost_usd": Table(
        10, [*batch(cost_nano_usd=10**10), *batch(cost_nano_usd=1)], batch(cost_nano_usd=10**10 - 1),
        # Yesterday's is not today's, however much it was.
        [*batch(cost_nano_usd=10**10), *batch(cost_nano_usd=10**15, time_seconds=NOW - 86_400)],
        batch(texts=4, cost_nano_usd=10**12), ((), batch(time_seconds=NOW - 86_400)), needed=5,
    ),
    "queue_depth": Table(
        1000, [lag(0, lag_texts=600), lag(1, lag_texts=401)], [lag(0, lag_texts=600), lag(1, lag_texts=399)],
        [lag(0, lag_texts=600), lag(1, lag_texts=400)], [lag(lag_texts=9000)],
        # Half a queue is not a queue.
        (*NO_SAMPLE_OF_LAG, [lag(0, lag_texts=9000), lag(1, lag_texts=None)]), needed=2,
    ),
    "lag_seconds": Table(
        60, [lag(0, oldest_age_seconds=60.5), lag(1, oldest_age_seconds=1.0)], [lag(oldest_age_seconds=59.5)],
        # A sample of 20 s ago has grown by 20 s; an empty queue has not.
        [lag(0, 20.0, oldest_age_seconds=40.0), lag(1, 20.0, oldest_age_seconds=0.0, lag_messages=0)],
        [lag(oldest_age_seconds=900.0)],
        (*NO_SAMPLE_OF_LAG, [lag(0, oldest_age_seconds=900.0), lag(1, oldest_age_seconds=None)]), needed=2,
    ),
    "stalled_partitions": Table(
        1, [lag(0, status="STALLED"), lag(1, status="STOPPED")], [lag(0), lag(1, status="REWOUND")],
        [lag(0, status="STALLED"), lag(1)], [lag(0, status="STALLED"), lag(1, status="STALLED")],
        (*NO_SAMPLE_OF_LAG, [lag(0, status="STALLED"), lag(1, status="UNKNOWN")]), needed=3,
    ),
    "queue_failing_pct": Table(
        50, [beat(), *batch(texts=100, errors={"timeout": 51})], [beat(), *batch(texts=100, errors={"timeout": 49})],
        [beat(), *batch(texts=100, errors={"timeout": 50})], [beat(), *batch(texts=19, errors={"timeout": 19})],
        # Without workers nothing comes from the queue: what fails is somebody's own call.
        ((), [beat(), *OLD], [beat(), *NO_LATENCY], batch(texts=100, errors={"timeout": 100})),
    ),
    "workers_over_capacity": Table(
        2, [decision(7, 4)], [decision(5, 4)], [decision(6, 4)], [decision(9, 4)],
        ((), [decision(9, 4, ago=91.0)], [decision(9, 4, cause="unknown")], [decision(9, 4, cause="stalled")]),
        needed=2,
    ),
    "model_load_seconds": Table(
        30, [beat(model_load_seconds=31.0), beat("v", model_load_seconds=2.0)], [beat(model_load_seconds=29.0)],
        [beat(model_load_seconds=30.0)], [beat(model_load_seconds=90.0), beat("v")], ((), [beat()]), needed=2,
    ),
    "gpu_utilization_pct": Table(
        60, [beat("w", 0, 90.0, 29.0)], [beat("w", 0, 90.0), beat("v", 0, 31.0)], [beat("w", 0, 90.0, 30.0)],
        [beat("w", 0, 10.0), beat("v", 0, None)], ((), [beat()], [beat("w", 0, None)]), needed=2,
    ),
    "worker_silent_seconds": Table(
        30, [beat(ago=31.0), beat("v")], [beat(ago=29.0)], [beat(ago=30.0)], [beat(ago=90.0)],
        # One that said goodbye is not missed.
        ((), [beat(ago=90.0), HeartbeatEvent("w:2", NOW - 89, "w", "m", "stopping")]), needed=2,
    ),
    "workers_silent_seconds": Table(
        30, [beat(ago=31.0), beat("v", ago=90.0)], [beat(ago=29.0), beat("v", ago=90.0)], [beat(ago=30.0)],
        [beat(ago=90.0)], ((), [beat(ago=90.0), HeartbeatEvent("w:2", NOW - 89, "w", "m", "stopping")]), needed=2,
    ),
    "data_silent_seconds": Table(
        60, batch(time_seconds=NOW - 61), batch(time_seconds=NOW - 59), batch(time_seconds=NOW - 60),
        # There is one answer, never two; a rule that asks for more is never judged.
        batch(time_seconds=NOW - 900), needed=2,
    ),
}  # fmt: skip


def world_of(events: Events, *, begun: bool = True) -> World:
    world = World(zone=UTC_ZONE, max_scopes=100, lag_group="g", lag_topic="t")
    if any(isinstance(event, HeartbeatEvent) and event.state == "running" for event in events[-1:]):
        world.started_seconds = NOW - 3600  # it has listened for long
    world.partitions = {0: PartitionState(next_offset=0)} if begun else {}
    for event in events:
        if isinstance(event, BatchEvent):
            world.apply_batch(event, NOW)
            world.partitions[0].book(event, UTC_ZONE, 100)
        elif isinstance(event, HeartbeatEvent):
            world.apply_heartbeat(event)
        elif isinstance(event, LagEvent):
            world.apply_lag(event)
        elif isinstance(event, CacheEvent):
            world.apply_cache(event)
        elif isinstance(event, ScalingEvent):
            world.apply_scaling(event)
        elif isinstance(event, Refused):
            world.partitions[0].rejections.add(event.reason, event.worker, NOW - event.ago)
    return world


def judged(metric: str, events: Events, min_samples: int | None = None) -> tuple[Judgement, float | None, str]:
    """What a rule with the table's threshold says."""
    more = "" if min_samples is None else f", min_samples: {min_samples}"
    more += ", steps_pct: [100]" if metric == "daily_cost_usd" else ""
    text = f"rules: [{{metric: {metric}, threshold: {TABLES[metric].threshold}{more}}}]"
    (verdict,) = judge(parse_rules(YamlFile("rules.yaml", text)), world_of(events), NOW)
    # What a reason adds in brackets is tested where it is made.
    return verdict.judgement, verdict.value, verdict.reason.partition(" (")[0]


def test_every_metric_has_a_table() -> None:
    # A regression is not decided by its threshold alone: its table is in test_baseline.py.
    assert {*TABLES, "latency_regression_pct"} == set(METRICS), (
        "add a table of cases for each metric of embedwatch.rules.METRICS"
    )


@pytest.mark.parametrize("metric", TABLES)
def test_breached(metric: str) -> None:
    table, (judgement, value, reason) = TABLES[metric], judged(metric, TABLES[metric].breached)
    assert value is not None
    if METRICS[metric].comparison == ">":
        assert (judgement, value > table.threshold, reason) == ("breached", True, "above the threshold")
    else:
        assert (judgement, value < table.threshold, reason) == ("breached", True, "below the threshold")


@pytest.mark.parametrize("metric", TABLES)
def test_ok(metric: str) -> None:
    judgement, value, reason = judged(metric, TABLES[metric].ok)
    side = "above" if METRICS[metric].comparison == ">" else "below"
    assert (judgement, reason) == ("ok", f"not {side} the threshold")
    assert value is not None


@pytest.mark.parametrize("metric", TABLES)
def test_at_the_threshold_is_ok(metric: str) -> None:
    assert judged(metric, TABLES[metric].at)[:2] == ("ok", TABLES[metric].threshold)


@pytest.mark.parametrize("metric", TABLES)
def test_too_few_samples_are_inconclusive_and_shown(metric: str) -> None:
    table = TABLES[metric]
    judgement, value, reason = judged(metric, table.few, table.needed)
    needed = table.needed or METRICS[metric].min_samples
    assert judgement == "inconclusive"
    assert value is not None
    assert reason.endswith((f"samples, {needed} are needed", f"1 sample, {needed} are needed"))
    # It is the number of samples that holds it back, not the value.
    assert judged(metric, table.few, min_samples=1)[0] == "breached"


@pytest.mark.parametrize(("metric", "events"), [(m, events) for m, table in TABLES.items() for events in table.nothing])
def test_nothing_is_a_state_of_its_own(metric: str, events: Events) -> None:
    judgement, value, reason = judged(metric, events)
    if metric == "data_silent_seconds":
        assert (judgement, value, reason) == ("inconclusive", None, "not known")  # not even a start
    elif METRICS[metric].windowed:
        assert (judgement, reason) == ("no_data", "nothing in the window")
        assert not value
    elif metric in ("daily_cost_usd", "budget_burn_pct"):
        assert (judgement, value, reason) == ("inconclusive", 0.0, "0 samples, 1 is needed")
    else:
        assert (judgement, value) == ("inconclusive", None)
        assert reason


@pytest.mark.parametrize("metric", TABLES)
def test_before_anything_is_recovered_nothing_is_ok_or_breached(metric: str) -> None:
    text = f"thresholds: {{{metric}: {TABLES[metric].threshold}}}"
    for verdict in judge(parse_rules(YamlFile("rules.yaml", text)), world_of((), begun=False), NOW):
        assert verdict.judgement in ("no_data", "inconclusive")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "7 are wanted, scaling.max_workers allows 4"),
        ({"limited_by": "partitions"}, "7 are wanted, the topic has 4 partitions"),
        ({"limited_by": "slots"}, "7 are wanted, scaling.slots has room for 4"),
        (
            {"limited_by": "budget", "cost_usd_per_hour": 4.8, "wanted_cost_usd_per_hour": 8.4},
            "7 are wanted, scaling.max_usd_per_hour pays for 4; 7 would cost $8.40 an hour instead of $4.80",
        ),
    ],
)
def test_at_capacity_says_how_many_are_wanted_what_limits_and_what_they_would_cost(
    fields: dict[str, Any], words: str
) -> None:
    rules = parse_rules(YamlFile("rules.yaml", "rules: [{type: AT_CAPACITY, for: 2m}]"))
    (verdict,) = judge(rules, world_of([decision(7, 4, **fields)]), NOW)
    assert (verdict.alert_type, verdict.judgement, verdict.value) == ("AT_CAPACITY", "breached", 3.0)
    assert (verdict.reason, verdict.for_seconds) == (f"above the threshold ({words})", 120.0)


def test_within_the_limits_and_at_the_least_nobody_is_at_capacity() -> None:
    rules = parse_rules(YamlFile("rules.yaml", "rules: [{type: AT_CAPACITY}]"))
    for event in (decision(4, 4), decision(0, 1, limited_by="min_workers")):
        (verdict,) = judge(rules, world_of([event]), NOW)
        assert (verdict.judgement, verdict.value) == ("ok", 0.0)
