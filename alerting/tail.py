"""A small topic that every alerting process reads whole and then follows, each by itself and not as a group."""

from __future__ import annotations

import logging
from typing import Any

from kafka import errors as kafka_errors

from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import consumer, describe_error, partitions_of, true_end_offsets
from embedwatch.settings import KafkaSettings

log = logging.getLogger(__name__)


class Tail:
    """One thread. Nothing is committed: what was read counts when it is stored with the alerts it is about."""

    def __init__(self, kafka: KafkaSettings, topic: str, client_id: str) -> None:
        self._kafka, self._topic, self._client_id = kafka, topic, client_id
        self._consumer: Any = None
        self._ends: dict[Any, int] = {}
        self._failing = False

    def rewind(self) -> None:
        """Read again from the beginning. Raises `ConnectionFailed`."""
        if self._consumer is None:
            options = {"fetch_max_wait_ms": 100, "isolation_level": "read_uncommitted"}
            self._consumer = consumer(self._kafka, self._client_id, group=None, **options)
        try:
            partitions = partitions_of(self._kafka, self._topic)
            if not partitions:
                raise ConnectionFailed(f"Kafka at {self._kafka.bootstrap_servers}: {self._topic} is not known yet")
            self._ends = dict(true_end_offsets(self._kafka, partitions))
            self._consumer.assign(partitions)
            self._consumer.seek_to_beginning(*partitions)
        except kafka_errors.KafkaError as error:
            raise ConnectionFailed(
                f"Kafka at {self._kafka.bootstrap_servers}: {self._topic} could not be read: {describe_error(error)}"
            ) from None

    def read(self) -> list[Any]:
        """The records that have arrived, at most 500, without waiting for more."""
        if self._consumer is None:
            return []
        try:
            found = self._consumer.poll(timeout_ms=0)
        except kafka_errors.KafkaError as error:
            if not self._failing:
                log.warning("alerting: %s could not be read: %s; trying again", self._topic, describe_error(error))
            self._failing = True
            return []
        self._failing = self._failing and not found
        return [record for batch in found.values() for record in batch]

    def caught_up(self) -> bool:
        """All that was there at `rewind` has been read."""
        try:
            return all(self._consumer.position(tp) >= end for tp, end in self._ends.items() if end)
        except kafka_errors.KafkaError:
            return False

    def close(self) -> None:
        if self._consumer is not None:
            client, self._consumer = self._consumer, None
            client.close(autocommit=False)
