"""Messages out to Kafka, each followed up until it is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import errors as kafka_errors

from embedwatch.errors import DeliveryError
from embedwatch.kafka import close_producer, describe_error


class KafkaPublisher:
    """`producer` is a `KafkaProducer` with acks=all. One thread uses it.

    `timeout_seconds` bounds the wait of a flush; the producer's own delivery timeout should be the same.
    """

    def __init__(self, producer: Any, *, where: str, timeout_seconds: float) -> None:
        self._producer = producer
        self._where = where
        self._timeout_seconds = timeout_seconds
        self._futures: list[Any] = []
        self._delivered = 0

    @property
    def delivered(self) -> int:
        """Messages acknowledged so far."""
        return self._delivered

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        try:
            self._futures.append(self._producer.send(topic, key=key, value=value, headers=headers))
        except kafka_errors.KafkaError as error:
            raise self._failed(topic, error) from None

    def flush(self) -> None:
        """Raises `DeliveryError` unless everything sent since the last flush is acknowledged."""
        futures, self._futures = self._futures, []
        try:
            self._producer.flush(timeout=self._timeout_seconds)
        except kafka_errors.KafkaError as error:
            raise self._failed("messages", error) from None
        for future in futures:
            if not future.succeeded():
                raise self._failed("messages", future.exception or kafka_errors.KafkaTimeoutError())
        self._delivered += len(futures)

    def finish(self, offsets: Mapping[tuple[str, int], int], membership: Any) -> bool:
        """The end of a cycle. The offsets are committed by who owns the consumer, after this."""
        self.flush()
        return True

    def close(self, timeout_seconds: float) -> None:
        close_producer(self._producer, timeout_seconds)

    def _failed(self, what: str, error: BaseException) -> DeliveryError:
        return DeliveryError(
            f"Kafka at {self._where}: {what} not acknowledged: {describe_error(error)}. Nothing of this poll was "
            "committed: start the worker again when the broker is well, and it does these texts again",
            delivered=self._delivered,
        )
