"""Reads the lag of the worker group and publishes it as events. One thread with its own clients.

One fetch at the committed offset tells all: the high watermark (right on every broker, unlike the embedded one's end
offsets), the age of the oldest text not done, and how many texts a message holds.
"""

from __future__ import annotations

import logging
import threading
import uuid
from typing import Any

from embedwatch import kafka
from embedwatch.clock import Clock
from embedwatch.codec import encode
from embedwatch.errors import EmbedwatchError
from embedwatch.events import LagEvent
from embedwatch.settings import Settings
from embedwatch.wire import header
from stream_agents.compute.lag import LagTracker, OffsetSample

log = logging.getLogger("agents.lag")

#: Enough to see a few chunks of a partition, little enough to read often.
FETCH_BYTES = 256 * 1024
READ_SECONDS = 2.0


class LagSampler:
    """Start it, set `active`, stop it. Trouble is logged once and sampled as UNKNOWN; it never raises."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.active = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag-sampler", daemon=True)
        self._trackers: dict[int, LagTracker] = {}
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
                with _Clients(self.settings) as clients:
                    troubled = False
                    while self.active and not self._stop.is_set():
                        self._publish(clients)
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
        settings = self.settings
        for partition, sample in clients.read(self.clock).items():
            lag = self._trackers.setdefault(partition, LagTracker()).observe(sample)
            self._sequence += 1
            event = LagEvent(
                event_id=f"{self._incarnation}:{self._sequence}",
                time_seconds=sample.time_seconds,
                group=settings.worker.group,
                topic=settings.topics.texts,
                partition=partition,
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
            key = f"lag:{event.group}:{event.topic}:{partition}".encode()
            clients.producer.send(settings.topics.metrics, key=key, value=encode(event))
        clients.producer.flush(timeout=READ_SECONDS * 2)


class _Clients:
    """The three clients, opened and closed together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.admin: Any = None
        self.reader: Any = None
        self.producer: Any = None
        self._texts_per_message: dict[int, float] = {}

    def __enter__(self) -> _Clients:
        try:
            self.admin = kafka.admin_client(self.settings.kafka, "embedwatch-lag-admin")
            self.reader = kafka.consumer(
                self.settings.kafka,
                "embedwatch-lag-reader",
                group=None,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=50,
                isolation_level="read_uncommitted",
            )
            self.producer = kafka.producer(self.settings.kafka, "embedwatch-lag")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for client in (self.reader, self.admin):
            if client is not None:
                client.close()
        if self.producer is not None:
            self.producer.close(timeout=2)

    def read(self, clock: Clock) -> dict[int, OffsetSample]:
        """One sample for every partition of the texts topic."""
        topic, group = self.settings.topics.texts, self.settings.worker.group
        tps = [kafka.TopicPartition(topic, p) for p in sorted(self.reader.partitions_for_topic(topic) or ())]
        answer = self.admin.list_group_offsets([group]).get(group, {})
        committed = {tp: meta.offset for tp, meta in answer.items() if meta.offset >= 0}
        starts = self.reader.beginning_offsets(tps) if tps else {}
        self.reader.assign(tps)
        for tp in tps:
            self.reader.seek(tp, max(starts[tp], committed.get(tp, 0)))
        oldest: dict[Any, float] = {}
        seen: dict[Any, list[int]] = {}
        ends: dict[Any, int] = {}
        deadline = clock.monotonic() + READ_SECONDS
        while len(ends) < len(tps) and clock.monotonic() < deadline:
            for tp, records in self.reader.poll(50).items():
                oldest.setdefault(tp, records[0].timestamp / 1000.0)
                seen.setdefault(tp, []).extend(_texts_in(record) for record in records)
            for tp in tps:
                mark = self.reader.highwater(tp)
                if mark is not None:
                    ends[tp] = int(mark)
        now = clock.now()
        return {
            tp.partition: OffsetSample(
                time_seconds=now,
                start_offset=starts[tp],
                committed_offset=committed.get(tp),
                end_offset=ends.get(tp),
                oldest_timestamp_seconds=oldest.get(tp),
                texts_per_message=sum(seen[tp]) / len(seen[tp]) if seen.get(tp) else None,
            )
            for tp in tps
        }


def _texts_in(record: Any) -> int:
    """Texts of a message: the `count` header of a chunk, else one."""
    count = header(record.headers, "count")
    return int(count) if count is not None and count.isdecimal() and len(count) < 10 else 1
