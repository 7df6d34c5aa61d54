"""A topic from somewhere to where it ends now, or on and on, as a stream of records. Bounded in time and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kafka import errors as kafka_errors

from embedwatch import kafka
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.kafka import TopicPartition, describe_error
from embedwatch.settings import KafkaSettings

#: A broker that brings nothing for so long, though there is more, is in trouble.
SILENCE_SECONDS = 30.0
POLL_MS = 200
#: How long one record is looked for.
ONE_RECORD_SECONDS = 10.0


class TopicReader:
    """The committed records of a topic, without a group. Use it as a context manager.

    It reads up to the ends at the time it was made; with `follow` it goes on until it is left. `starts` are offsets by
    partition to begin at; others, and all without it, begin at the earliest. An offset that the topic does not have
    any more means the earliest one. Raises `ConfigError` when there is no such topic or partition, `ConnectionFailed`
    when the broker is away or falls silent before the ends.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, *, starts: Mapping[int, int] | None = None, follow: bool = False
    ) -> None:
        self._settings, self._topic, self._follow = settings, topic, follow
        self._client = kafka.consumer(settings, "embedwatch-read", group=None, allow_auto_create_topics=False)
        try:
            self._ends = self._begin(starts or {})
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def done_pct(self) -> float | None:
        """How much of what there was at the start is read; None when all of it is."""
        total = sum(end - self._firsts.get(log, end) for log, end in self._ends.items())
        left = sum(max(0, end - self._places.get(log, end)) for log, end in self._ends.items())
        return 100.0 * (total - left) / total if left and total else None

    def progress(self) -> str:
        """How far it is, for people who wait."""
        done = self.done_pct
        return f"reading {self._topic}" + ("" if done is None else f" ({done:.0f} %)")

    def batches(self, told: Callable[[float | None], object] = lambda done_pct: None) -> Iterator[list[Any]]:
        """What each poll brought, also when it is nothing: look there for a wish to stop. `told` is called before each
        with how much is read, in percent.

        Partitions are mixed as they come; the order within each is kept.
        """
        heard = time.monotonic()
        while self._follow or not self._at_end():
            try:
                polled = self._client.poll(POLL_MS)
            except kafka_errors.KafkaError as error:
                raise self._unreadable(describe_error(error)) from None
            if polled:
                heard = time.monotonic()
            elif not self._follow and time.monotonic() - heard > SILENCE_SECONDS:
                raise self._unreadable(f"nothing came for {SILENCE_SECONDS:g} s, though there is more")
            found: list[Any] = []
            for log, records in polled.items():
                end = None if self._follow else self._ends[log]
                found += records if end is None else [record for record in records if record.offset < end]
                self._places[log] = records[-1].offset + 1
            told(self.done_pct)
            yield found

    def _begin(self, starts: Mapping[int, int]) -> dict[TopicPartition, int]:
        client = self._client
        try:
            partitions = client.partitions_for_topic(self._topic)
        except kafka_errors.KafkaError as error:
            raise self._unreadable(describe_error(error)) from None
        if not partitions:
            where = f"Kafka at {self._settings.bootstrap_servers}"
            raise ConfigError(f"{where} has no topic {self._topic}; is the prefix right?")
        if foreign := sorted(set(starts) - set(partitions)):
            raise ConfigError(f"{self._topic} has no partition {foreign[0]}; it has 0 to {max(partitions)}")
        logs = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
        ends = dict(kafka.true_end_offsets(self._settings, logs))
        if missing := [log.partition for log in logs if log not in ends]:
            raise self._unreadable(f"the ends of partitions {missing} are unknown")
        for log in logs:
            if starts.get(log.partition, 0) > ends[log]:
                raise ConfigError(
                    f"{self._topic}: partition {log.partition} ends at {ends[log]}, "
                    f"there is no offset {starts[log.partition]} yet"
                )
        client.assign(logs)
        try:
            self._firsts: dict[TopicPartition, int] = client.beginning_offsets(logs, timeout_ms=10_000)
        except kafka_errors.KafkaError as error:
            raise self._unreadable(describe_error(error)) from None
        for log in logs:
            # An offset below the earliest is one that was deleted.
            self._firsts[log] = max(self._firsts[log], starts.get(log.partition, 0))
            client.seek(log, self._firsts[log])
        self._places = dict(self._firsts)
        return ends

    def _at_end(self) -> bool:
        for log, end in self._ends.items():
            if self._places[log] < end:
                # A position passes the marks of transactions too, which are no records.
                self._places[log] = max(self._places[log], self._client.position(log, timeout_ms=1000) or 0)
        return all(self._places[log] >= end for log, end in self._ends.items())

    def _unreadable(self, why: str) -> ConnectionFailed:
        return ConnectionFailed(f"Kafka at {self._settings.bootstrap_servers}: {self._topic} could not be read: {why}")


def read_one(settings: KafkaSettings, topic: str, partition: int, offset: int) -> Any | None:
    """The record at that place; None when it is not there (any more). Raises `ConnectionFailed`."""
    log = TopicPartition(topic, partition)
    client = kafka.consumer(settings, "embedwatch-read", group=None, allow_auto_create_topics=False)
    with contextlib.closing(client):
        try:
            end = kafka.true_end_offsets(settings, [log]).get(log)
            if end is None or not 0 <= offset < end:
                return None
            client.assign([log])
            if offset < client.beginning_offsets([log], timeout_ms=10_000)[log]:
                return None  # deleted; after it there may be nothing that would come
            client.seek(log, offset)
            deadline = time.monotonic() + ONE_RECORD_SECONDS
            while time.monotonic() < deadline:
                for record in client.poll(POLL_MS).get(log, ()):
                    # Compacted away: then the next one that is there comes.
                    return record if record.offset == offset else None
                if (client.position(log, timeout_ms=1000) or 0) > offset:
                    return None  # the mark of a transaction
        except kafka_errors.KafkaError as error:
            why = describe_error(error)
        else:
            why = f"no answer in {ONE_RECORD_SECONDS:g} s"
    raise ConnectionFailed(f"Kafka at {settings.bootstrap_servers}: {topic}-{partition}:{offset} not read: {why}")
