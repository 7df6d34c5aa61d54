"""Memory of a worker process over half a million texts, read from its own heartbeats."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import rig
from benchmarks.claims import Claim, Result
from embedwatch import codec
from embedwatch.events import BatchEvent, HeartbeatEvent
from embedwatch.kafka import TopicPartition, consumer
from embedwatch.processes import Child

GROWTH = Claim("worker_memory_growth_pct", "memory stays flat over 500,000 texts", "%", 5.0, "at_most")
CLAIMS = (GROWTH,)
TEXTS = 500_000
#: After so many texts everything that is made once has been made.
SETTLED_TEXTS = 100_000
PORTION = 50_000
LIMIT_SECONDS = 900


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with rig.broker() as broker, tempfile.TemporaryDirectory() as folder:
        settings = rig.settings_for(broker)
        ours = {name: None for name in os.environ if name.startswith("EMBEDWATCH_")}
        rig.send(settings, texts(0))
        command = [
            sys.executable, "-m", "embedwatch", "worker", "--backend", "hashing", "--model", "bench",
            "--hashing-dims", "32", "--max-texts", str(TEXTS), "--heartbeat-seconds", "0.5",
            "--vector-dtype", "float16",
        ]  # fmt: skip
        environ = ours | {
            "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "EMBEDWATCH_KAFKA_TOPIC_PREFIX": settings.kafka.topic_prefix,
            "EMBEDWATCH_KAFKA_PARTITIONS": "1",
            # Filled before the first sample: 64 MiB, its default, would fill up during the run and look like a leak.
            "EMBEDWATCH_CACHE_LOCAL_MAX_BYTES": str(8 * 2**20),
            "EMBEDWATCH_WORKER_GROUP": settings.worker.group,
        }
        with Child("worker", command, Path(folder) / "worker.log", environ) as worker:
            begun = time.monotonic()
            for first in range(PORTION, TEXTS, PORTION):
                rig.send(settings, texts(first))
            code = worker.process.wait(LIMIT_SECONDS)
            if code != 0:
                raise SystemExit(f"the worker ended with {code}: {worker.last_words()}")
            seconds = time.monotonic() - begun
        samples = memory_by_texts(settings)
    settled = [size for done, size in samples if SETTLED_TEXTS <= done < 2 * SETTLED_TEXTS]
    last = [size for done, size in samples if done >= TEXTS - SETTLED_TEXTS]
    before, after = statistics.median(settled), statistics.median(last)
    yield Result.of(
        GROWTH, [100 * (after / before - 1)],
        before_mib=before / 2**20, after_mib=after / 2**20, texts_per_s=TEXTS / seconds,
    )  # fmt: skip


def texts(first: int) -> list[str]:
    return [f"text number {number} " * (number % 7 + 1) for number in range(first, first + PORTION)]


def memory_by_texts(settings: Any) -> list[tuple[int, int]]:
    """(texts done, bytes in RAM) at each heartbeat, from the metrics topic."""
    client = consumer(settings.kafka, "bench-reader", group=None)
    done, found = 0, []
    try:
        client.assign([TopicPartition(settings.topics.metrics, 0)])
        client.seek_to_beginning()
        while done < TEXTS and (records := client.poll(5000)):
            for record in (record for part in records.values() for record in part):
                event = codec.decode_metric(record.value)
                if isinstance(event, BatchEvent):
                    done += event.texts
                elif isinstance(event, HeartbeatEvent) and event.resident_bytes is not None:
                    found.append((done, event.resident_bytes))
    finally:
        client.close()
    return found
