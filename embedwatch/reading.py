"""A topic from somewhere to where it ends now, as one stream of records. Bounded in time and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from kafka import errors as kafka_errors

from embedwatch import kafka
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.kafka import TopicPartition, describe_error
from embedwatch.settings import KafkaSettings

#: A broker that brings nothing for so long, though there is more, is in trouble.
SILENCE_SECONDS = 30.0
POLL_MS = 200


def read_to_end(
    settings: KafkaSettings, topic: str, *, starts: Mapping[int, int] | None = None, since_seconds: float | None = None
) -> Iterator[Any]:
    """Every committed record up to the ends at the time of the call, partition by partition mixed as they come.

    `starts` are offsets by partition to begin at; others, and all without it, begin at the earliest. `since_seconds`
    leaves out what is older (Unix time), record by record: not every broker can be asked by time. Raises `ConfigError`
    when there is no such topic and `ConnectionFailed` when the broker is away or falls silent.
    """
    client = kafka.consumer(settings, "embedwatch-read", group=None)
    with contextlib.closing(client):
        try:
            partitions = client.partitions_for_topic(topic)
        except kafka_errors.KafkaError as error:
            raise _unreadable(settings, topic, describe_error(error)) from None
        if not partitions:
            raise ConfigError(f"Kafka at {settings.bootstrap_servers} has no topic {topic}; is the prefix right?")
        logs = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        ends = kafka.true_end_offsets(settings, logs)
        if missing := [log.partition for log in logs if log not in ends]:
            raise _unreadable(settings, topic, f"the ends of partitions {missing} are unknown")
        client.assign(logs)
        client.seek_to_beginning()
        for partition, offset in (starts or {}).items():
            if partition in partitions:
                client.seek(TopicPartition(topic, partition), offset)
        heard = time.monotonic()
        # A position passes the marks of transactions too, which are no records.
        while any(client.position(log) < end for log, end in ends.items()):
            batch = client.poll(POLL_MS)
            if batch:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise _unreadable(settings, topic, f"nothing came for {SILENCE_SECONDS:g} s, though there is more")
            for records in batch.values():
                for record in records:
                    if record.offset >= ends[TopicPartition(topic, record.partition)]:
                        break
                    if since_seconds is None or record.timestamp >= since_seconds * 1000:
                        yield record


def _unreadable(settings: KafkaSettings, topic: str, why: str) -> ConnectionFailed:
    return ConnectionFailed(f"Kafka at {settings.bootstrap_servers}: {topic} could not be read: {why}")
