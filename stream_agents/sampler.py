"""Reads the lag of the worker group and publishes it as events. One thread with its own clients."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from typing import Any

from embedwatch import kafka
from embedwatch.clock import Clock
from embedwatch.codec import encode
from embedwatch.errors import ConnectionFailed, EmbedwatchError
from embedwatch.events import LagEvent
from embedwatch.lag.reader import READ_SECONDS, LagReader
from embedwatch.lag.tracker import GroupTracker, Lag, Place
from embedwatch.settings import Settings

log = logging.getLogger("agents.lag")

FLUSH_SECONDS = 4.0


class LagSampler:
    """Start it, set `active`, stop it. Trouble is logged once and sampled as UNKNOWN; it never raises."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.active = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag-sampler", daemon=True)
        self._tracker = GroupTracker()
        self._sequence = 0
        self._incarnation = f"lag-{uuid.uuid4().hex[:12]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=READ_SECONDS + 5)

    def _run(self) -> None:
        troubled = False
        while not self._stop.wait(0.2 if not troubled else self.settings.agents.lag_interval_seconds):
            if not self.active:
                continue
            try:
                with _Clients(self.settings, self.clock) as clients:
                    while self.active and not self._stop.is_set():
                        self._publish(clients)
                        troubled = False
                        self._stop.wait(self.settings.agents.lag_interval_seconds)
            except (EmbedwatchError, kafka.KafkaError, OSError) as error:
                if not troubled:
                    log.warning("lag cannot be read, trying again: %s", kafka.describe_error(error))
                troubled = True
            except Exception:
                # Without samples the lag would stand still on every screen, and nobody would know.
                log.exception("lag cannot be read for a reason not foreseen, trying again")
                troubled = True

    def _publish(self, clients: _Clients) -> None:
        reading = clients.reader.read()
        if reading.trouble is not None:
            raise ConnectionFailed(reading.trouble)  # nor could it be published
        lags = self._tracker.observe(reading.samples)
        for event in self._events(lags, reading.time_seconds):
            key = f"lag:{event.group}:{event.topic}:{event.partition}".encode()
            clients.producer.send(self.settings.topics.metrics, key=key, value=encode(event))
        clients.producer.flush(timeout=FLUSH_SECONDS)

    def _events(self, lags: Mapping[Place, Lag], now: float) -> list[LagEvent]:
        events = []
        for place, lag in lags.items():
            self._sequence += 1
            events.append(
                LagEvent(
                    event_id=f"{self._incarnation}:{self._sequence}",
                    time_seconds=now,
                    group=self.settings.worker.group,
                    topic=place.topic,
                    partition=place.partition,
                    status=lag.status,
                    log_end_offset=lag.log_end_offset,
                    committed_offset=lag.committed_offset,
                    lag_messages=lag.lag_messages,
                    lag_texts=lag.lag_texts,
                    oldest_age_seconds=lag.oldest_age_seconds,
                    consume_rate_per_s=lag.consume_rate_per_s,
                    arrival_rate_per_s=lag.arrival_rate_per_s,
                    drain_seconds=lag.drain_seconds,
                    reason=lag.reason,
                )
            )
        return events


class _Clients:
    """The reader and the producer, opened and closed together."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.reader = LagReader(settings.kafka, settings.worker.group, [settings.topics.texts], clock)
        self.producer: Any = None

    def __enter__(self) -> _Clients:
        self.producer = kafka.producer(self.settings.kafka, "embedwatch-lag")
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        if self.producer is not None:
            kafka.drop_producer(self.producer, 2.0)
