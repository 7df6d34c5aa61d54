"""An hour of a pipeline that a picture can show: two models, three workers with GPUs, a slow phase, some alerts."""

from __future__ import annotations

import asyncio
import math
import random

from alerting.states import Act, AlertState, encode
from embedwatch.codec import encode as encode_event
from embedwatch.events import BatchEvent, CacheEvent, GpuSample, HeartbeatEvent, LagEvent, ScalingEvent
from embedwatch.rules import default_rules
from embedwatch.sketch import Sketch
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, SetClock, batch_event, deliver, log_of, runtime_on
from tests.harness.verdicts import verdict

MINUTES = 60
STEP_SECONDS = 20
MODELS = (("all-MiniLM-L6-v2", "search", 20.0, 150_000), ("bge-large-en-v1.5", "support", 55.0, 900_000))


def picture_runtime() -> Runtime:
    """The same each time. Its last event is at `NOW`."""
    rnd = random.Random(8)
    clock = SetClock()
    clock.moved_seconds = -MINUTES * 60.0 - 60
    steps = range(-MINUTES * 60, 1, STEP_SECONDS)
    log = log_of(*[_batch(rnd, step, *each) for step in steps for each in MODELS], *_samples())

    async def run() -> Runtime:
        runtime = runtime_on(log, rules=default_rules(), clock=clock)
        runtime.recover({}, {0})
        for step in steps:  # as it came, so that rates are known
            clock.moved_seconds = float(step)
            await deliver(log, runtime, len(MODELS), together=len(MODELS))
            await runtime.publish_windows()
        await deliver(log, runtime, 100)
        await runtime.publish_windows()
        await runtime.evaluate()
        for state in _alerts():
            runtime.alerts.take(state.alert_id.encode(), encode(state))
        runtime.alerts.ended()
        runtime.alerts.heard(NOW)
        return runtime

    return asyncio.run(run())


def _batch(rnd: random.Random, step: int, model: str, tenant: str, median_ms: float, nano_usd: int) -> BatchEvent:
    slow = 1.0 + 8.0 * math.exp(-(((step + 400) / 500) ** 2)) * (tenant == "support")
    texts = round(700 + 300 * math.sin(step / 500) + rnd.randint(-60, 60))
    hits, timeouts = round(texts * 0.42), (3 if slow > 6 else 0)
    misses = texts - hits - timeouts
    sketch = Sketch.of([median_ms * slow * rnd.lognormvariate(0, 0.45) for _ in range(60)] * (texts // 60))
    sketch.merge(Sketch.of([median_ms] * (texts - sketch.count)))
    return batch_event(
        event_id=f"w:{model}:{step}", time_seconds=NOW + step, model=model, tenant=tenant, texts=texts, cache_hits=hits,
        misses=misses, errors={"timeout": timeouts} if timeouts else {}, tokens_received=texts * 61,
        tokens_embedded=misses * 61, tokens_saved=hits * 58, cost_nano_usd=misses * nano_usd // 3,
        saved_nano_usd=hits * nano_usd // 3, latency_sketch=sketch.to_text(),
        queue_wait_sketch=Sketch.of([40.0] * texts).to_text(),
    )  # fmt: skip


def _samples() -> list[bytes]:
    lag = LagEvent(
        event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="OK", lag_messages=62,
        lag_texts=3_870, log_end_offset=80_062, committed_offset=80_000, oldest_age_seconds=48.0,
        arrival_rate_per_s=1.4, consume_rate_per_s=1.7, drain_seconds=206.0,
    )  # fmt: skip
    beats = [
        HeartbeatEvent(
            event_id=f"{name}:1", time_seconds=NOW - 2, worker=name, model=model, state="running",
            gpus=[_gpu(number, use)], model_load_seconds=4.0, in_flight_texts=texts, tokens_embedded=1000,
        )
        for number, (name, model, use, texts) in enumerate(
            (
                ("gpu-a-0", MODELS[0][0], 71.0, 256), ("gpu-a-1", MODELS[1][0], 98.0, 512),
                ("gpu-b-0", MODELS[1][0], 97.0, 480),
            )
        )
    ]  # fmt: skip
    decision = ScalingEvent(
        event_id="s", time_seconds=NOW, group="g", topic="t", desired_workers=4, wanted_workers=4, workers=3,
        cause="backlog", reason="3,870 texts wait: 4 workers do them within 30 s, 3 within 206 s", running_workers=3,
    )  # fmt: skip
    cache = CacheEvent(event_id="c", time_seconds=NOW, worker="gpu-a-0", available=True, entries=10, memory_bytes=1000)
    return [encode_event(event) for event in (lag, *beats, decision, cache)]


def _gpu(index: int, use: float) -> GpuSample:
    return GpuSample(
        index=index % 2, name="L4", utilization_pct=use, memory_used_bytes=int(use * 0.18 * 2**30),
        memory_total_bytes=24 * 2**30, power_watts=use * 0.7, energy_joules=1000.0, uuid=f"GPU-{index}",
    )  # fmt: skip


def _alerts() -> list[AlertState]:
    common = {"event_seconds": NOW, "local_seconds": NOW, "heard_seconds": NOW, "partition": 0, "episode": 1}
    slow = verdict(at=NOW, scope={"model": MODELS[1][0]}, value=709.8, threshold=500.0)
    cold = verdict(
        at=NOW, alert_type="LOW_CACHE_HIT_RATE", scope={}, severity="warning", value=42.1, threshold=50.0, unit="%"
    )
    lag = verdict(at=NOW, alert_type="HIGH_LAG", scope={}, severity="warning", value=48.0, threshold=30.0, unit="s")
    taken = Act(do="acknowledge", by="ada", via="command", at_seconds=NOW - 300, severity="warning")
    rows = ((slow, "firing", 420, None), (lag, "firing", 95, None), (cold, "acknowledged", 2400, taken))
    return [
        AlertState(
            f"{found.alert_type}", status, found, NOW - ago, offset=number, reason="fired", breach=found, act=act,
            breached_since_seconds=NOW - ago, fired_at_seconds=NOW - ago, **common,
        )
        for number, (found, status, ago, act) in enumerate(rows)
    ]  # type: ignore[arg-type]  # fmt: skip
