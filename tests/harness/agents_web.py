"""A server of the agents' HTTP API over a runtime whose numbers are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from alerting.quiet import Quiet
from alerting.states import Act, AlertState, Transition
from alerting.states import encode as encode_state
from embedwatch.codec import encode
from embedwatch.events import CacheEvent, GpuSample, HeartbeatEvent, LagEvent, ScalingEvent
from embedwatch.rules import default_rules
from embedwatch.settings import AgentSettings
from embedwatch.sketch import Sketch
from stream_agents.runtime import Runtime
from stream_agents.web.api import add_routes
from stream_agents.web.protect import protect
from tests.harness.agents_log import NOW, SetClock, batch_event, deliver, log_of, runtime_on
from tests.harness.verdicts import verdict

GPU = GpuSample(
    index=0, name="g", utilization_pct=50.0, memory_used_bytes=1 << 30, memory_total_bytes=1 << 34, power_watts=250.0,
    energy_joules=1000.0, uuid="GPU-1", missing={"temperature_celsius": "not told"},
)  # fmt: skip


def busy_runtime(clock: SetClock | None = None) -> Runtime:
    """Batches of two models and two minutes, with errors and a tenant; samples of lag, cache and GPU; a bad event; a
    decision about workers."""
    lag = LagEvent(
        event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="OK", lag_messages=3, lag_texts=30,
        log_end_offset=10, committed_offset=7, oldest_age_seconds=1.5, arrival_rate_per_s=1.0, consume_rate_per_s=2.0,
        drain_seconds=3.0,
    )  # fmt: skip
    stalled = LagEvent(
        event_id="l", time_seconds=NOW, group="g", topic="t", partition=1, status="STALLED", lag_messages=7,
        lag_texts=70, oldest_age_seconds=90.0, arrival_rate_per_s=0.0, consume_rate_per_s=0.0, reason="no commit",
    )  # fmt: skip
    beats = [
        HeartbeatEvent(
            event_id=f"{worker}:1", time_seconds=NOW, worker=worker, model="m", state="running", gpus=[GPU],
            model_load_seconds=seconds, in_flight_texts=5, tokens_embedded=100,
        )
        for worker, seconds in (("v", 2.5), ("w", 4.0))
    ]  # fmt: skip
    cache = CacheEvent(event_id="c", time_seconds=NOW, worker="v", available=True, entries=10, memory_bytes=1000)
    decision = ScalingEvent(
        event_id="s", time_seconds=NOW, group="g", topic="t", desired_workers=4, wanted_workers=7, workers=2,
        cause="backlog", reason="9,000 texts wait", limited_by="max_workers", at_capacity=True, running_workers=2,
        cost_usd_per_hour=4.8, wanted_cost_usd_per_hour=8.4,
    )  # fmt: skip
    slow = batch_event(
        model="slow", tenant="acme", texts=30, cache_hits=10, misses=17, errors={"timeout": 3},
        latency_sketch=Sketch.of([2000.0] * 30).to_text(), cost_nano_usd=2_000_000_000,
    )  # fmt: skip
    log = log_of(
        batch_event(), slow, batch_event(time_seconds=NOW - 130), b"broken",
        *map(encode, (lag, stalled, *beats, cache, decision)),
    )  # fmt: skip

    async def run() -> Runtime:
        runtime = runtime_on(log, rules=default_rules(), clock=clock or SetClock())
        runtime.recover({}, {0})
        await deliver(log, runtime, 10)
        await runtime.publish_windows()
        await runtime.evaluate()
        runtime.world.queue_history.look(runtime.world, NOW)
        for state in alert_states():
            runtime.alerts.take(state.alert_id.encode(), encode_state(state))
        runtime.alerts.ended()
        runtime.alerts.heard(NOW)
        return runtime

    return asyncio.run(run())


def alert_states() -> list[AlertState]:
    """One that fires and somebody has taken on, one that is over, one that a silence holds back."""
    taken = Act(do="acknowledge", by="Ada", via="slack", at_seconds=NOW - 60, severity="critical", note="a deploy")
    fired = Transition(at_seconds=NOW - 120, status="firing", reason="fired")
    common: dict[str, Any] = {"event_seconds": NOW, "local_seconds": NOW, "heard_seconds": NOW, "partition": 0}
    slow = verdict(at=NOW, alert_id="latency_p95_ms|model=e5-large-v2", scope={"model": "e5-large-v2"})
    failing = verdict(
        "ok",
        at=NOW,
        alert_type="HIGH_ERROR_RATE",
        scope={},
        metric="error_rate_pct",
        unit="%",
        value=0.2,
        threshold=1.0,
    )
    late = verdict(
        at=NOW, alert_type="HIGH_LAG", severity="warning", scope={}, metric="lag_seconds", unit="s", value=304.0,
        threshold=60.0, window_seconds=0.0,
    )  # fmt: skip
    first = AlertState(
        "latency_p95_ms|model=e5-large-v2", "acknowledged", slow, NOW - 60, offset=1, reason="acknowledged",
        breach=slow, episode=2, breached_since_seconds=NOW - 150, fired_at_seconds=NOW - 120, act=taken,
        worst_value=1900.0, history=(fired, Transition(NOW - 60, "acknowledged", "acknowledged", taken)), **common,
    )  # fmt: skip
    over = AlertState(
        "error_rate_pct", "resolved", failing, NOW - 30,
        offset=2, reason="recovered", resolved_at_seconds=NOW - 30, episode=1,
        history=(Transition(NOW - 90, "firing", "fired"), Transition(NOW - 30, "resolved", "recovered")), **common,
    )  # fmt: skip
    quiet = AlertState(
        "lag_seconds", "firing", late, NOW - 20,
        offset=3, reason="fired", breached_since_seconds=NOW - 20, fired_at_seconds=NOW - 20, episode=1,
        quiet=Quiet(kind="silence", by="maintenance", until_seconds=NOW + 600),
        history=(Transition(NOW - 20, "firing", "fired"),), **common,
    )  # fmt: skip
    return [first, over, quiet]


@asynccontextmanager
async def serving(
    runtime: Runtime,
    *,
    stopping: Callable[[], bool] = lambda: False,
    clock: SetClock | None = None,
    settings: AgentSettings | None = None,
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    add_routes(app.router, runtime, clock or SetClock(), stopping)
    protect(app, settings or AgentSettings(web_requests_per_second=10_000), clock or SetClock())
    async with TestClient(TestServer(app)) as client:
        yield client
