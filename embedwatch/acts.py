"""Writing what people ask of alerts to the topic `alert-actions`."""

from __future__ import annotations

import threading

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from embedwatch.codec import encode
from embedwatch.errors import ConnectionFailed
from embedwatch.events import AlertAction
from embedwatch.kafka import describe_error, drop_producer, producer
from embedwatch.settings import Settings

#: Slack shows a failure to whoever pressed a button after 3 s.
TIMEOUT_SECONDS = 2.5
_TIMEOUT_MS = 2500


class ActWriter:
    """May be used by several threads. The connection is opened with the first act."""

    def __init__(
        self, settings: Settings, timeout_seconds: float = TIMEOUT_SECONDS, client_id: str = "embedwatch-alerts-acts"
    ) -> None:
        self._settings, self._timeout_seconds, self._client_id = settings, timeout_seconds, client_id
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None

    def write(self, action: AlertAction) -> None:
        """Until Kafka has it. Raises `ConnectionFailed`."""
        topic = self._settings.topics.alert_actions
        try:
            with self._lock:
                if self._producer is None:
                    self._producer = producer(
                        self._settings.kafka,
                        self._client_id,
                        linger_ms=0,
                        max_block_ms=_TIMEOUT_MS,
                        request_timeout_ms=_TIMEOUT_MS,
                        delivery_timeout_ms=2 * _TIMEOUT_MS,
                    )
                client = self._producer
            key = action.alert_id.encode("utf-8", "surrogatepass")
            client.send(topic, key=key, value=encode(action)).get(self._timeout_seconds)
        except (kafka_errors.KafkaError, OSError) as error:
            self.close()
            raise ConnectionFailed(
                f"Kafka at {self._settings.kafka.bootstrap_servers}: the act could not be stored: "
                f"{describe_error(error)}"
            ) from None

    def close(self) -> None:
        with self._lock:
            client, self._producer = self._producer, None
        if client is not None:
            drop_producer(client, 1)
