"""`embedwatch worker` processes of one test: texts in, what came out, and how long they may take."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from embedwatch import codec, wire
from embedwatch.events import BatchEvent
from embedwatch.kafka import TopicPartition, create_topics, producer, true_end_offsets
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from tests.harness.kafka_io import opened, read_topic

COMMAND = [sys.executable, "-c", "from embedwatch.cli import main; main()", "worker"]
DIMS = 16
PARTITIONS = 4
HASHING = ("--backend", "hashing", "--model", "test-model", "--hashing-dims", DIMS)
ENDS_WHEN_IDLE = ("--idle-exit-seconds", 1)


class Flow:
    """Topics of one test on one broker, texts into them, workers on them, and what came out."""

    def __init__(self, kafka: KafkaSettings, folder: Path, *, create: bool = True) -> None:
        self.kafka = kafka
        self.topics = Topics(kafka.topic_prefix)
        self.environ: dict[str, str] = {}
        self.group = f"{kafka.topic_prefix}-workers"
        self.folder = folder
        self._logs = 0
        if create:
            create_topics(kafka, self.topics.specs())

    def send(
        self, messages: Iterable[tuple[bytes | None, bytes, list[tuple[str, bytes]]]], topic: str | None = None
    ) -> None:
        """To the topic of texts, or another one."""
        with opened(producer(self.kafka, "test-producer")) as client:
            futures = [client.send(topic or self.topics.texts, key=k, value=v, headers=h) for k, v, h in messages]
            client.flush(30)
            for future in futures:
                future.get(30)

    def send_chunks(self, count: int, texts: int, *, tenant: str | None = None, start: int = 0) -> list[str]:
        """Chunks of different texts; returns all ids."""
        every = [f"id-{n}" for n in range(start, start + count * texts)]
        chunks = [every[n : n + texts] for n in range(0, len(every), texts)]
        self.send(
            (ids[0].encode(), wire.encode_chunk(ids, [f"text of {i}" for i in ids]),
             wire.chunk_headers(len(ids), tenant=tenant))
            for ids in chunks
        )  # fmt: skip
        return every

    @contextlib.contextmanager
    def worker(self, *arguments: object, command: Sequence[str] = COMMAND) -> Iterator[Child]:
        """A worker process, or another command that takes the same settings; killed at the end if it still runs."""
        self._logs += 1
        ours = {name: None for name in os.environ if name.startswith("EMBEDWATCH_")}
        child = Child(
            "worker", [*command, *map(str, arguments)], self.folder / f"worker-{self._logs}.log",
            ours | {
                "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                "EMBEDWATCH_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
                "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
                "EMBEDWATCH_WORKER_GROUP": self.group,
                **self.environ,
            },
        )  # fmt: skip
        try:
            yield child
        finally:
            child.process.kill()
            child.process.wait(30)

    def work(self, *arguments: object, timeout_seconds: float = 60.0) -> str:
        """Let a worker do all there is; returns its log."""
        with self.worker(*arguments, *ENDS_WHEN_IDLE) as child:
            assert child.process.wait(timeout_seconds) == 0, child.last_words()
            return child.log.read_text()

    def read(self, topic: str) -> list[Any]:
        """All records that a topic has now."""
        partitions = 1 if topic == self.topics.dead_letters else PARTITIONS
        ends = true_end_offsets(self.kafka, [TopicPartition(topic, p) for p in range(partitions)])
        assert len(ends) == partitions
        records = read_topic(self.kafka, topic, sum(ends.values()), partitions=partitions)
        assert len(records) >= sum(ends.values())  # more may have come meanwhile
        return records

    def vectors(self) -> list[tuple[str, Any]]:
        return [p for r in self.read(self.topics.vectors) for p in wire.read_vectors(r.key, r.value, r.headers)]

    def dead(self) -> dict[str, str | None]:
        return {r.key.decode(): wire.header(r.headers, "error_class") for r in self.read(self.topics.dead_letters)}

    def events(self) -> list[Any]:
        return [codec.decode_metric(record.value) for record in self.read(self.topics.metrics)]

    def batches(self) -> list[BatchEvent]:
        return [event for event in self.events() if isinstance(event, BatchEvent)]


def said(child: Child, words: str, timeout_seconds: float = 45.0) -> None:
    """Wait until the worker's log has these words."""
    child.wait_until(lambda: words in child.log.read_text(), timeout_seconds, f"{words!r} in its log")


def until(ready: Callable[[], bool], timeout_seconds: float = 45.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
