"""The stream agents as a process on a real broker, for the tests: events in, numbers out, all waits bounded."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedwatch.codec import encode
from embedwatch.events import BatchEvent
from embedwatch.kafka import create_topics, producer
from embedwatch.processes import Child, free_port
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from tests.harness.agents_log import batch_event
from tests.harness.kafka_io import opened

PARTITIONS = 4
COMMAND = (sys.executable, "-m", "embedwatch")
ROOT = Path(__file__).parents[2]


class Agents:
    """Topics of one test, events into them, and one agents process after another on the same state."""

    def __init__(self, kafka: KafkaSettings, folder: Path, *, create: bool = True) -> None:
        self.kafka = kafka
        self.topics = Topics(kafka.topic_prefix)
        self.folder = folder
        self.app_id = f"{kafka.topic_prefix}-agents"
        self.port = free_port()
        # A fixed zone in which it is about noon: today ends in the middle of no test.
        self.timezone = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"
        self.sent: list[BatchEvent] = []
        self._runs = 0
        if create:
            create_topics(kafka, self.topics.specs())

    @contextlib.contextmanager
    def running(
        self, *arguments: object, command: Sequence[str] = COMMAND, environment: Mapping[str, str | None] | None = None
    ) -> Iterator[Child]:
        """An agents process; killed at the end if it still runs."""
        self._runs += 1
        ours = {name: None for name in os.environ if name.startswith("EMBEDWATCH_")}
        child = Child(
            "agents",
            [*command, "agents", "--app-id", self.app_id, "--web-port", str(self.port), *map(str, arguments)],
            self.folder / f"agents-{self._runs}.log",
            ours | {
                "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                "EMBEDWATCH_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
                "EMBEDWATCH_BUDGET_TIMEZONE": self.timezone,
                "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
                "EMBEDWATCH_KAFKA_CONNECT_TIMEOUT_SECONDS": "3",
                "EMBEDWATCH_WORKER_GROUP": f"{self.kafka.topic_prefix}-workers",
                "EMBEDWATCH_AGENTS_DATA_DIR": str(self.folder / "agents-data"),
                "EMBEDWATCH_AGENTS_LAG_INTERVAL_SECONDS": "1",
                **(environment or {}),
            },
            cwd=ROOT,
        )  # fmt: skip
        try:
            yield child
        finally:
            child.process.kill()
            child.process.wait(30)

    def wait_ready(self, child: Child) -> None:
        child.wait_until(lambda: self.get("/readyz")[0] == 200, 60, "readiness", step_seconds=0.2)

    def wait_texts(self, child: Child, texts: int, scope: str = "all", timeout_seconds: float = 60) -> None:
        child.wait_until(
            lambda: self.today(scope).get("texts", 0) >= texts, timeout_seconds, f"{texts} texts", step_seconds=0.2
        )

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON, or text where it is none; status 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read().decode()
        except OSError:
            return 0, {}
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body

    def today(self, scope: str = "all") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/v1/summary?scope={scope}")[1].get("today", {})
        return found

    def send(self, values: Iterable[BatchEvent | bytes]) -> None:
        """Round over the partitions, and acknowledged before it returns."""
        with opened(producer(self.kafka, "test-producer")) as client:
            put(client, self.topics.metrics, values)
            client.flush(30)
        self.sent += [value for value in values if isinstance(value, BatchEvent)]

    def check_totals(self, child: Child, events: Sequence[BatchEvent]) -> None:
        """Every one of `events` was counted once, and nothing else. Sends marks to know that all of it was read."""
        marks = [mark(f"mark-{len(self.sent)}-{n}") for n in range(PARTITIONS)]
        self.send(marks)
        for event in marks:
            # A partition is read in order: behind its mark, nothing of what was sent before is still to come.
            self.wait_texts(child, 1, f"tenant%3D{event.tenant}")
        today = self.today()
        every = [*events, *(event for event in self.sent if (event.tenant or "").startswith("mark-"))]
        for name in ("texts", "cost_nano_usd", "saved_nano_usd", "tokens_embedded", "cache_hits", "misses"):
            assert today[name] == sum(getattr(event, name) for event in every), name


def put(client: Any, topic: str, values: Iterable[BatchEvent | bytes]) -> None:
    """Hand them to a producer, round over the partitions."""
    for number, value in enumerate(values):
        data = encode(value) if isinstance(value, BatchEvent) else value
        client.send(topic, value=data, partition=number % PARTITIONS)


def mark(tenant: str) -> BatchEvent:
    return batch_event(time_seconds=time.time(), texts=1, cache_hits=0, misses=1, tenant=tenant)


def events(count: int, start: int = 0, **fields: Any) -> list[BatchEvent]:
    """Batches of now that each cost another amount: sums that agree by chance are unlikely."""
    now = time.time()
    return [
        batch_event(number, **{"time_seconds": now, "cost_nano_usd": 10**9 + number**3, **fields})
        for number in range(start, start + count)
    ]


def until(ready: Callable[[], bool], what: str, timeout_seconds: float = 45.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        assert time.monotonic() < deadline, f"no {what} in time"
        time.sleep(0.1)
