"""Small steps that the tests against a real broker share: make a topic, write to it, read until done, all bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from embedwatch.kafka import TopicPartition, consumer, create_topics, producer
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TopicSpec

READ_TIMEOUT_SECONDS = 20.0


def make_topic(kafka: KafkaSettings, name: str = "topic", *, partitions: int = 1, policy: str = "delete") -> str:
    """A topic under the test's own prefix; returns its full name."""
    full = f"{kafka.topic_prefix}.{name}"
    create_topics(kafka, [TopicSpec(full, "", "", "tests", policy, None, partitions=partitions)])
    return full


def send_all(
    kafka: KafkaSettings, topic: str, values: Iterable[bytes], *, partition: int | None = 0, **options: Any
) -> list[int]:
    """Send, wait until all are acknowledged, and return their offsets in the order sent."""
    with opened(producer(kafka, "test-producer", **options)) as client:
        futures = [client.send(topic, value, partition=partition) for value in values]
        client.flush(30)
        return [future.get(30).offset for future in futures]


def read(client: Any, count: int, timeout_seconds: float = READ_TIMEOUT_SECONDS) -> list[Any]:
    """Records of a subscribed or assigned consumer, until there are `count` or the time is up."""
    found: list[Any] = []
    deadline = time.monotonic() + timeout_seconds
    while len(found) < count and time.monotonic() < deadline:
        for records in client.poll(200).values():
            found.extend(records)
    return found


def read_topic(
    kafka: KafkaSettings, topic: str, count: int, *, partitions: int = 1, timeout_seconds: float = READ_TIMEOUT_SECONDS,
    **options: Any,
) -> list[Any]:  # fmt: skip
    """Read a topic from its beginning, without a group."""
    with opened(consumer(kafka, "test-reader", group=None, **options)) as client:
        client.assign([TopicPartition(topic, p) for p in range(partitions)])
        client.seek_to_beginning()
        return read(client, count, timeout_seconds)


def read_committed(kafka: KafkaSettings, topic: str, *, partitions: int = 1) -> list[Any]:
    """Everything that a reader of committed records sees up to now. Needs a broker that tells its end offsets right."""
    found: list[Any] = []
    with opened(consumer(kafka, "test-reader", group=None)) as client:
        logs = [TopicPartition(topic, p) for p in range(partitions)]
        ends = client.end_offsets(logs)
        client.assign(logs)
        client.seek_to_beginning()
        deadline = time.monotonic() + READ_TIMEOUT_SECONDS
        # A position passes the marks of transactions too, which are no records.
        while any(client.position(log) < end for log, end in ends.items()):
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for records in client.poll(200).values():
                found.extend(records)
    return found


def poll_until(done: Callable[[], bool], *clients: Any, timeout_seconds: float, poll_ms: int = 100) -> bool:
    """Poll all consumers in turn until `done()`; False when the time is up. Records they return are dropped."""
    deadline = time.monotonic() + timeout_seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        for client in clients:
            client.poll(poll_ms)
    return True


@contextmanager
def opened(client: Any) -> Iterator[Any]:
    """Close a producer or consumer also when the test fails."""
    try:
        yield client
    finally:
        client.close()
