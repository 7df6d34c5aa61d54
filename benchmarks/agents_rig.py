"""A real `embedwatch agents` process on a real broker, and batch events like those of workers, always the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from embedwatch.codec import encode
from embedwatch.events import BatchEvent, PhaseSeconds
from embedwatch.kafka import create_topics, producer
from embedwatch.processes import Child, free_port
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.sketch import Sketch

ROOT = Path(__file__).parents[1]
PARTITIONS = 4
#: 1 + 9 + 4 + 36 scopes.
MODELS, TENANTS = 9, 4
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Agents:
    """Topics of one run, and agents processes on them, one after another."""

    #: What Python is given before the command's own arguments.
    start: tuple[str, ...] = ("-m", "embedwatch")

    def __init__(self, service: EmbeddedBroker, folder: Path, name: str, **agents: object) -> None:
        self.settings = Settings.model_validate({
            "kafka": {
                "bootstrap_servers": service.bootstrap_servers, "topic_prefix": name, "partitions": PARTITIONS,
                "session_timeout_seconds": 6,
            }
        })  # fmt: skip
        self.folder = folder
        self.name = name
        self.app_id = f"{name}-agents"
        self.port = free_port()
        self.options = agents
        create_topics(self.settings.kafka, self.settings.topics.specs())

    @property
    def kafka(self) -> KafkaSettings:
        return self.settings.kafka

    @contextlib.contextmanager
    def running(self) -> Iterator[Child]:
        ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("EMBEDWATCH_")}
        child = Child(
            "agents",
            [sys.executable, *self.start, "agents", "--app-id", self.app_id,
             "--web-port", str(self.port)],
            self.folder / f"{self.name}.log",
            ours | {
                "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                "EMBEDWATCH_KAFKA_TOPIC_PREFIX": self.name,
                "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": str(self.kafka.session_timeout_seconds),
                "EMBEDWATCH_AGENTS_DATA_DIR": str(self.folder / f"{self.name}-data"),
                **{f"EMBEDWATCH_AGENTS_{key.upper()}": str(value) for key, value in self.options.items()},
            },
            cwd=ROOT,
        )  # fmt: skip
        try:
            yield child
        finally:
            child.stop()

    def get(self, path: str) -> Any:
        """The JSON of an answer; an empty dictionary while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError):  # not there yet, or not ready
            return {}

    def today_texts(self) -> tuple[int, float]:
        """Texts booked on all days kept, and when that was: events of a minute ago may be of yesterday."""
        found = self.get("/api/v1/ledger?scope=all")
        return sum(row["texts"] for row in found.get("rows", ())), time.monotonic()

    def wait_ready(self, child: Child) -> None:
        child.wait_until(lambda: bool(self.get("/readyz").get("ready")), 90, "readiness", step_seconds=0.02)

    def wait_texts(self, child: Child, texts: int) -> float:
        """The moment at which so many were counted."""
        child.wait_until(lambda: self.today_texts()[0] >= texts, 300, f"{texts} texts", step_seconds=0.1)
        return time.monotonic()

    def send(self, values: Iterable[bytes]) -> None:
        """Every scope in every partition; acknowledged when it returns."""
        client = producer(self.kafka, "bench-producer", linger_ms=5)
        partitions = random.Random(0)
        try:
            for value in values:
                client.send(self.settings.topics.metrics, value=value, partition=partitions.randrange(PARTITIONS))
            client.flush(120)
        finally:
            client.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its threads so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def batch_events(
    count: int, texts: int, *, first_seconds: float, seconds: float = 0.0, models: int = MODELS, tenants: int = TENANTS
) -> Iterator[BatchEvent]:
    """Batches of several workers, models and tenants, evenly over some time; each costs another amount."""
    rng = np.random.default_rng(0)
    sketches = [
        (Sketch.of(rng.lognormal(4.5, 0.25, texts)).to_text(), Sketch.of(rng.lognormal(5, 0.3, texts)).to_text())
        for _ in range(200)
    ]
    hits = texts // 3
    for number in range(count):
        latency, queue_wait = sketches[number % len(sketches)]
        yield BatchEvent(
            event_id=f"bench-{number % 8}:{number}", time_seconds=first_seconds + seconds * number / count,
            worker=f"bench-{number % 8}", model=f"model-{number % models}",
            tenant=f"tenant-{number // models % tenants}", texts=texts, cache_hits=hits, duplicates=0,
            misses=texts - hits, batches=1, tokens_received=texts * 40, tokens_embedded=(texts - hits) * 40,
            tokens_saved=hits * 40, truncated_texts=1, token_method="model",  # noqa: S106
            padding_tokens=200,
            cost_nano_usd=1_000_003 + 7 * number, saved_nano_usd=500_009 + 3 * number, price_source="override",
            phase_seconds=PhaseSeconds(0.15, 0.002, 0.01, 0.08, 0.003, 0.004), latency_sketch=latency,
            queue_wait_sketch=queue_wait, busy_seconds=0.1,
        )  # fmt: skip


def encoded(events: Iterable[BatchEvent]) -> list[bytes]:
    return [encode(event) for event in events]


def two_hundred_rules(path: Path) -> Path:
    """Four rules for each of the 50 scopes."""
    scopes: list[dict[str, str]] = [{}]
    scopes += [{"model": f"model-{m}"} for m in range(MODELS)] + [{"tenant": f"tenant-{t}"} for t in range(TENANTS)]
    scopes += [{"model": f"model-{m}", "tenant": f"tenant-{t}"} for m in range(MODELS) for t in range(TENANTS)]
    kinds = (
        ("latency_max_ms", 60_000.0, ("1m", "5m")), ("unpriced_tokens", 0.0, ("1m", "5m")),
        ("latency_p95_ms", 5000.0, ("5m", "1h")), ("cache_hit_rate_pct", 10.0, ("1m", "1h")),
    )  # fmt: skip
    rules = [
        {"name": f"{metric}-{number}", "metric": metric, "threshold": threshold, "window": windows[number % 2],
         **({"scope": scope} if scope else {})}
        for number, scope in enumerate(scopes)
        for metric, threshold, windows in kinds
    ]  # fmt: skip
    path.write_bytes(msgspec.json.encode({"rules": rules}))  # JSON is YAML
    return path
