"""What fuzzing starts from: something valid of every kind, as plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embedwatch import events
from embedwatch.codec import encode
from embedwatch.sketch import Sketch
from stream_agents.compute.ledger import PartitionState
from tests.fuzz.dice import Dice
from tests.harness.agents_log import NOW, batch_event
from tests.harness.verdicts import verdict

_ROOT = Path(__file__).resolve().parents[2]
_EXAMPLES: tuple[events.Event, ...] = (
    batch_event(tenant="t", source="s", errors={"timeout": 1}, texts=11, batch_share=0.5, unpriced_saved_tokens=0),
    events.HeartbeatEvent(
        event_id="w:2", time_seconds=NOW, worker="w", model="m", state="running", model_load_seconds=2.5,
        in_flight_texts=1, batch_budget_tokens=16_384, resident_bytes=1, tokens_embedded=7,
        gpus=[
            events.GpuSample(
                index=0, name="g", utilization_pct=50.0, memory_used_bytes=1, memory_total_bytes=2, power_watts=250.0,
                energy_joules=1000.0, uuid="GPU-1", missing={"temperature_celsius": "not told"},
            )
        ],
    ),
    events.LagEvent(
        event_id="l:1", time_seconds=NOW, group="g", topic="t", partition=0, status="OK", log_end_offset=10,
        committed_offset=7, lag_messages=3, lag_texts=30, oldest_age_seconds=1.5, consume_rate_per_s=2.0,
        arrival_rate_per_s=1.0, drain_seconds=3.0, reason="fine",
    ),
    events.CacheEvent(
        event_id="c:1", time_seconds=NOW, worker="w", available=True, entries=10, memory_bytes=1000,
        bytes_per_entry=100.0, evictions=1, hits=2, misses=3,
    ),
    events.ScalingEvent(
        event_id="s:1", time_seconds=NOW, group="g", topic="t", desired_workers=4, wanted_workers=7, workers=2,
        cause="backlog", reason="9,000 texts wait", limited_by="max_workers", at_capacity=True, lag_seconds=12.5,
        backlog_texts=9000, arrival_texts_per_s=80.0, capacity_texts_per_s=100.0, drain_seconds=1.0,
        cost_usd_per_hour=4.8, wanted_cost_usd_per_hour=8.4, running_workers=2, changes_today=3,
    ),
    verdict(
        at=NOW, text="look at the queue", runbook="https://wiki.example/a b", reason="above the threshold (x)",
        day="2027-01-15", timezone="UTC", route="slack", for_seconds=1.0, keep_firing_for_seconds=2.0,
        contributors=[events.Contributor("phase", "embed", 700.0, 86.2, 3.0)],
    ),
    events.AlertAction(
        action_id="slack:U1:1.0", time_seconds=NOW, alert_id="latency_p95_ms|model=minilm", episode=2, do="snooze",
        by="Zoë", via="slack", until_seconds=NOW + 3600, note="a deploy",
    ),
    events.Silence(
        silence_id="s1", created_seconds=1.0, by="Zoë", match={"tenant": "acme*"}, starts_seconds=1.0,
        ends_seconds=NOW + 100, weekdays=(5, 6), at="22:00", for_seconds=14_400.0, timezone="Europe/Berlin", note="n",
    ),
    events.WindowEvent(
        scope="model=m", window_seconds=3600, start_seconds=NOW - 86_400 * 2, end_seconds=NOW - 86_400 * 2 + 3600,
        closed_seconds=NOW, partial=False, events=1, texts=10, cache_hits=2, duplicates=0, misses=7, batches=1,
        tokens_received=100, tokens_embedded=80, tokens_saved=20, truncated_texts=0, padding_tokens=0, cost_nano_usd=8,
        saved_nano_usd=2, unpriced_tokens=0, cache_errors=0, busy_seconds=0.1, errors={"timeout": 1},
        phase_seconds=events.PhaseSeconds(embed=0.1), latency_sketch=Sketch.of([5.0] * 9).to_text(),
        queue_wait_sketch=Sketch.of([1.0]).to_text(), throughput_texts_per_s=10 / 60, throughput_tokens_per_s=1.0,
        batch_share=0.5,
    ),
    events.CorrectionEvent(
        event_id="agents:3:17:2026-07-13:all", time_seconds=1.0, day="2026-07-13", timezone="Europe/Berlin",
        scope="all", partition=3, from_offset=17, until_offset=19, events=2,
        added=events.DaySums(texts=20, cost_nano_usd=8), total=events.DaySums(texts=520, cost_nano_usd=2**70),
    ),
    events.DayEvent(
        application="agents", day="2027-01-13", timezone="UTC", begin_seconds=NOW - 86_400 * 2,
        end_seconds=NOW - 86_400, partition=0, partitions=1, from_offset=0, until_offset=19, time_seconds=NOW, piece=0,
        pieces=1, allocated_ms={"m": 3_600_000},
        scopes={
            name: events.DayScope(
                texts=20, cache_hits=5, misses=14, errors=1, tokens_received=100, tokens_embedded=90, tokens_saved=9,
                cost_nano_usd=2**40, saved_nano_usd=7, spend_nano_usd=[0, 2**40],
            )
            for name in ("all", "model=m", "tenant=t", "model=m,tenant=t")
        },
    ),
)  # fmt: skip
EVENTS: dict[str, dict[str, object]] = {data["type"]: data for data in (json.loads(encode(e)) for e in _EXAMPLES)}


def batch(dice: Dice) -> dict[str, Any]:
    """One whose parts add up, so that the bytes need not find that out."""
    counts = [dice.below(1000) for _ in range(4)]
    tokens = dice.below(50_000)
    found = batch_event(
        dice.below(100),
        time_seconds=NOW - dice.pick((0, 1, 30, 61, 3601, 86_400, 86_400 * 2, 86_400 * 9)),
        texts=sum(counts), cache_hits=counts[0], duplicates=counts[1], misses=counts[2],
        errors={"timeout": counts[3]} if counts[3] else {}, tokens_embedded=tokens, tokens_saved=dice.below(1000),
        unpriced_tokens=dice.pick((0, tokens)), cost_nano_usd=dice.pick((0, 1, 10**9, 10**12)),
        price_source=dice.pick(("override", "gpu-hour", "unknown")), model=dice.pick(("m", "n", "é")),
        tenant=dice.pick((None, "t", "", "a,b")),
    )  # fmt: skip
    return dict(json.loads(encode(found)))


def _states() -> list[dict[str, Any]]:
    from zoneinfo import ZoneInfo

    zone, state = ZoneInfo("UTC"), PartitionState(next_offset=3, timezone="UTC")
    for ago_seconds, tenant in ((0, "t"), (86_400, None), (86_400 * 5, "t")):
        state.book(batch_event(time_seconds=NOW - ago_seconds, tenant=tenant), zone, 100, NOW)
    state.rejected["not_json"] = 1
    state.rejections.add("not_json", "w", NOW)
    old = json.loads((_ROOT / "tests/unit/stream_agents/state_v1.json").read_text(encoding="utf-8"))
    return [
        json.loads(json.dumps(state.to_record())),
        {**old, "days": {d: old["days"][d] for d in list(old["days"])[:1]}},
    ]


STATES = _states()
