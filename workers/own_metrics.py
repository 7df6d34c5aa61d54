"""What a worker says of itself at /metrics, /livez and /readyz. No I/O, no clock.

What it did for the pipeline it tells the agents through Kafka; this is for whoever looks at one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from embedwatch.stage_metrics import ROUTINE, Look, Sample, broker_trouble, by_label, family, known, stuck

#: On top of what the main thread may wait for by its settings: a rebalance, a slow close.
STUCK_MARGIN_SECONDS = 60.0

_family = partial(family, "embedwatch_worker_", "Of a worker")
_gauge, _counter = partial(_family, "gauge"), partial(_family, "counter")

FAMILIES = (
    _gauge("ready", "1 or 0", "1 where this worker can work, as its `/readyz` says.",
           "0 for minutes: `/readyz` gives the reasons."),
    _counter("taken_messages", "messages", "Messages of texts taken, those done again included.", ROUTINE),
    _counter("taken_texts", "texts", "Texts taken, those done again included.",
             "Far above `finished_texts`: work is done again; see `refused_commits` and `reconnections`."),
    _counter("finished_cycles", "cycles", "Polls that were worked through, delivered and committed.", ROUTINE),
    _counter("finished_messages", "messages", "Messages whose texts are delivered and committed.", ROUTINE),
    _counter("finished_texts", "texts", "Texts delivered and committed, dead letters included.",
             "Stands still while texts are queued: read this worker's last log lines."),
    _counter("dead_letters", "texts", "Of the texts finished, those that went to the dead letters.",
             "Rises: `embedwatch dlq list` shows them."),
    _counter("errors", "texts", "Texts without a vector, by class of error; a class that never came has no series.",
             "`embedwatch dlq list` shows them.", "class"),
    _counter("delivered_messages", "messages", "Vectors, dead letters and events that the broker acknowledged.",
             ROUTINE),
    _counter("cache_hits", "texts", "Texts found in the cache.", ROUTINE),
    _counter("duplicate_texts", "texts", "Texts that came twice in a poll.", ROUTINE),
    _counter("tokens_embedded", "tokens", "Tokens embedded.", ROUTINE),
    _counter("busy_seconds", "seconds", "Time the model worked.",
             "Its rate far below 1 while texts are queued: the cache, the broker or the tokeniser holds it up."),
    _counter("commits", "commits", "Commits of offsets that the group took; of transactions where it works with them.",
             ROUTINE),
    _counter("refused_commits", "commits", "Commits that came after the group had given the partitions to another.",
             "Rises all the time: workers come and go, or a cycle takes longer than the group waits."),
    _counter("reconnections", "times", "Connections made anew after a failed delivery (`exactly_once`).",
             "Rises: look at the broker."),
    _counter("retries", "requests", "Requests to the embedding endpoint that were tried again; absent without one.",
             "Rises: the endpoint refuses, limits or fails; the log says which."),
    _gauge("queued_texts", "texts", "Texts fetched and not begun.", ROUTINE),
    _gauge("in_flight_texts", "texts", "Texts begun and not committed.",
           "Above 0 while `finished_texts` stands still: the model, the cache or the broker hangs."),
    _gauge("assigned_partitions", "partitions", "Partitions that the group gave it; absent while it shares them out.",
           "0: there are more workers than partitions, and this one stands by."),
    _gauge("broker_silent_seconds", "seconds", "Time since the broker acknowledged something; absent before it did.",
           "Above 30: it is not ready. Above `worker.broker_retry_seconds` it ends."),
    _gauge("last_finished_timestamp_seconds", "Unix seconds", "When texts were last finished; absent before.",
           "Long ago while texts wait: read its last log lines."),
    _gauge("model_load_seconds", "seconds", "Time the model took to load; absent until it has.", ROUTINE),
    _gauge("resident_memory_bytes", "bytes", "Memory of this process; absent where the system does not tell.",
           "Near the container's limit: a smaller `worker.token_budget` or `worker.max_poll_texts`."),
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What the worker's main thread has done so far. Written there, read by whoever answers."""

    taken_messages: int = 0
    taken_texts: int = 0
    finished_cycles: int = 0
    finished_messages: int = 0
    finished_texts: int = 0
    dead_letters: int = 0
    commits: int = 0
    refused_commits: int = 0
    reconnections: int = 0
    #: Unix seconds.
    last_finished: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A worker at one moment. None is what is not known; `assigned_partitions`: also while the group shares them out.

    `progress_seconds_ago` is None while nothing has to move: before the main loop, a model may load for minutes.
    """

    state: Literal["starting", "running", "stopping"]
    counts: Counts
    queued_texts: int = 0
    in_flight_texts: int = 0
    delivered_messages: int = 0
    retries: int | None = None
    cache_hits: int = 0
    duplicate_texts: int = 0
    tokens_embedded: int = 0
    busy_seconds: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    model_load_seconds: float | None = None
    assigned_partitions: int | None = None
    broker_heard_seconds_ago: float | None = None
    progress_seconds_ago: float | None = None
    stuck_after_seconds: float = STUCK_MARGIN_SECONDS
    resident_bytes: int | None = None


def look(view: View) -> Look:
    """What is answered."""
    unready = _unready(view)
    progress = view.progress_seconds_ago
    dead = [] if progress is None else stuck(progress, view.stuck_after_seconds)
    return Look(_samples(view, ready=not unready and not dead), dead, unready)


def _unready(view: View) -> list[str]:
    if view.state == "stopping":
        return ["it is stopping"]
    reasons = ["the model is not loaded yet"] if view.model_load_seconds is None else []
    if view.assigned_partitions is None:
        reasons.append("the group has not given it partitions, nor told it to stand by")
    return reasons + broker_trouble(view.broker_heard_seconds_ago)


def _samples(view: View, *, ready: bool) -> list[Sample]:
    counts = view.counts
    numbers: dict[str, float | None] = {
        "ready": ready,
        "taken_messages": counts.taken_messages,
        "taken_texts": counts.taken_texts,
        "finished_cycles": counts.finished_cycles,
        "finished_messages": counts.finished_messages,
        "finished_texts": counts.finished_texts,
        "dead_letters": counts.dead_letters,
        "delivered_messages": view.delivered_messages,
        "cache_hits": view.cache_hits,
        "duplicate_texts": view.duplicate_texts,
        "tokens_embedded": view.tokens_embedded,
        "busy_seconds": view.busy_seconds,
        "commits": counts.commits,
        "refused_commits": counts.refused_commits,
        "reconnections": counts.reconnections,
        "retries": view.retries,
        "queued_texts": view.queued_texts,
        "in_flight_texts": view.in_flight_texts,
        "assigned_partitions": view.assigned_partitions,
        "broker_silent_seconds": view.broker_heard_seconds_ago,
        "last_finished_timestamp_seconds": counts.last_finished,
        "model_load_seconds": view.model_load_seconds,
        "resident_memory_bytes": view.resident_bytes,
    }
    return [
        *(sample for name, number in numbers.items() for sample in known(name, number)),
        *by_label("errors", view.errors),
    ]
