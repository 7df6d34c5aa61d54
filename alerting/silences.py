"""Silences: from their topic to the engine. Every alerting process reads all of them."""

from __future__ import annotations

from alerting.engine import Engine
from alerting.tail import Tail
from embedwatch.settings import Settings
from embedwatch.silencing import Known

CLIENT_ID = "embedwatch-alerts-silences"


class Silences:
    """One thread."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.silences
        self._tail = Tail(settings.kafka, self._topic, CLIENT_ID)
        self._known = Known()

    def rewind(self) -> None:
        """Read all again. Raises `ConnectionFailed`."""
        self._tail.rewind()

    def caught_up(self) -> bool:
        return self._tail.caught_up()

    def apply(self, engine: Engine) -> None:
        """What has arrived holds from now on."""
        records = self._tail.read()
        for record in records:
            self._known.take(record.key, record.value, f"{self._topic}-{record.partition}-{record.offset}")
        if records:
            engine.silence(self._known.by_id.values())

    def close(self) -> None:
        self._tail.close()
