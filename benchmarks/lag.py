"""How true the lag in seconds is at 10,000 texts a second, and how long 1,000 partitions take to be read.

On Apache Kafka (Java and Maven, as for the tests). The truth is in the texts: each is the time at which it was handed
to `embedwatch produce`, which packs them into chunks as ever. A group that stays a few seconds behind commits; whatever
the reader then says of the oldest text not done is compared with what stands in that text.
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kafka import OffsetAndMetadata

from benchmarks import rig
from benchmarks.claims import Claim, Result
from embedwatch import wire
from embedwatch.clock import SystemClock
from embedwatch.kafka import TopicPartition, consumer, create_topics, producer
from embedwatch.lag.reader import LagReader
from embedwatch.lag.tracker import GroupTracker, Place, total
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import TopicSpec
from tests.harness.apache_kafka import ApacheKafka, CannotRun

ERROR = Claim(
    "lag_error_s", "largest error of the lag in seconds, of any partition at any reading, at 10,000 texts/s packed by "
    "`embedwatch produce`", "s", 1.0, "at_most",
)  # fmt: skip
READ = Claim(
    "lag_read_1000_partitions_ms", "one reading of a group's lag on 1,000 partitions, all of them behind and all "
    "commits moved since the last one", "ms", 500.0, "at_most",
)  # fmt: skip
CLAIMS = (ERROR, READ)

TEXTS_PER_SECOND = 10_000
SECONDS = 20.0
PARTITIONS = 4
READ_EVERY_SECONDS = 0.25
MANY = 1000
CHUNK_TEXTS = 128
REPETITIONS = 9
LARGE_BYTES = 100_000


def measure(ids: frozenset[str]) -> Iterator[Result]:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with ApacheKafka(Path(folder)) as service:
                if ERROR.id in ids:
                    yield error_seconds(service.bootstrap_servers)
                if READ.id in ids:
                    yield read_milliseconds(service.bootstrap_servers)
        except CannotRun as error:
            raise SystemExit(f"Apache Kafka cannot run here: {error}") from None


def error_seconds(servers: str) -> Result:
    kafka = KafkaSettings(
        bootstrap_servers=servers, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}", partitions=PARTITIONS
    )
    settings = Settings(kafka=kafka)
    create_topics(kafka, settings.topics.specs())
    group = _Behind(kafka, settings.topics.texts)
    feed = _Feed(kafka)
    told: list[tuple[float, Place, int, float]] = []
    tracker = GroupTracker()
    with LagReader(kafka, group.name, [settings.topics.texts], SystemClock()) as reader:
        feed.start()
        next_read = time.monotonic()
        while feed.is_alive():
            group.work()
            if time.monotonic() < next_read:
                continue
            next_read += READ_EVERY_SECONDS
            reading = reader.read()
            for place, lag in tracker.observe(reading.samples).items():
                if lag.lag_messages and lag.oldest_age_seconds is not None and lag.committed_offset is not None:
                    told.append((reading.time_seconds, place, lag.committed_offset, lag.oldest_age_seconds))
                elif lag.status == "UNKNOWN" or lag.lag_messages:
                    raise SystemExit(f"{place}: no age where something waits: {lag}")
        feed.join()
        group.work(until_quiet=True)
        group.close()
    errors = [abs(age - (at - group.written[place.partition, offset])) for at, place, offset, age in told]
    if len(errors) < SECONDS or group.texts != feed.texts:
        raise SystemExit(f"{len(errors)} readings; {group.texts} of {feed.texts} texts came")
    ages = [age for *_, age in told]
    return Result(
        ERROR, max(errors), (min(errors), max(errors)),
        {
            "p50_s": statistics.median(errors), "p95_s": float(np.quantile(errors, 0.95)), "readings": len(errors),
            "texts_per_s": feed.texts / feed.seconds, "lag_p50_s": statistics.median(ages), "lag_max_s": max(ages),
        },
    )  # fmt: skip


class _Feed(threading.Thread):
    """Texts at a steady pace into `embedwatch produce`; each says when."""

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(daemon=True)
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "embedwatch", "produce", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=theirs | {
                "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "EMBEDWATCH_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            },
        )  # fmt: skip
        self.texts = 0
        self.seconds = 0.0

    def run(self) -> None:
        assert self.child.stdin is not None
        time.sleep(3.0)  # it imports, and looks for the topic
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < SECONDS:
            due = int(passed * TEXTS_PER_SECOND) - self.texts
            self.child.stdin.write(b"".join(b"%.4f %d\n" % (time.time(), self.texts + n) for n in range(due)))
            self.child.stdin.flush()
            self.texts += due
            time.sleep(0.005)
        self.seconds = time.monotonic() - begun
        self.child.stdin.close()
        self.child.wait(60)


class _Behind:
    """A group that reads everything at once and commits what is some seconds old: from 0 to 6 s, up and down."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.name = f"{topic}-behind"
        self.topic = topic
        self.client: Any = consumer(kafka, "bench-behind", group=self.name)
        self.client.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
        self.client.seek_to_beginning()
        self.written: dict[tuple[int, int], float] = {}
        self.waiting: dict[int, list[tuple[float, int]]] = {p: [] for p in range(PARTITIONS)}
        self.texts = 0
        self.begun = time.monotonic()

    def work(self, until_quiet: bool = False) -> None:
        quiet = 0
        while True:
            found = self.client.poll(20)
            for place, records in found.items():
                for record in records:
                    items = wire.decode_texts(record.key, record.value, record.headers, fallback_id="x")
                    self.texts += len(items)
                    self.written[place.partition, record.offset] = float((items[0].text or "").split()[0])
                    self.waiting[place.partition].append((record.timestamp / 1000, record.offset))
            quiet = 0 if found else quiet + 1
            if not until_quiet or quiet > 100:
                break
        self._commit()

    def _commit(self) -> None:
        behind = 3.0 + 3.0 * np.sin((time.monotonic() - self.begun) / 3.0)
        done = {}
        for partition, waiting in self.waiting.items():
            limit = time.time() - behind
            ready = [offset for at, offset in waiting if at <= limit]
            if ready:
                done[TopicPartition(self.topic, partition)] = OffsetAndMetadata(ready[-1] + 1, "", -1)
                self.waiting[partition] = waiting[len(ready) :]
        if done:
            self.client.commit(done)

    def close(self) -> None:
        self.client.close()


def read_milliseconds(servers: str) -> Result:
    kafka = KafkaSettings(bootstrap_servers=servers)
    texts = rig.real_texts(CHUNK_TEXTS)
    small = wire.encode_chunk([str(n) for n in range(CHUNK_TEXTS)], texts)
    took, numbers = _readings(kafka, small, REPETITIONS, compression="lz4")
    # One batch of each partition is a fetch of 100 MB.
    large, _ = _readings(kafka, os.urandom(LARGE_BYTES), 3, compression=None)
    return Result.of(READ, took, **numbers, chunk_bytes=len(small), batches_of_100_kb_ms=statistics.median(large))


def _readings(kafka: KafkaSettings, value: bytes, count: int, compression: str | None) -> tuple[list[float], Any]:
    """Milliseconds of readings, each after a commit in all partitions."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    create_topics(kafka, [TopicSpec(topic, "", "", "bench", "delete", None, partitions=MANY)])
    client = producer(kafka, "bench-producer", max_block_ms=120_000, compression_type=compression)
    for _ in range(count + 2):
        for partition in range(MANY):
            client.send(topic, value, partition=partition, headers=wire.chunk_headers(CHUNK_TEXTS))
    client.flush(300)
    client.close()
    commits: Any = consumer(kafka, "bench-commits", group=topic)
    took: list[float] = []
    with LagReader(kafka, topic, [topic], SystemClock()) as reader:
        first = _timed(reader, (count + 2) * MANY)
        for done in range(1, count + 1):
            commits.commit({TopicPartition(topic, p): OffsetAndMetadata(done, "", -1) for p in range(MANY)})
            took.append(_timed(reader, (count + 2 - done) * MANY))
        again = [_timed(reader, 2 * MANY) for _ in range(3)]
    commits.close()
    return took, {"first_with_connecting_ms": first, "nothing_committed_since_ms": statistics.median(again)}


def _timed(reader: LagReader, messages: int) -> float:
    begun = time.perf_counter()
    reading = reader.read()
    milliseconds = 1000 * (time.perf_counter() - begun)
    found = total(GroupTracker().observe(reading.samples).values())
    if found.lag_messages != messages or found.partitions != MANY:
        raise SystemExit(f"{messages} messages wait, told were {found}")
    return milliseconds


if __name__ == "__main__":
    for result in measure(frozenset(claim.id for claim in CLAIMS)):
        print(result)
