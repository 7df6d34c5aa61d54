"""What really happened, read from the topics and from Slack by nothing of ours that counts: texts, vectors, events."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from embedwatch import codec, wire
from embedwatch.events import BatchEvent
from embedwatch.kafka import KafkaError, TopicPartition, consumer, true_end_offsets
from embedwatch.services.slack_standin import InboxMessage
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from stream_agents.compute.scopes import scope_key
from tests.harness.agents import PARTITIONS
from tests.harness.kafka_io import opened
from tests.harness.truth import FIELDS, Totals
from workers.backends.hashing import HashingEmbedder


class Reader:
    """One topic from its beginning, a piece at a time: each `more` goes on where the last one ended."""

    def __init__(self, kafka: KafkaSettings, topic: str, partitions: int, *, trusted_ends: bool) -> None:
        self._kafka, self._topic = kafka, topic
        self._next = {TopicPartition(topic, number): 0 for number in range(partitions)}
        self._trusted_ends = trusted_ends

    def more(self) -> list:  # type: ignore[type-arg]
        """Committed records up to the present end; fewer when a broker does not answer just now."""
        found = []
        try:
            with opened(consumer(self._kafka, "evidence", group=None)) as client:
                ends = client.end_offsets(list(self._next))
                if not self._trusted_ends:
                    ends = true_end_offsets(self._kafka, list(self._next))
                client.assign(list(self._next))
                for log, offset in self._next.items():
                    client.seek(log, offset)
                idle = 0
                while idle < 50 and any(client.position(log) < end for log, end in ends.items()):
                    polled = client.poll(200)
                    idle = 0 if polled else idle + 1
                    for records in polled.values():
                        found.extend(records)
                self._next = {log: client.position(log) for log in self._next}
        except KafkaError:
            return []  # nothing of it is taken: the next call reads it
        return found


class Evidence:
    """Everything up to the last `read`."""

    def __init__(self, kafka: KafkaSettings, zone: str, *, trusted_ends: bool, dims: int | None = None) -> None:
        """`dims`: of the hashing backend's vectors, where each is to be compared with its text."""
        topics = Topics(kafka.topic_prefix)
        self._zone = ZoneInfo(zone)

        def reader(topic: str, partitions: int = PARTITIONS) -> Reader:
            return Reader(kafka, topic, partitions, trusted_ends=trusted_ends)

        self._readers = (reader(topics.texts), reader(topics.vectors), reader(topics.metrics))
        self._letters = reader(topics.dead_letters, 1)
        self.texts: Counter[str] = Counter()
        self.words = 0
        self.vectors: Counter[str] = Counter()
        self.letters = 0
        self.event_ids: Counter[str] = Counter()
        self.counted: Totals = {}
        #: By the producer's `--source`: lines of its file, and how many of them came more than once.
        self.sources: dict[str, Counter[int]] = defaultdict(Counter)
        self._dims = dims
        self._wanted: dict[str, bytes] = {}
        self._vectors: dict[str, set[bytes]] = defaultdict(set)

    def read(self) -> None:
        texts, vectors, metrics = self._readers
        self._read_texts(texts.more())
        for record in vectors.more():
            for name, vector in wire.read_vectors(record.key, record.value, record.headers):
                self.take_vector(name, vector)
        for record in metrics.more():
            event = codec.decode_metric(record.value)
            if isinstance(event, BatchEvent):
                self.event_ids[event.event_id] += 1
                self._count(event)
        self.letters += len(self._letters.more())

    def take_vector(self, name: str, vector: Any) -> None:
        self.vectors[name] += 1
        if self._dims is not None:
            self._vectors[name].add(np.asarray(vector, np.float32).tobytes())

    def read_texts(self) -> None:
        self._read_texts(self._readers[0].more())

    def _read_texts(self, records: Iterable) -> None:  # type: ignore[type-arg]
        for record in records:
            for item in wire.decode_texts(record.key, record.value, record.headers, fallback_id="none"):
                self.texts[item.id] += 1
                self.words += len((item.text or "").split())
                if self._dims is not None:
                    self._wanted[item.id] = (item.text or "").encode()
                source, _, line = item.id.rpartition(":")  # "load1/load1.txt:9"
                if line.isdecimal():
                    self.sources[source.partition("/")[0]][int(line)] += 1

    def wrong_vectors(self) -> list[str]:
        """Texts with a vector that is not theirs. What comes from the cache went through float16."""
        assert self._dims is not None
        model, wrong = HashingEmbedder(dims=self._dims), []
        for name, vectors in self._vectors.items():
            wanted = model.embed([" ".join(self._wanted[name].decode().split())])[0] if name in self._wanted else None
            found = [np.frombuffer(vector, np.float32) for vector in vectors]
            if wanted is None or not all(np.allclose(each, wanted, atol=2e-3) for each in found):
                wrong.append(name)
        return wrong

    def sent_again(self) -> int:
        """Texts that producers put on the topic once more: those that died did not know what had arrived."""
        return sum(count - 1 for lines in self.sources.values() for count in lines.values())

    def first_missing(self, source: str) -> int:
        """How many of its texts came before the first that did not: with what to go on after a producer has died."""
        lines = self.sources[source]
        place = 1
        while place in lines:
            place += 1
        return place - 1

    def _count(self, event: BatchEvent) -> None:
        day = datetime.fromtimestamp(event.time_seconds, self._zone).date().isoformat()
        model, tenant = ("model", event.model), ("tenant", event.tenant or "")
        scopes: list[tuple[tuple[str, str], ...]] = [(), (model,)]
        if event.tenant is not None:
            scopes += [(tenant,), (model, tenant)]
        for scope in scopes:
            totals = self.counted.setdefault((day, scope_key(scope)), dict.fromkeys(FIELDS, 0))
            for name in FIELDS:
                totals[name] += sum(event.errors.values()) if name == "errors" else getattr(event, name)

    def all_of(self, name: str) -> int:
        """One field over all days."""
        return sum(totals[name] for (_, scope), totals in self.counted.items() if scope == "all")

    def counted_texts(self) -> int:
        return self.all_of("texts")

    def spent(self, least_nano_usd: int) -> set[str]:
        """Tenants that have spent more than this on a day: there must be an alert of each."""
        return {
            scope.removeprefix("tenant=")
            for (_, scope), totals in self.counted.items()
            if scope.startswith("tenant=") and totals["cost_nano_usd"] > least_nano_usd
        }


def told(inbox: Sequence[InboxMessage]) -> Counter[str]:
    """How many messages there are of each tenant's alert; edits and replies are not new ones."""
    found: Counter[str] = Counter()
    for message in inbox:
        if message.thread_ts is not None or not message.metadata:
            continue
        for alert in _alerts(message):
            tenant = re.search(r"tenant=([^|,]+)", alert)
            if tenant:
                found[tenant.group(1)] += 1
    return found


def _alerts(message: InboxMessage) -> list[str]:
    payload = message.metadata["event_payload"] if message.metadata else {}
    one = payload.get("alert_id")
    return [one] if one else []
