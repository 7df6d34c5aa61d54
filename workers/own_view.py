"""Gathers what a worker's endpoint answers from its parts, as far as there are any yet."""

from __future__ import annotations

from dataclasses import dataclass

from embedwatch.clock import Clock
from embedwatch.settings import WorkerSettings
from workers.backend import Embedder
from workers.broker_watch import BrokerWatch
from workers.intake import Intake
from workers.meter import Meter
from workers.own_metrics import STUCK_MARGIN_SECONDS, Counts, View
from workers.publisher import KafkaPublisher
from workers.stopping import Stop
from workers.telemetry import Status, resident_bytes


@dataclass(slots=True)
class Parts:
    """Filled by the main thread while the worker starts, and again when connections are made anew; read by others."""

    settings: WorkerSettings
    clock: Clock
    stop: Stop
    status: Status
    broker: BrokerWatch
    counts: Counts
    meter: Meter | None = None
    embedder: Embedder | None = None
    intake: Intake | None = None
    publisher: KafkaPublisher | None = None
    #: By the publishers before this one.
    delivered_before: int = 0

    def publish_with(self, publisher: KafkaPublisher) -> None:
        if self.publisher is not None:
            self.delivered_before += self.publisher.delivered
        self.publisher = publisher


def view(parts: Parts) -> View:
    """The worker now. From any thread: each number is read once, and a dictionary is copied in one step."""
    status, meter, progress = parts.status, parts.meter, parts.status.progress
    waits = (parts.settings.broker_retry_seconds, parts.settings.drain_seconds)
    return View(
        state="stopping" if parts.stop.requested else status.state,
        counts=parts.counts,
        queued_texts=status.queued_texts,
        in_flight_texts=status.in_flight_texts,
        delivered_messages=parts.delivered_before + (parts.publisher.delivered if parts.publisher else 0),
        retries=getattr(parts.embedder, "retries", None),
        cache_hits=meter.cache_hits if meter else 0,
        duplicate_texts=meter.duplicates if meter else 0,
        tokens_embedded=meter.tokens_embedded if meter else 0,
        busy_seconds=meter.busy_seconds if meter else 0.0,
        errors=dict(meter.errors) if meter else {},
        model_load_seconds=status.model_load_seconds,
        assigned_partitions=parts.intake.assigned_partitions if parts.intake else None,
        broker_heard_seconds_ago=parts.broker.heard_seconds_ago,
        progress_seconds_ago=None if progress is None else parts.clock.monotonic() - progress,
        stuck_after_seconds=max(waits) + STUCK_MARGIN_SECONDS,
        resident_bytes=resident_bytes(),
    )
