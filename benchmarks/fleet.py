"""Ten thousand workers and a million texts a second, on the parts that have to bear them: one agents process' numbers
without Kafka, and the scaling policy in the simulator."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from benchmarks.agents_rig import batch_events, encoded
from benchmarks.claims import Claim, Result
from embedwatch.codec import decode_metric, encode
from embedwatch.events import BatchEvent, HeartbeatEvent, LagEvent
from embedwatch.rules import default_rules
from embedwatch.scaling.policy import Aims, Scaler
from embedwatch.scaling.simulator import Plant, simulate
from embedwatch.scaling.traces import trace
from stream_agents.compute.judge import judge
from stream_agents.compute.ledger import PartitionState, check_bookable
from stream_agents.compute.world import World

WORKERS = 10_000
EVENT = Claim(
    "fleet_event_us", "decoding and booking a batch event of 256 texts where 10,000 workers are known, without Kafka",
    "µs", None, "at_most",
)  # fmt: skip
JUDGE = Claim(
    "fleet_judge_ms", "one evaluation of the default rules with 10,000 workers and 10,000 partitions", "ms", 200.0,
    "at_most",
)  # fmt: skip
DAY = Claim(
    "simulate_day_1m_texts_per_s_s", "24 h of a daily wave of up to a million texts a second, 10,000 partitions "
    "and at most 10,000 workers simulated", "s", 120.0, "at_most",
)  # fmt: skip
CLAIMS = (EVENT, JUDGE, DAY)

EVENTS = 10_000
STEP_SECONDS = 5.0
#: Its busiest five seconds are then a million texts a second.
MEAN_TEXTS_PER_S = 4.45e5


def measure(ids: frozenset[str]) -> Iterator[Result]:
    if {EVENT.id, JUDGE.id} & ids:
        yield from (result for result in in_one_process() if result.claim.id in ids)
    if DAY.id in ids:
        yield day()


def in_one_process() -> Iterator[Result]:
    """Events of as many workers as there are events, so that every one of them is in the windows."""
    now, before = time.time(), _peak_bytes()
    world = World(zone=ZoneInfo("UTC"), max_scopes=1000, lag_group="g", lag_topic="t")
    world.started_seconds, state = now - 3600, PartitionState(next_offset=0)
    world.partitions[0] = state
    beats = [
        encode(HeartbeatEvent(f"w{n}:1", now, f"worker-{n}", "model-0", "running", model_load_seconds=4.0))
        for n in range(WORKERS)
    ]
    lags = [
        LagEvent(f"l{n}", now, group="g", topic="t", partition=n, status="OK", lag_messages=1, lag_texts=1,
                 oldest_age_seconds=1.0)
        for n in range(WORKERS)
    ]  # fmt: skip
    begun = time.perf_counter()
    for value in beats:
        event = decode_metric(value)
        assert isinstance(event, HeartbeatEvent)
        world.apply_heartbeat(event, now)
    beat_us = 1e6 * (time.perf_counter() - begun) / WORKERS
    begun = time.perf_counter()
    for lag in lags:
        world.apply_lag(lag)
    lag_us = 1e6 * (time.perf_counter() - begun) / WORKERS
    values = encoded(
        replace_worker(event, number)
        for number, event in enumerate(batch_events(EVENTS, 256, first_seconds=now - 60, seconds=60))
    )
    costs = []
    for _ in range(4):
        gc.collect()
        begun = time.perf_counter()
        for value in values:
            batch = decode_metric(value)
            assert isinstance(batch, BatchEvent)
            check_bookable(batch, world.zone, now)
            world.apply_batch(batch, now)
            state.book(batch, world.zone, world.max_scopes)
        costs.append(1e6 * (time.perf_counter() - begun) / EVENTS)
    grown_mb = (_peak_bytes() - before) / 1e6
    yield Result.of(EVENT, costs[1:], heartbeat_us=beat_us, lag_us=lag_us, grown_mb=grown_mb)
    rules, took = default_rules(), []
    for _ in range(7):
        begun = time.perf_counter()
        found = judge(rules, world, now)
        took.append(1e3 * (time.perf_counter() - begun))
    assert any(verdict.metric == "queue_depth" and verdict.value == WORKERS for verdict in found)
    yield Result.of(JUDGE, took, rules=float(len(rules)))


def replace_worker(event: BatchEvent, number: int) -> BatchEvent:
    """The same batch, of a worker of its own."""
    return replace(event, worker=f"worker-{number % WORKERS}", event_id=f"worker-{number % WORKERS}:{number}")


def day() -> Result:
    """A worker does what one with all-MiniLM-L6-v2 on two cores was measured to do."""
    plant = Plant(partitions=WORKERS, capacity_texts_per_s=110.0, warm_up_seconds=60.0, start_workers=5000)
    arrivals = trace("wave", texts_per_s=MEAN_TEXTS_PER_S, seconds=86_400, step_seconds=STEP_SECONDS)
    scaler = Scaler(Aims(max_workers=WORKERS))
    begun = time.perf_counter()
    found = simulate(arrivals, STEP_SECONDS, plant, lambda load, now: scaler.decide(load, now).desired)
    took = time.perf_counter() - begun
    return Result.of(
        DAY, [took], most_workers=float(found.workers.max()), wait_p95_s=found.wait_p95_seconds,
        worker_hours=found.worker_hours, texts=found.texts, changes=float(found.scale_events),
        most_texts_per_s=float(arrivals.max()) / STEP_SECONDS,
    )  # fmt: skip


def _peak_bytes() -> float:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
