"""How many of what it takes for so many texts a second: arithmetic on measured figures, nothing else. Pure.

    workers      = texts/s ÷ texts/s of one worker
    partitions   = workers, since a partition of `texts` is read by one worker
    batch events = workers × cycles/s of one, since a cycle publishes an event for each tenant and source in it
                   with a backlog: texts/s of one ÷ 256 (`--max-poll-texts`)
                   without: up to 20/s, for a thin poll ends after 50 ms (`--max-wait-ms`), and no more than its texts
    heartbeats   = workers ÷ heartbeat interval
    lag samples  = partitions ÷ lag interval
    agents       = ((batch events + heartbeats × their share + lag samples × theirs) ÷ events/s of one
                   + time of one reading of the lag ÷ lag interval) ÷ 0.7
    bytes/s      = texts/s × bytes of a text or vector; events/s × bytes of an event

The reading of the lag is done by one of them, beside its counting. What several take in of each other (each reads what
the others have counted) is not in it: it was not measured for more than two.

A share is what a heartbeat or a lag sample costs beside a batch event, from the same run. 0.7: a process that is busy
for more of its time falls behind when a burst comes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HEADROOM = 0.7
#: As a worker comes: `worker.max_poll_texts`, `worker.max_wait_ms`.
POLL_TEXTS = 256
WAIT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """What the model stands on. The bytes are those of docs/explanation/sizing.md."""

    worker_texts_per_s: float
    agent_events_per_s: float
    heartbeat_share: float
    lag_share: float
    lag_read_1000_partitions_ms: float
    text_bytes: float = 246.0
    vector_bytes: float = 1564.0
    batch_event_bytes: float = 1171.0
    heartbeat_bytes: float = 614.0
    lag_bytes: float = 416.0


@dataclass(frozen=True, slots=True)
class Need:
    """What a pipeline of so many texts a second takes."""

    texts_per_s: float
    workers: int
    partitions: int
    batch_events_per_s: float
    heartbeats_per_s: float
    lag_samples_per_s: float
    agents_processes: int
    lag_read_seconds: float
    texts_mb_per_s: float
    vectors_mb_per_s: float
    metrics_mb_per_s: float
    lag_interval_seconds: float


def cycles_per_s(texts_per_s: float, *, backlog: bool, wait_seconds: float = WAIT_SECONDS) -> float:
    """Of one worker that does so many texts a second: where it always finds more, and where it has to wait for them."""
    return texts_per_s / POLL_TEXTS if backlog else min(1 / wait_seconds, texts_per_s)


def need(
    texts_per_s: float, measured: Measured, *, backlog: bool = True, wait_seconds: float = WAIT_SECONDS,
    heartbeat_seconds: float = 2.0, lag_interval_seconds: float = 2.0,
) -> Need:  # fmt: skip
    """For texts of one tenant and source. The lag interval is stretched to twice what one reading takes, where it would
    be shorter."""
    workers = max(math.ceil(texts_per_s / measured.worker_texts_per_s), 1)
    read_seconds = workers / 1000 * measured.lag_read_1000_partitions_ms / 1000
    interval = max(lag_interval_seconds, 2 * read_seconds)
    beats, lags = workers / heartbeat_seconds, workers / interval
    batches = workers * cycles_per_s(texts_per_s / workers, backlog=backlog, wait_seconds=wait_seconds)
    load = batches + beats * measured.heartbeat_share + lags * measured.lag_share
    return Need(
        texts_per_s=texts_per_s,
        workers=workers,
        partitions=workers,
        batch_events_per_s=batches,
        heartbeats_per_s=beats,
        lag_samples_per_s=lags,
        agents_processes=math.ceil((load / measured.agent_events_per_s + read_seconds / interval) / HEADROOM),
        lag_read_seconds=read_seconds,
        texts_mb_per_s=texts_per_s * measured.text_bytes / 1e6,
        vectors_mb_per_s=texts_per_s * measured.vector_bytes / 1e6,
        metrics_mb_per_s=(
            batches * measured.batch_event_bytes + beats * measured.heartbeat_bytes + lags * measured.lag_bytes
        ) / 1e6,
        lag_interval_seconds=interval,
    )  # fmt: skip
