"""Counts what really arrives on the topics while a demo runs: vectors, dead letters, alert transitions."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self

from embedwatch import kafka
from embedwatch.errors import EmbedwatchError, InvalidEvent
from embedwatch.local.outcome import AlertLog
from embedwatch.settings import Settings
from embedwatch.wire import header, read_vectors

log = logging.getLogger(__name__)

_POLL_MS = 200


class TopicTally:
    """A thread with a consumer of its own, from the beginning of the topics. Read its numbers from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.vectors = 0
        self.dead_letters: Counter[str] = Counter()
        self.unreadable = 0
        self.alerts = AlertLog()
        self._topics = settings.topics
        self._kafka = settings.kafka
        self._stop = threading.Event()
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="topic-tally", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(15)

    @property
    def arrived(self) -> int:
        return self.vectors + self.dead_letters.total()

    def check(self) -> None:
        """Raises `EmbedwatchError` when the topics cannot be read any more."""
        if self._trouble is not None:
            raise EmbedwatchError(f"the results cannot be counted: {kafka.describe_error(self._trouble)}")

    def _run(self) -> None:
        try:
            self._count()
        except (EmbedwatchError, kafka.KafkaError, OSError) as error:
            self._trouble = error

    def _count(self) -> None:
        wanted = (self._topics.vectors, self._topics.dead_letters, self._topics.alerts)
        consumer = kafka.consumer(self._kafka, "embedwatch-tally", group=None)
        try:
            found = [
                kafka.TopicPartition(topic, p) for topic in wanted for p in consumer.partitions_for_topic(topic) or ()
            ]
            consumer.assign(found)
            consumer.seek_to_beginning(*found)
            while not self._stop.is_set():
                for records in consumer.poll(_POLL_MS).values():
                    for record in records:
                        self._read(record)
        finally:
            consumer.close()

    def _read(self, record: Any) -> None:
        if record.topic == self._topics.dead_letters:
            # Agents keep metric events there that do not decode: no texts.
            if header(record.headers, "stage") != "agents.decode":
                self.dead_letters[header(record.headers, "error_class") or "unknown"] += 1
        elif record.topic == self._topics.alerts:
            self.alerts.read(record.value)
        else:
            try:
                self.vectors += sum(1 for _ in read_vectors(record.key, record.value, record.headers))
            except InvalidEvent:
                self.unreadable += 1
