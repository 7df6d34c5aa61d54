"""The shapes of what is answered about the past hour and the day; as `answers`, which has the rest."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from embedwatch.events import LagStatus
from embedwatch.pricing import MoneyState
from stream_agents.web.answers import PhaseName


class HistoryLatency(Struct):
    """In milliseconds."""

    p50: float | None
    p95: float | None
    p99: float | None
    avg: float | None


class HistoryQueueWait(Struct):
    """In milliseconds."""

    avg: float | None
    p95: float | None


class HistoryRow(Struct):
    """`open`: it is not over. `partial`: it may lack what this process did not see. Phases are in seconds, and as means
    in milliseconds a batch and a text; of the queue's wait there is no mean a batch."""

    start_seconds: float
    end_seconds: float
    open: bool
    partial: bool
    texts: int | None
    errors: int | None
    error_rate_pct: float | None
    cache_hit_rate_pct: float | None
    token_hit_rate_pct: float | None
    throughput_texts_per_s: float | None
    throughput_tokens_per_s: float | None
    latency_ms: HistoryLatency
    queue_wait_ms: HistoryQueueWait
    phase_seconds: dict[PhaseName, float | None]
    phase_ms_per_batch: dict[PhaseName, float | None]
    phase_ms_per_text: dict[PhaseName, float | None]
    tokens_embedded: int | None
    tokens_saved: int | None
    cost_nano_usd: int | None
    saved_nano_usd: int | None
    unpriced_tokens: int | None
    unpriced_saved_tokens: int | None


class History(Struct):
    """The oldest row first."""

    time_seconds: float
    scope: str
    seconds: int
    step_seconds: int
    rows: list[HistoryRow]


class QueueSample(Struct):
    time_seconds: float
    status: LagStatus
    lag_seconds: float | None
    lag_messages: int | None
    depth_texts: int | None
    drain_seconds: float | None
    arrival_rate_per_s: float | None
    consume_rate_per_s: float | None
    stalled_partitions: int | None
    workers: int | None
    desired_workers: int | None


class QueueHistory(Struct):
    """The oldest first."""

    time_seconds: float
    seconds: int
    sample_seconds: int
    rows: list[QueueSample]


class SpendPoint(Struct):
    """What was spent since midnight up to then."""

    time_seconds: float
    cost_nano_usd: int


class SpendBudget(Struct):
    rule: str
    budget_usd: float
    budget_nano_usd: int
    spent_usd: float | None


class SpendHistory(Struct):
    time_seconds: float
    scope: str
    day: str
    timezone: str
    day_start_seconds: float
    day_end_seconds: float
    points: list[SpendPoint]
    cost_nano_usd: int | None
    cost_state: MoneyState
    unpriced_tokens: int
    untimed_nano_usd: int
    forecast_nano_usd: int | None
    forecast_usd: float | None
    forecast_basis: Literal["weekday", "last_days", "linear"] | None
    forecast_reason: str
    budgets: list[SpendBudget]
