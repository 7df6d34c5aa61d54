"""From an event published to the verdict on the topic, while 500 events a second are counted."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import rig
from benchmarks.agents_rig import MODELS, PARTITIONS, TENANTS, Agents, batch_events, two_hundred_rules
from benchmarks.claims import Claim, Result
from embedwatch.codec import decode_verdict, encode
from embedwatch.events import BatchEvent
from embedwatch.kafka import TopicPartition, consumer, producer
from embedwatch.sketch import Sketch

LATENCY = Claim(
    "verdict_latency_p95_ms", "event published to verdict on the topic, p95, at 500 events/s with 50 scopes and 200 "
    "rules", "ms", 300.0, "at_most",
)  # fmt: skip
CLAIMS = (LATENCY,)

RATE_PER_S = 500
SETTLE_SECONDS = 5.0
#: A breach every so many events, each of a rule that has not been breached before.
BREACH_EVERY = 125
TEXTS = 256
#: The breached rule of a scope, and what the event holds that breaches it.
KINDS = {
    "latency_max_ms": {"latency_sketch": Sketch.of([100.0] * 255 + [90_000.0]).to_text()},
    "unpriced_tokens": {"unpriced_tokens": 10},
}


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder, rig.broker() as broker:
        rules = two_hundred_rules(Path(folder) / "rules.yaml")
        agents = Agents(broker, Path(folder), f"bench-{uuid.uuid4().hex[:8]}", rules=rules, lag_interval_seconds=5)
        with agents.running() as child:
            agents.wait_ready(child)
            yield latency(agents)


def latency(agents: Agents) -> Result:
    """Publishes at a steady rate; each breach is of one model of one tenant, whose verdict is waited for."""
    heard: dict[str, float] = {}
    stop = threading.Event()
    listener = threading.Thread(target=_listen, args=(agents, heard, stop), daemon=True)
    listener.start()
    client = producer(agents.kafka, "bench-producer")
    sent: dict[str, float] = {}
    breaches = itertools.chain.from_iterable(
        [(f"model-{m}", f"tenant-{t}", kind) for m in range(MODELS) for t in range(TENANTS)] for kind in KINDS
    )
    usual = list(batch_events(MODELS * TENANTS * 20, TEXTS, first_seconds=0.0))
    try:
        begun = time.monotonic()
        for number in itertools.count():
            ahead = begun + number / RATE_PER_S - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            event, identity = usual[number % len(usual)], None
            if number > SETTLE_SECONDS * RATE_PER_S and number % BREACH_EVERY == 0:
                breach = next(breaches, None)
                if breach is None:
                    break
                event, identity = _breaching(event, *breach)
            now = time.time()
            value = encode(msgspec.structs.replace(event, time_seconds=now, event_id=f"bench:{number}"))
            client.send(agents.settings.topics.metrics, value=value, partition=number % PARTITIONS)
            if identity is not None:
                sent[identity] = now
        achieved = number / (time.monotonic() - begun)
        deadline = time.monotonic() + 5.0
        while not sent.keys() <= heard.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        client.close()
        stop.set()
        listener.join(10)
    missing = sent.keys() - heard.keys()
    if missing:
        raise SystemExit(f"{len(missing)} of {len(sent)} verdicts did not come, for one {min(missing)}")
    took_ms = np.array([1000.0 * (heard[identity] - at) for identity, at in sent.items()])
    p50, p95 = np.quantile(took_ms, (0.5, 0.95), method="higher")
    return Result(
        LATENCY, float(p95), (float(took_ms.min()), float(took_ms.max())),
        {"verdicts": len(took_ms), "p50_ms": float(p50), "events_per_s": achieved, "rules": 200, "scopes": 50},
    )  # fmt: skip


def _breaching(event: BatchEvent, model: str, tenant: str, kind: str) -> tuple[BatchEvent, str]:
    """The event and the identity of the verdict that it changes."""
    at = 1 + MODELS + TENANTS + int(model.removeprefix("model-")) * TENANTS + int(tenant.removeprefix("tenant-"))
    breaching = msgspec.structs.replace(event, model=model, tenant=tenant, **KINDS[kind])
    return breaching, f"{kind}-{at}|model={model},tenant={tenant}"


def _listen(agents: Agents, heard: dict[str, float], stop: threading.Event) -> None:
    """Notes when a breached verdict was there for a reader."""
    client: Any = consumer(agents.kafka, "bench-listener", group=None, fetch_max_wait_ms=20)
    try:
        topic = agents.settings.topics.verdicts
        client.assign([TopicPartition(topic, p) for p in sorted(client.partitions_for_topic(topic) or ())])
        client.seek_to_beginning()
        while not stop.is_set():
            for records in client.poll(timeout_ms=100).values():
                for record in records:
                    verdict = decode_verdict(record.value)
                    if verdict.judgement == "breached":
                        heard.setdefault(verdict.alert_id, time.time())
    finally:
        client.close()
