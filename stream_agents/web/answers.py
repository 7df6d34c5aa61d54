"""The shapes of the answers, as the OpenAPI description tells them.

A test holds every answer against them: each field here is in the answer, and each in the answer is here.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from embedwatch.baselines import Numbers
from embedwatch.events import AlertType, ErrorClass, Judgement, LagStatus, ScalingCause, ScalingLimit, Severity
from embedwatch.pricing import MoneyState
from stream_agents.compute.ledger import DayTotals

PhaseName = Literal["queue_wait", "cache_lookup", "tokenise", "embed", "cache_write", "publish"]


class Statistics(Struct):
    """Of a distribution, in milliseconds. Percentiles are within 0.5 %, the rest is exact; null: there is none."""

    p50: float | None
    p95: float | None
    p99: float | None
    avg: float | None
    min: float | None
    max: float | None
    count: int


class Phase(Struct):
    """Time of a phase. `share_pct` is of the time of all phases that are work, as in the report. Waiting in the queue
    is no work: it has no share, and no mean a batch; how long texts wait is `queue_wait_ms`."""

    seconds: float
    per_batch_ms: float | None
    per_text_ms: float | None
    share_pct: float | None


class Performance(Struct):
    """A window's speed and errors. `covered_seconds` is what rates are over; null: not known.

    `errors` are texts without a vector; `cancelled_texts`, those of them whose callers gave up, are in no error rate.
    """

    latency_ms: Statistics
    queue_wait_ms: Statistics
    phase_seconds: dict[PhaseName, float]
    phases: dict[PhaseName, Phase]
    throughput_texts_per_s: float | None
    throughput_tokens_per_s: float | None
    texts: int
    errors: int
    cancelled_texts: int
    errors_by_class: dict[ErrorClass, int]
    error_rate_pct: float | None
    error_rate_pct_by_class: dict[ErrorClass, float]
    truncated_texts: int
    padding_waste_pct: float | None
    covered_seconds: float | None


class Cache(Struct):
    """Hits of the window, and the cache as it counts itself; `reason` says why that is not known.

    Both rates are hits / (hits + misses): `hit_rate_pct` of texts, `token_hit_rate_pct` of the tokens that the model
    reads of them. Copies of a text within a batch and texts that failed are in neither. What is saved in money is more:
    copies need not be embedded either.
    """

    hits: int
    misses: int
    duplicates: int
    hit_rate_pct: float | None
    token_hit_rate_pct: float | None
    errors: int
    available: bool | None
    reason: str | None
    entries: int | None
    memory_bytes: int | None
    bytes_per_entry: float | None
    evictions: int | None


class BurnWindow(Struct):
    """What was spent lately, as far as it is of today; null: nothing spent today has a price. `note`: what that leaves
    out or is guessed from."""

    window_seconds: int
    usd: float | None
    limit_pct: float
    note: str


class Budget(Struct):
    """A `daily_cost_usd` rule that judges this scope. `remaining_usd` is below 0 when overspent, null when nothing
    spent has a price; what has none is in no budget."""

    rule: str
    budget_usd: float
    remaining_usd: float | None
    spent_pct: float | None
    forecast_pct: float | None
    burn_fast_pct: float | None
    burn_slow_pct: float | None


class Day(DayTotals, kw_only=True):
    """A day of the ledger. The integers are exact; USD stands beside them for people.

    Money that is not known because a model has no price is null, never 0. `cost_state` says how much of the cost is
    known: `known` is all of it; `partial` is the part that has a price, beside `unpriced_texts` and `unpriced_tokens`
    that have none, and `unsettled_texts` of failed calls that may have been billed; `unknown` is nothing, and null.
    `saved_state` says it of the savings, beside `unpriced_saved_tokens`. Costs of a text or token are over the texts or
    tokens that have a price, and of a token null beside `uncounted_texts`, which have a cost and whose tokens nobody
    counted; `savings_pct` is there where both sums are `known`.

    `wasted_nano_usd` is of the cost: what was paid for texts that got no vector, as far as it is known (it is no less).

    Forecast and burn (`fast`: 15 minutes, `slow`: two hours) are of today only. `late_*` is what was booked when the
    day was closed: it is over and the grace (`agents.late_grace_seconds`) has passed; each such correction is an event
    on the topic `corrections`, too. `busy` is the cost of models paid by the machine's hour, `allocated` that of all
    the time their machines were there.
    """

    day: str
    timezone: str
    cost_nano_usd: int | None  # type: ignore[assignment]  # the sums that are kept have no null
    saved_nano_usd: int | None  # type: ignore[assignment]
    gpu_hour_nano_usd: int | None  # type: ignore[assignment]
    late_cost_nano_usd: int | None  # type: ignore[assignment]
    wasted_nano_usd: int | None  # type: ignore[assignment]
    wasted_usd: float | None
    cost_state: MoneyState
    saved_state: MoneyState
    cost_usd: float | None
    saved_usd: float | None
    cost_without_cache_usd: float | None
    savings_pct: float | None
    cost_per_text_usd: float | None
    cost_per_1000_texts_usd: float | None
    cost_per_million_tokens_usd: float | None
    late_cost_usd: float | None
    last_correction_seconds: float | None
    busy_cost_usd: float | None
    allocated_seconds: float | None
    allocated_nano_usd: int | None
    allocated_cost_usd: float | None
    forecast_usd: float | None
    forecast_basis: Literal["weekday", "last_days", "linear"] | None
    forecast_reason: str
    burn: dict[Literal["fast", "slow"], BurnWindow]
    budgets: list[Budget]


class LedgerRow(Day, kw_only=True):
    """A day of the ledger for one scope."""

    scope: str


class Ledger(Struct):
    """`app_id`: whose numbers these are."""

    app_id: str
    timezone: str
    today: str
    days: list[str]
    rows: list[LedgerRow]


class Queue(Struct):
    """The queue over all partitions. null: not known, and `reason` says why."""

    status: LagStatus
    reason: str | None
    depth_texts: int | None
    lag_messages: int | None
    lag_seconds: float | None
    drain_seconds: float | None
    arrival_rate_per_s: float | None
    consume_rate_per_s: float | None
    stalled_partitions: int | None
    partitions: int


class ScalingNow(Struct):
    """What is asked for now. The numbers are null where nothing is decided: whoever acts on them changes nothing then.
    `wanted_workers` would be asked for without limits; `changes_today` are those of `desired_workers`, on the day of
    the budget's zone. Of an hour's cost null means that a worker has no price."""

    decision_seconds: float | None
    desired_workers: int | None
    wanted_workers: int | None
    running_workers: int | None
    at_capacity: bool | None
    limited_by: ScalingLimit | None
    cause: ScalingCause | None
    desired_workers_reason: str
    cost_usd_per_hour: float | None
    wanted_cost_usd_per_hour: float | None
    changes_today: int | None


class ScalingDecision(Struct):
    """A decision as it was first said, with what it was made from."""

    time_seconds: float
    desired_workers: int | None
    wanted_workers: int | None
    running_workers: int | None
    at_capacity: bool
    limited_by: ScalingLimit | None
    cause: ScalingCause
    reason: str
    lag_seconds: float | None
    backlog_texts: int | None
    arrival_texts_per_s: float | None
    capacity_texts_per_s: float | None
    drain_seconds: float | None
    cost_usd_per_hour: float | None
    wanted_cost_usd_per_hour: float | None


class Gpu(Struct):
    """A device as its worker reads it. `missing` says why a reading is null, by its name."""

    index: int | None
    name: str | None
    utilization_pct: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_watts: float | None
    energy_joules: float | None
    temperature_celsius: float | None
    unavailable: str | None
    uuid: str | None
    missing: dict[str, str]


class Worker(Struct):
    """As its newest heartbeat says. `state` is `silent` where that is older than a minute: for `silent_seconds` nothing
    was heard, and the rest is as it was then."""

    worker: str
    model: str
    state: Literal["starting", "running", "stopping", "silent"]
    role: Literal["worker", "caller"]  # a caller is a process with the SDK: it takes no texts from the queue
    silent_seconds: float
    model_load_seconds: float | None
    in_flight_texts: int
    batch_budget_tokens: int | None
    resident_bytes: int | None
    tokens_embedded: int | None
    gpus: list[Gpu]


class GpuEnergy(Struct):
    """Energy of a GPU over the last five minutes; `reason` says why it is not known."""

    uuid: str
    name: str | None
    joules_per_million_tokens: float | None
    reason: str | None
    energy_joules: float | None
    tokens_embedded: int | None
    covered_seconds: float | None
    workers: int | None


class VerdictContributor(Struct):
    """Who or what moved the number, with its value in the unit of the rule."""

    kind: str
    name: str
    value: float
    share_pct: float | None


class VerdictRow(Struct):
    """A rule's judgement of one scope now."""

    alert_id: str
    type: AlertType
    severity: Severity
    scope: dict[str, str]
    judgement: Judgement
    metric: str
    value: float | None
    threshold: float
    comparison: Literal[">", "<"]
    unit: str
    window_seconds: float
    samples: int
    reason: str
    contributors: list[VerdictContributor]


class Verdicts(Struct):
    verdicts: list[VerdictRow]


class Coverage(Struct):
    """Of how many partitions of the metrics topic the numbers are. Of the stale ones nobody has spoken lately."""

    total: int
    held_here: int
    fresh: int
    stale_partitions: list[int]


class Summary(Struct):
    """A sliding window of a scope, the day so far, and the pipeline now."""

    time_seconds: float
    scope: str
    window_seconds: int
    performance: Performance
    cache: Cache
    today: Day
    queue: Queue
    scaling: ScalingNow
    workers: list[Worker]
    gpus: list[GpuEnergy]
    late_events: int
    overflow_events: int
    dropped_windows: int
    rejected_events: dict[str, int]
    old_events: int
    accepted_gaps: int
    partitions: Coverage
    breached: list[VerdictRow]


class Window(Struct):
    """One window side by side with its neighbours. `partial`: this process may not have seen all of it. Money is as in
    the days of the ledger: null where nothing has a price."""

    scope: str
    window_seconds: int
    start_seconds: float
    end_seconds: float
    state: Literal["open", "closed"]
    partial: bool
    closed_seconds: float | None
    events: int
    batches: int
    cache_hits: int
    duplicates: int
    misses: int
    cache_hit_rate_pct: float | None
    token_hit_rate_pct: float | None
    tokens_received: int
    tokens_embedded: int
    tokens_saved: int
    duplicate_tokens: int
    cost_nano_usd: int | None
    saved_nano_usd: int | None
    cost_state: MoneyState
    saved_state: MoneyState
    unpriced_tokens: int
    unpriced_saved_tokens: int
    performance: Performance


class Windows(Struct):
    """The newest first."""

    scope: str
    window_seconds: int
    lengths: list[int]
    grace_seconds: float
    late_events: int
    windows: list[Window]


class PartitionLag(Struct):
    """The newest sample of one partition; null: it could not be read, and `reason` says why."""

    partition: int
    status: LagStatus
    reason: str | None
    sample_seconds: float
    sample_age_seconds: float
    log_end_offset: int | None
    committed_offset: int | None
    lag_messages: int | None
    lag_texts: int | None
    oldest_age_seconds: float | None
    arrival_rate_per_s: float | None
    consume_rate_per_s: float | None
    drain_seconds: float | None


class Lag(Struct):
    time_seconds: float
    group: str
    topic: str
    status: LagStatus
    reason: str | None
    partitions: list[PartitionLag]


class Scaling(ScalingNow):
    """What is asked for, and what it goes by; messages a second unless the name says texts."""

    time_seconds: float
    group: str
    topic: str
    status: LagStatus
    reason: str | None
    lag_seconds: float | None
    lag_messages: int | None
    depth_texts: int | None
    arrival_rate_per_s: float | None
    consume_rate_per_s: float | None
    drain_seconds: float | None
    partitions: int
    stalled_partitions: int | None
    workers: int
    throughput_texts_per_s: float | None
    consume_rate_per_worker_per_s: float | None
    throughput_texts_per_worker_per_s: float | None
    decisions: list[ScalingDecision]


class Scopes(Struct):
    """Keys as the parameter `scope` takes them."""

    scopes: list[str]


class Index(Struct):
    embedwatch: str
    paths: list[str]


class Health(Struct):
    status: str


class Ready(Struct):
    """Whether the numbers can be relied on, and if not, why."""

    ready: bool
    reasons: list[str]


class Problem(Struct):
    """What was wrong with the request. `known`: the parameters, paths or methods that there are."""

    error: str
    parameter: str | None
    known: list[str]


class BaselineAnswer(Struct):
    """Sums of the window that ends at `time_seconds`, by scope."""

    time_seconds: float
    window_seconds: int
    scopes: dict[str, Numbers]
