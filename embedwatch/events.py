"""The event types that cross topics. Frozen, versioned (`v`), with the unit in every field name.

JSON on the wire (see `codec`), told apart by `type`. A change that an older reader cannot ignore needs a new `v`.
The JSON Schema generated from here is `docs/reference/events.schema.json`; a test keeps the two the same.

Money is integers of nano-USD (1 USD = 10**9). Times are Unix seconds as float unless the name says otherwise.
`None` means "not known"; it never stands for zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

VERSION = 1
NANO_USD_PER_USD = 1_000_000_000

Count = Annotated[int, Meta(ge=0)]
#: What a sender measured: no true one is larger, JSON holds it exactly everywhere, and sums of it are finite floats.
Measured = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0)]
Label = Annotated[str, Meta(max_length=256)]

TokenMethod = Literal["tiktoken", "model", "provider", "estimated"]

#: Bounded, so that each may be a metric label. `other` takes what is not listed.
ErrorClass = Literal[
    "invalid_utf8",
    "empty_text",
    "text_too_large",
    "malformed_message",
    "unknown_model",
    "out_of_memory",
    "timeout",
    "rate_limited",
    "connection",
    "bad_response",
    "not_finite",
    "model_error",
    "cancelled",
    "other",
]
ERROR_CLASSES: tuple[str, ...] = ErrorClass.__args__  # type: ignore[attr-defined]
#: The caller gave up: counted like any other class, and no failure of whoever was asked. In no error rate.
CANCELLED = "cancelled"

#: Phases of a batch, in the order in which they happen.
PHASES = ("queue_wait", "cache_lookup", "tokenise", "embed", "cache_write", "publish")
#: Those that are work. Shares of the time, and the time of a batch, are of these: a text that waits in the queue keeps
#: nobody busy, and its wait, which may be hours, would make every share next to nothing. Waiting is told apart.
WORKING_PHASES = PHASES[1:]


def failed_texts(errors: Mapping[Any, int]) -> int:
    """Texts without a vector that their callers had not given up: what an error rate is the rate of."""
    return sum(errors.values()) - errors.get(CANCELLED, 0) if errors else 0


class PhaseSeconds(Struct, frozen=True, forbid_unknown_fields=False):
    """Wall seconds by phase, summed over the batches of the event. Queue wait is the mean over its texts.

    What comes after the event is made is in none: its own acknowledgement, and with exactly-once delivery the commit.
    """

    queue_wait: Seconds = 0.0
    cache_lookup: Seconds = 0.0
    tokenise: Seconds = 0.0
    embed: Seconds = 0.0
    cache_write: Seconds = 0.0
    publish: Seconds = 0.0


class BatchEvent(Struct, frozen=True, tag="batch", tag_field="type"):
    """What one embedded batch (or several, coalesced over at most a second) did, took and cost.

    `texts = cache_hits + duplicates + misses + errors`, where `misses` are texts the model embedded and `duplicates`
    copies of another text of the batch. `tokens_received` are those of whole texts; the model reads no more of a text
    than its longest, and `tokens_embedded` (of misses) and `tokens_saved` (of hits and copies) are what it reads.
    `latency_sketch` is over those texts that got a vector: seconds from the moment a worker began with the text to
    the moment its vector was handed to the broker and acknowledged; waiting in the queue is `queue_wait_sketch`.
    Both are the wire form of `embedwatch.sketch.Sketch`, base64, in milliseconds.

    A worker's batch may hold texts of several tenants and sources, and comes as an event for each. `batches` are those
    that held texts of this event. So that sums count each batch once, of these `repeated_batches` are in an earlier
    event of the same moment, too, and `tenant_repeated_batches` in an earlier one of the same tenant. `batch_share` is
    the part of the batches that this event's texts are, by tokens: as the phases are shared out, the shares add up to
    the batches, and a phase's seconds over them are what a batch took, whosever texts were in it.
    """

    event_id: str  # worker incarnation ":" sequence
    time_seconds: float
    worker: Label
    model: Label
    texts: Count
    cache_hits: Count
    duplicates: Count
    misses: Count
    batches: Count
    tokens_received: Count
    tokens_embedded: Count
    tokens_saved: Count
    truncated_texts: Count
    token_method: TokenMethod
    padding_tokens: Count
    cost_nano_usd: Count
    saved_nano_usd: Count
    price_source: Label  # "override", "genai-prices 0.2.3", "gpu-hour", "unknown"
    phase_seconds: PhaseSeconds
    latency_sketch: str
    queue_wait_sketch: str
    unpriced_tokens: Count = 0  # embedded, with no price known: shown and alerted on, never booked as free
    errors: dict[ErrorClass, Count] = msgspec.field(default_factory=dict)
    cache_errors: Count = 0
    busy_seconds: Seconds = 0.0
    tenant: Label | None = None
    source: Label | None = None
    repeated_batches: Count = 0
    tenant_repeated_batches: Count = 0
    batch_share: Seconds | None = None  # None from a sender that is older than these three fields: all of `batches`
    #: Of `tokens_saved`, those of which it is not known what they would have cost. None from a sender that is older
    #: than this field: all where the price is unknown, else none.
    unpriced_saved_tokens: Count | None = None
    #: Of `tokens_saved`, those of copies; the others are those of hits. 0 from a sender older than this field, whose
    #: copies count as hits in the hit rate of tokens.
    duplicate_tokens: Count = 0
    #: Texts of calls, or of tries within them, that failed and may have been billed; nobody knows what, and it is in no
    #: sum. 0 from a sender older than this field, and from workers.
    unsettled_texts: Count = 0
    #: Of `misses`, those that have a cost, while nobody knows how many tokens they are: they are in no sum of tokens.
    uncounted_texts: Count = 0
    #: Of `misses`, those for which no cache was asked: they say nothing of one. 0 from a sender older than this field,
    #: and from workers, which have a cache of their own.
    uncached_texts: Count = 0
    #: Of the cost, what was paid for texts that got no vector. None from a sender that is older than this field.
    wasted_nano_usd: Count | None = None
    v: int = VERSION

    def misfit(self) -> str | None:
        """What does not add up, in words; None when all does. Readers refuse an event that does not: of its parts
        nobody knows which one is wrong, and every rate would be.

        Tokens received are not compared with those embedded and saved: they may be counted by different means.
        """
        parts = self.cache_hits + self.duplicates + self.misses
        if self.errors:
            parts += sum(self.errors.values())
        if parts != self.texts:
            return f"texts is {self.texts}, cache_hits, duplicates, misses and errors add up to {parts}"
        if self.unpriced_tokens > self.tokens_embedded:
            return f"unpriced_tokens is {self.unpriced_tokens}, of {self.tokens_embedded} tokens_embedded"
        if self.wasted_nano_usd is not None and self.wasted_nano_usd > self.cost_nano_usd:
            return f"wasted_nano_usd is {self.wasted_nano_usd}, of {self.cost_nano_usd} cost_nano_usd"
        if self.unsettled_texts > self.texts:
            return f"unsettled_texts is {self.unsettled_texts}, of {self.texts} texts"
        if self.uncounted_texts > self.misses:
            return f"uncounted_texts is {self.uncounted_texts}, of {self.misses} misses"
        if self.uncached_texts > self.misses:
            return f"uncached_texts is {self.uncached_texts}, of {self.misses} misses"
        if self.duplicate_tokens > self.tokens_saved:
            return f"duplicate_tokens is {self.duplicate_tokens}, of {self.tokens_saved} tokens_saved"
        if self.unpriced_saved_tokens is not None and self.unpriced_saved_tokens > self.tokens_saved:
            return f"unpriced_saved_tokens is {self.unpriced_saved_tokens}, of {self.tokens_saved} tokens_saved"
        return None


class GpuSample(Struct, frozen=True):
    """One device. A reading the driver cannot give is None, and `missing` says why, by the name of its field;
    `unavailable` says why when there is none at all.

    `uuid` is as the driver writes it: `GPU-...` for a whole GPU, `MIG-...` for a slice of one. `energy_joules` is the
    driver's counter since it was loaded, for the whole GPU and whoever uses it: take differences. A slice has no
    power, energy, utilisation and temperature of its own, and those of its GPU are not put in their place.
    """

    index: Measured | None = None
    name: str | None = None
    utilization_pct: float | None = None
    memory_used_bytes: Measured | None = None
    memory_total_bytes: Measured | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    temperature_celsius: float | None = None
    unavailable: str | None = None
    uuid: Label | None = None  # None from a sender that is older than this field
    missing: Annotated[dict[Label, Label], Meta(max_length=16)] = msgspec.field(default_factory=dict)


class HeartbeatEvent(Struct, frozen=True, tag="heartbeat", tag_field="type"):
    """A worker is alive, and how it is. Sent every few seconds, also when there is nothing to embed.

    `tokens_embedded` counts up from the start of the process, whose `event_id` begins the same up to the last colon.
    """

    event_id: str
    time_seconds: float
    worker: Label
    model: Label
    state: Literal["starting", "running", "stopping"]
    model_load_seconds: Seconds | None = None
    in_flight_texts: Measured = 0
    queued_texts: Measured = 0
    batch_budget_tokens: Measured | None = None
    resident_bytes: Measured | None = None
    gpus: list[GpuSample] = msgspec.field(default_factory=list)
    tokens_embedded: Measured | None = None  # None from a sender that is older than this field
    #: "caller" is a program that embeds through the SDK: it takes nothing from the queue, so it is no worker that
    #: scaling counts, and no machine by the hour.
    role: Literal["worker", "caller"] = "worker"
    v: int = VERSION


LagStatus = Literal["OK", "STALLED", "STOPPED", "REWOUND", "UNKNOWN"]


class LagEvent(Struct, frozen=True, tag="lag", tag_field="type"):
    """Lag of one consumer group on one partition. Whatever could not be read is None and the status UNKNOWN."""

    event_id: str
    time_seconds: float
    group: Label
    topic: Label
    partition: Measured
    status: LagStatus
    log_end_offset: Measured | None = None
    committed_offset: Measured | None = None
    lag_messages: Measured | None = None
    lag_texts: Measured | None = None  # estimated from the texts per message seen, where messages are chunks
    oldest_age_seconds: Seconds | None = None
    consume_rate_per_s: Seconds | None = None
    arrival_rate_per_s: Seconds | None = None
    drain_seconds: Seconds | None = None
    reason: str | None = None
    v: int = VERSION


class CacheEvent(Struct, frozen=True, tag="cache", tag_field="type"):
    """The cache as the cache itself counts it. `available=False` with a reason when it could not be asked."""

    event_id: str
    time_seconds: float
    worker: Label
    available: bool
    reason: str | None = None
    entries: Measured | None = None
    memory_bytes: Measured | None = None
    bytes_per_entry: float | None = None
    evictions: Measured | None = None
    hits: Measured | None = None
    misses: Measured | None = None
    v: int = VERSION


ScalingCause = Literal[
    "arrivals", "backlog", "holding", "idle", "first", "unknown", "stalled", "failing", "measuring",
]  # fmt: skip
ScalingLimit = Literal["min_workers", "max_workers", "partitions", "slots", "budget"]


class ScalingEvent(Struct, frozen=True, tag="scaling", tag_field="type"):
    """A decision about the number of workers, with what it was made from. Whatever is not known is None."""

    event_id: str
    time_seconds: float
    group: Label
    topic: Label
    desired_workers: Count
    wanted_workers: Count  # what it would be without limits
    workers: Count  # that there were, those that start included
    cause: ScalingCause
    reason: str
    limited_by: ScalingLimit | None = None
    at_capacity: bool = False  # more are wanted than may be had
    lag_seconds: Seconds | None = None
    backlog_texts: Count | None = None
    arrival_texts_per_s: Seconds | None = None
    capacity_texts_per_s: Seconds | None = None  # of one worker that is busy all the time
    drain_seconds: Seconds | None = None
    cost_usd_per_hour: float | None = None
    wanted_cost_usd_per_hour: float | None = None
    running_workers: Count | None = None  # heard of as running
    changes_today: Count = 0  # of the desired number, in the budget's zone, this one included
    v: int = VERSION

    @property
    def holds(self) -> bool:
        """Nothing may be decided: whoever acts changes nothing, whatever `desired_workers` says."""
        return self.cause in ("unknown", "stalled", "failing")


MetricEvent = BatchEvent | HeartbeatEvent | LagEvent | CacheEvent | ScalingEvent


AlertType = Literal[
    "HIGH_LATENCY",
    "HIGH_ERROR_RATE",
    "LOW_CACHE_HIT_RATE",
    "BUDGET_EXCEEDED",
    "BUDGET_FORECAST",
    "BUDGET_BURN_RATE",
    "UNPRICED_MODEL",
    "HIGH_QUEUE_DEPTH",
    "HIGH_LAG",
    "QUEUE_STALLED",
    "AT_CAPACITY",
    "LOW_THROUGHPUT",
    "LATENCY_REGRESSION",
    "LOW_GPU_UTILIZATION",
    "SLOW_MODEL_LOAD",
    "WORKER_DOWN",
    "NO_DATA",
    "CACHE_UNAVAILABLE",
    "REJECTED_EVENTS",
    "ALERTING_BEHIND",
    "RECEIVER_FAILING",
]
Severity = Literal["info", "warning", "critical"]
Judgement = Literal["ok", "breached", "inconclusive", "no_data"]


class Contributor(Struct, frozen=True):
    """Who or what moved the number: a phase, error class, model, worker or tenant with its value in the rule's unit.

    `share_pct` is its part of what moved, or of the whole where nothing is known of before. A worker's value of any
    latency is its mean: of workers no distribution is kept.
    """

    kind: Literal["phase", "error_class", "model", "worker", "tenant"]
    name: Label
    value: float
    share_pct: float | None = None
    factor: float | None = None  # over the hour before, or the baseline; None: not known, or it was 0


class Verdict(Struct, frozen=True, tag="verdict", tag_field="type"):
    """A rule's judgement of one scope at one time. The key on the topic is `alert_id`: rule + scope (+ day + step)."""

    alert_id: Label
    time_seconds: float
    rule: Label
    alert_type: AlertType
    severity: Severity
    scope: dict[str, str]  # {} is "all"; else model, tenant, worker
    judgement: Judgement
    metric: Label  # with its unit in the name, e.g. latency_p95_ms
    threshold: float
    comparison: Literal[">", "<"]
    unit: str
    window_seconds: Seconds
    samples: Count
    value: float | None = None
    for_seconds: Seconds = 0.0
    keep_firing_for_seconds: Seconds = 0.0
    reason: str = ""
    contributors: list[Contributor] = msgspec.field(default_factory=list)
    route: Label | None = None
    text: str | None = None
    runbook: str | None = None  # an address, http or https
    day: str | None = None  # for budgets: the day in the budget's zone, ISO
    timezone: Label | None = None  # of that day; None from agents that are older than this field
    v: int = VERSION


class AlertAction(Struct, frozen=True, tag="action", tag_field="type"):
    """What a person asks of an alert. The key on the topic is `alert_id`.

    An `action_id` names one wish of one person: a second record of it changes nothing.
    """

    action_id: Label
    time_seconds: float
    alert_id: Label
    episode: Count  # what they saw; another episode is left alone
    do: Literal["acknowledge", "snooze"]
    by: Label  # a name for people
    via: Literal["slack", "command", "api"]
    until_seconds: float | None = None  # of a snooze
    note: Label | None = None
    v: int = VERSION


class Silence(Struct, frozen=True, tag="silence", tag_field="type"):
    """Alerts that nobody wants to hear of for a time. The key on the topic is `silence_id`.

    To end one is to write it again with an earlier `ends_seconds`; a record without a value forgets it. With `weekdays`
    it comes again: on each of them from `at` for `for_seconds`, within `starts_seconds` and `ends_seconds`.
    """

    silence_id: Label
    created_seconds: float
    by: Label
    match: Annotated[dict[Label, Label], Meta(max_length=16)]  # label of an alert -> shell pattern; {}: every alert
    starts_seconds: float
    ends_seconds: float | None  # None: only with `weekdays`
    note: Label = ""
    weekdays: tuple[Annotated[int, Meta(ge=0, le=6)], ...] = ()  # 0 is Monday
    at: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = None  # on the clock of `timezone`
    for_seconds: Seconds = 0.0
    timezone: Label = "UTC"
    v: int = VERSION


class WindowEvent(Struct, frozen=True, tag="window", tag_field="type"):
    """What one scope did in one closed window of event time, `start_seconds` up to but without `end_seconds`.

    The sums and the sketches are those of the batch events whose time lies in the window and that arrived before it
    was closed. `partial` says that the agent may not have seen all of them: it started, or was given other partitions,
    after the window began. Such a window has no throughput, and a key of its own, so that it never takes the place of
    a whole one. `latency_sketch` and `queue_wait_sketch` are as in the batch event; those of several windows merge.
    """

    scope: str  # "all", "model=m", "tenant=t", "model=m,tenant=t"; "scope=other" is what is above the cap on scopes
    window_seconds: Count
    start_seconds: float
    end_seconds: float
    closed_seconds: float  # when it was closed, by the agent's clock
    partial: bool
    events: Count
    texts: Count
    cache_hits: Count
    duplicates: Count
    misses: Count
    batches: Count
    tokens_received: Count
    tokens_embedded: Count
    tokens_saved: Count
    truncated_texts: Count
    padding_tokens: Count
    cost_nano_usd: Count  # of what has a price: 0 beside `unpriced_tokens` is not known
    saved_nano_usd: Count  # likewise, beside `unpriced_saved_tokens`
    unpriced_tokens: Count
    cache_errors: Count
    busy_seconds: Seconds
    errors: dict[ErrorClass, Count]
    phase_seconds: PhaseSeconds
    latency_sketch: str
    queue_wait_sketch: str
    throughput_texts_per_s: float | None = None
    throughput_tokens_per_s: float | None = None  # embedded
    batch_share: Seconds | None = None  # as in the batch event; None from an agent that is older than this field
    unpriced_saved_tokens: Count = 0
    duplicate_tokens: Count = 0
    unsettled_texts: Count = 0
    uncounted_texts: Count = 0
    uncached_texts: Count = 0
    v: int = VERSION


class DaySums(Struct, frozen=True):
    """Sums of batch events of one day and scope; each is as in the batch event, `errors` over all classes.

    Money is that of what has a price: 0 beside `unpriced_tokens`, or savings of 0 beside `unpriced_saved_tokens`, is
    not known. `unpriced_texts` are those with a vector in events whose tokens have no price. `cancelled_texts` are
    those of the errors whose callers gave up. `wasted_nano_usd` is of the cost: paid for texts that got no vector, as
    far as it is known.
    """

    texts: Count = 0
    cache_hits: Count = 0
    duplicates: Count = 0
    misses: Count = 0
    errors: Count = 0
    tokens_received: Count = 0
    tokens_embedded: Count = 0
    tokens_saved: Count = 0
    cost_nano_usd: Count = 0
    saved_nano_usd: Count = 0
    unpriced_tokens: Count = 0
    unpriced_texts: Count = 0
    unpriced_saved_tokens: Count = 0
    cancelled_texts: Count = 0
    unsettled_texts: Count = 0
    uncounted_texts: Count = 0
    uncached_texts: Count = 0
    wasted_nano_usd: Count = 0


class CorrectionEvent(Struct, frozen=True, tag="correction", tag_field="type"):
    """What was booked on a day of the ledger after the day was closed: its midnight in the budget's zone and the grace
    for late events had passed. `added` is in the day's sums already.

    It is of one source partition: the late ones among its events at the offsets `from_offset` up to but without
    `until_offset`. The next one of the same partition, day and scope begins no earlier than this one ends, so that
    the day's whole correction is the sum over all of them. One that is said again, after a crash, has the same
    `event_id`, which is the key on the topic, and may reach further: of the same id the one with the greatest
    `until_offset` counts, and replaces the others.
    """

    event_id: str  # application ":" partition ":" from_offset ":" day ":" scope
    time_seconds: float  # when the last of it was booked, by the agent's clock
    day: str  # ISO date
    timezone: str  # the budget's, an IANA name
    scope: str  # as in the window event
    partition: Count  # of the topic of metric events
    from_offset: Count
    until_offset: Count
    events: Annotated[int, Meta(ge=1)]
    added: DaySums
    total: DaySums | None = None  # of day, scope and partition after it; None: the day's sums were no longer kept
    v: int = VERSION


class DayScope(DaySums, frozen=True, omit_defaults=True):
    """Sums of one scope on one closed day. Those that begin with `late_` were booked after its close, and are in the
    others, too. The cost is the sum of `spend_nano_usd`, one number an hour from the day's first moment on, but for
    what an agent older than that curve has booked; hours after the last one with a booking are left out."""

    gpu_hour_nano_usd: Count = 0  # the part of the cost that is busy seconds of a machine paid by the hour
    late_events: Count = 0
    late_texts: Count = 0
    late_cost_nano_usd: Count = 0
    late_unpriced_tokens: Count = 0
    last_correction_seconds: float | None = None
    spend_nano_usd: list[Count] = msgspec.field(default_factory=list)


class DayEvent(Struct, frozen=True, tag="day", tag_field="type"):
    """What one source partition has booked on one day of the ledger that is closed, as of `until_offset`.

    A day is the sum over partitions, and in each over `from_offset`: 0, and one for each time that something was booked
    when the day was no longer kept. What has many scopes comes in several `pieces`, of disjoint scopes; they belong
    together where `from_offset` and `until_offset` are the same and `time_seconds` too. Of the same `from_offset` the
    one that reaches furthest counts, and of those the last. One without a scope says that nothing was booked.

    The key on the topic is application, `day`, `partition`, `from_offset` and `piece`, so that the last record of each
    is the truth.
    """

    application: str
    day: str  # ISO date
    timezone: str  # the budget's, an IANA name
    begin_seconds: float
    end_seconds: float
    partition: Count  # of the topic of metric events
    partitions: Annotated[int, Meta(ge=1)]  # that topic has so many
    from_offset: Count
    until_offset: Count  # every event of the partition below it is in these sums, or was on another day
    time_seconds: float  # when it was said, by the agent's clock
    piece: Count
    pieces: Annotated[int, Meta(ge=1)]
    scopes: dict[str, DayScope]  # as in the window event
    #: By model: milliseconds that worker processes were there, whether they worked or not. Of the first piece.
    allocated_ms: dict[str, Count] = msgspec.field(default_factory=dict)
    last: bool = False  # the agents forget the day now
    v: int = VERSION


#: What stands on the topics but texts, vectors, states and dead letters.
Event = MetricEvent | Verdict | AlertAction | Silence | WindowEvent | CorrectionEvent | DayEvent


def window_key(event: WindowEvent) -> str:
    """The key on the topic: compaction keeps the last of each window, and never a partial one for a whole one."""
    key = f"{event.scope}|{event.window_seconds}|{event.start_seconds:.0f}"
    return f"{key}|partial" if event.partial else key


def day_key(event: DayEvent) -> str:
    """The key on the topic of days. An application's id has no bar in it."""
    return f"{event.application}|day|{event.day}|{event.partition}|{event.from_offset}|{event.piece}"


def hour_key(application: str, event: WindowEvent) -> str:
    """On the topic of days: a closed window that is kept as long as days are."""
    return f"{application}|window|{window_key(event)}"


def change_key(application: str, event: ScalingEvent) -> str:
    """On the topic of days: a decision that asked for another number of workers than the one before."""
    return f"{application}|scaling|{event.event_id}"
