"""A pipeline as somebody would find it on the page: an hour of texts, a queue, workers, decisions, alerts. No chance in
it, so that a picture of it is the same each time."""

from __future__ import annotations

import math
from collections.abc import Iterable

from alerting.states import AlertState
from alerting.states import encode as encode_state
from embedwatch.events import BatchEvent, CacheEvent, GpuSample, HeartbeatEvent, LagEvent, PhaseSeconds, ScalingEvent
from embedwatch.rules import default_rules
from embedwatch.sketch import Sketch
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, SetClock, batch_event, log_of, runtime_on
from tests.harness.agents_web import alert_states

MODELS = (
    ("all-MiniLM-L6-v2", "search", 24, 55.0),
    ("bge-base-en-v1.5", "support", 8, 140.0),
    ("e5-large-v2", "archive", 3, 320.0),
)


STUCK = "no commit for 304 s with 310 messages waiting"


def _wave(at: float, period: float) -> float:
    return 0.5 + 0.5 * math.sin(2 * math.pi * at / period)


def batches(ages: Iterable[int], slow: bool = False) -> list[BatchEvent]:
    """One event a model for each age in seconds; `slow`: the last ten minutes take five times as long."""
    found = []
    for age in ages:
        at = NOW - age
        for number, (model, tenant, rate, base_ms) in enumerate(MODELS):
            texts = 10 * max(int(rate * (0.6 + 0.6 * _wave(at + 500 * number, 2600))), 1)
            factor = (0.8 + 0.5 * _wave(at, 1700)) * (5.0 if slow and age < 600 else 1.0)
            spread = [base_ms * factor * (0.6 + 1.1 * (index / min(texts, 40)) ** 3) for index in range(min(texts, 40))]
            hits = int(texts * (0.42 + 0.2 * _wave(at, 3100)))
            seconds = base_ms * factor / 1000
            price = 1700 * (1 + number)
            wrong = 1 if age % 130 == 0 and number == 0 else 0
            found.append(
                batch_event(
                    age * 10 + number, time_seconds=at, model=model, tenant=tenant, texts=texts, cache_hits=hits,
                    misses=texts - hits - wrong, errors={"timeout": wrong} if wrong else {}, batches=4,
                    tokens_received=texts * 60, tokens_embedded=(texts - hits) * 55, tokens_saved=hits * 55,
                    cost_nano_usd=(texts - hits) * 55 * price, saved_nano_usd=hits * 55 * price,
                    phase_seconds=PhaseSeconds(
                        queue_wait=0.05, cache_lookup=0.012, tokenise=4 * seconds * 0.12, embed=4 * seconds * 0.7,
                        cache_write=0.02, publish=4 * seconds * 0.06,
                    ),
                    latency_sketch=Sketch.of(spread).to_text(), queue_wait_sketch=Sketch.of([5.0, 8.0, 30.0]).to_text(),
                )
            )  # fmt: skip
    return found


def _lags(at: float, load: float, *, stalled: bool) -> list[LagEvent]:
    found = []
    for partition in range(6):
        stuck = stalled and partition == 4
        waiting = 310 if stuck else int(40 * load) + partition
        found.append(
            LagEvent(
                event_id=f"l{partition}", time_seconds=at, group="g", topic="t", partition=partition,
                status="STALLED" if stuck else "OK", reason=STUCK if stuck else None,
                lag_messages=waiting, lag_texts=waiting * 3, log_end_offset=90_000 + waiting, committed_offset=90_000,
                oldest_age_seconds=304.0 if stuck else 0.8 + 3.5 * load, arrival_rate_per_s=4.0,
                consume_rate_per_s=0.0 if stuck else 5.0 + load, drain_seconds=None if stuck else waiting / (1 + load),
            )
        )  # fmt: skip
    return found


def _beats(at: float, count: int) -> list[HeartbeatEvent]:
    return [
        HeartbeatEvent(
            event_id=f"w{n}:{at}", time_seconds=at, worker=f"gpu-node-{n}", model=MODELS[n % 3][0], state="running",
            model_load_seconds=6.5 + n, in_flight_texts=96, resident_bytes=(3 << 30) + n * (200 << 20),
            tokens_embedded=int((at - NOW + 7200) * 9000),
            gpus=[
                GpuSample(
                    index=0, name="NVIDIA L4", uuid=f"GPU-{n}", utilization_pct=71.0 + 4 * n, memory_used_bytes=9 << 30,
                    memory_total_bytes=24 << 30, power_watts=58.0 + n, energy_joules=(at - NOW + 7200) * 58.0,
                    missing={"temperature_celsius": "not told"},
                )
            ],
        )
        for n in range(count)
    ]  # fmt: skip


def _decision(at: float, desired: int, running: int, reason: str, **more: object) -> ScalingEvent:
    fields: dict[str, object] = {
        "event_id": f"s{at}", "time_seconds": at, "group": "g", "topic": "t", "desired_workers": desired,
        "wanted_workers": desired, "workers": running, "running_workers": running, "cause": "backlog", "reason": reason,
        "lag_seconds": 4.0, "backlog_texts": 900, "arrival_texts_per_s": 190.0, "capacity_texts_per_s": 80.0 * running,
        "drain_seconds": 20.0, "cost_usd_per_hour": 0.8 * desired, "wanted_cost_usd_per_hour": 0.8 * desired,
    }  # fmt: skip
    return ScalingEvent(**{**fields, **more})  # type: ignore[arg-type]


def quiet_states() -> list[AlertState]:
    """Only what is over."""
    return [state for state in alert_states() if state.status == "resolved"]


async def made(
    clock: SetClock,
    *,
    trouble: bool = False,
    extra: Iterable[BatchEvent] = (),
    states: Iterable[AlertState] | None = None,
) -> Runtime:
    """`trouble`: slow for ten minutes, a partition that stands still, alerts that fire."""
    clock.moved_seconds = -7200.0
    runtime = runtime_on(log_of(), rules=default_rules(), clock=clock)
    runtime.recover({}, {0})
    world, state = runtime.world, runtime.world.partitions[0]
    for event in [*batches(range(0, 3560, 10), slow=trouble), *extra]:
        world.apply_batch(event, NOW)
        state.book(event, world.zone, world.max_scopes)
    for n, event in enumerate(batches(range(4000, 27_000, 600))):
        state.book(event, world.zone, world.max_scopes)
        for _ in range(18 + n % 5):
            state.book(event, world.zone, world.max_scopes)
    decisions = [
        _decision(NOW - 3300, 2, 2, "190 texts/s arrive, a worker does 80 a second"),
        _decision(NOW - 2100, 3, 2, "2,400 texts wait, aimed at 30 s of work"),
        _decision(NOW - 1200, 2, 3, "2 workers were enough for 15 min", cause="arrivals"),
        _decision(NOW - 620, 4 if trouble else 3, 2, "3,100 texts wait, aimed at 30 s of work",
                  **({"limited_by": "max_workers", "at_capacity": True, "wanted_workers": 6} if trouble else {})),
    ]  # fmt: skip
    for step in range(360, -1, -1):
        at = NOW - 10 * step
        clock.moved_seconds = at - NOW
        load = _wave(at + 700, 2400) ** 2 + (2.5 * max(0.0, 1 - step / 60) if trouble else 0.0)
        for lag in _lags(at, load, stalled=trouble and step < 40):
            world.apply_lag(lag)
        for beat in _beats(at, 3 if 1200 < 10 * step < 2060 or 10 * step < 580 else 2):
            world.apply_heartbeat(beat, at)
        due = [d for d in decisions if d.time_seconds <= at]
        for decision in due[-1:]:
            again = ScalingEvent(
                **{name: getattr(decision, name) for name in decision.__struct_fields__} | {"time_seconds": at}
            )
            world.apply_scaling(decision)
            world.apply_scaling(again)
        world.queue_history.look(world, at)
    clock.moved_seconds = 0.0
    world.apply_cache(
        CacheEvent(
            event_id="c", time_seconds=NOW, worker="gpu-node-0", available=True, entries=1_204_331,
            memory_bytes=1_930_000_000,
        )
    )  # fmt: skip
    for each in states if states is not None else (alert_states() if trouble else quiet_states()):
        runtime.alerts.take(each.alert_id.encode(), encode_state(each))
    runtime.alerts.ended()
    runtime.alerts.heard(NOW)
    await runtime.evaluate()
    return runtime


async def empty(clock: SetClock) -> Runtime:
    """Agents that began a moment ago and have heard of nothing."""
    runtime = runtime_on(log_of(), rules=default_rules(), clock=clock)
    runtime.recover({}, {0})
    runtime.alerts.troubled(
        "there is no topic embedwatch.alerts: `embedwatch topics create` creates it, alerting fills it"
    )
    await runtime.evaluate()
    return runtime
