"""What a report says, as data: the document of `embedwatch report --format json`, of which the others are views.

Money is integers of nano-USD (1 USD = 10**9); None where nothing has a price. Percentages are 0 to 100, times Unix
seconds. None is "not known" and never stands for 0. The JSON Schema is docs/reference/report.schema.json; a field may
be added, none is renamed or removed without another `v`.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

REPORT_VERSION = 1


class PeriodInfo(Struct, frozen=True):
    """Whole days of `timezone`, `first` and `last` included."""

    kind: str  # day, week, month
    name: str  # 2026-11-25, 2026-W47, 2026-11
    title: str
    first: str
    last: str
    timezone: str
    days: int


class MissingDay(Struct, frozen=True):
    """A day that is not in the sums, or not whole in them."""

    day: str
    state: str  # running, to_come, partly_known, unknown
    reason: str


class Row(Struct, frozen=True):
    """Exact sums of one group, one day, or everything. `label` is for people.

    A name of None is what has none of that dimension's: texts without a tenant, or names beyond the agents' cap.
    """

    label: str
    texts: int
    errors: int
    cache_hits: int
    duplicates: int
    misses: int
    tokens_received: int
    tokens_embedded: int
    tokens_saved: int
    cost_nano_usd: int | None
    saved_nano_usd: int | None
    unpriced_tokens: int
    unpriced_texts: int
    unpriced_saved_tokens: int
    late_cost_nano_usd: int
    late_texts: int
    hit_rate_pct: float | None  # of the texts that were looked up
    error_rate_pct: float | None
    cost_share_pct: float | None  # of the cost of the period
    cost_per_million_tokens_nano_usd: int | None  # of those that have a price; None beside uncounted texts
    day: str | None = None
    model: str | None = None
    tenant: str | None = None
    cancelled_texts: int = 0  # of the errors, those whose callers gave up: they are in no error rate
    unsettled_texts: int = 0  # of failed calls that may have been billed; nobody knows what
    wasted_nano_usd: int = 0  # of the cost: paid for texts that got no vector, as far as it is known
    uncounted_texts: int = 0  # that have a cost while nobody has counted their tokens
    uncached_texts: int = 0  # of the misses, those for which no cache was asked

    @property
    def looked_up(self) -> int:
        """Texts that a cache was asked for."""
        return self.cache_hits + self.misses - self.uncached_texts


class BudgetInfo(Struct, frozen=True):
    """A daily limit (`daily_cost_usd`), times the days of the period."""

    rule: str
    built_in: bool  # nobody has set it
    daily_nano_usd: int
    period_nano_usd: int
    spent_pct: float
    remaining_nano_usd: int  # below 0: overspent
    days_over: list[str]
    forecast_pct: float | None


class Forecast(Struct, frozen=True):
    """What the period will have cost when it is over, at the rate of its days so far."""

    nano_usd: int | None
    basis: str


class Comparison(Struct, frozen=True):
    """The period before, where all of it is known and this one is over."""

    name: str
    cost_nano_usd: int
    texts: int
    cost_change_pct: float | None


class PhaseRow(Struct, frozen=True):
    """Working time of the workers in one phase."""

    phase: str
    seconds: float
    share_pct: float
    per_text_ms: float | None


class LatencyRow(Struct, frozen=True):
    """Of a text, from the moment a worker began with it to its vector's acknowledgement; within 0.5 %."""

    label: str
    texts: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    max_ms: float
    slowest_phase: str | None = None
    start_seconds: float | None = None  # of a point in time


class Measured(Struct, frozen=True):
    """From closed hours, which hold what came in time: `texts` of the period's `of_texts`."""

    texts: int
    of_texts: int
    phases: list[PhaseRow]
    latency: LatencyRow | None
    latency_by_model: list[LatencyRow]
    latency_over_time: list[LatencyRow]
    wait_mean_ms: float | None
    wait_p95_ms: float | None
    padding_pct: float | None
    truncated_texts: int
    cache_errors: int
    busy_seconds: float
    errors_by_class: dict[str, int]
    #: Of the 20 tenants with the most texts of each hour: one that was not always among them has fewer texts here than
    #: in the period, one that never was is missing.
    latency_by_tenant: list[LatencyRow] = msgspec.field(default_factory=list)


class AlertRow(Struct, frozen=True):
    """An alert that fired in the period, or was active in it. `fired`: so often, as far as its history reaches."""

    alert_id: str
    title: str
    scope: str
    severity: str
    fired: int
    first_seconds: float
    last_seconds: float
    active: bool
    summary: str


class AlertsInfo(Struct, frozen=True):
    """`reason`: why they are not known, where `rows` is None."""

    rows: list[AlertRow] | None
    reason: str | None = None


class ScalingInfo(Struct, frozen=True):
    """Changes of the number of workers asked for."""

    changes: int
    fewest_workers: int
    most_workers: int
    at_capacity: int  # decisions at which more were wanted than may be had
    causes: dict[str, int]


class Advice(Struct, frozen=True):
    """What to do next, and the number it is based on. The most urgent first."""

    code: str
    severity: str  # act, look, fine
    what: str
    do: str
    value: float
    unit: str
    limit: float | None = None


class Report(Struct, frozen=True):
    period: PeriodInfo
    scope: str
    by: list[str]
    generated_seconds: float
    complete: bool  # every day of the period is known, closed and whole
    missing: list[MissingDay]
    notes: list[str]
    total: Row
    comparison: Comparison | None
    budget: BudgetInfo | None
    forecast: Forecast | None
    groups: list[Row]  # they add up to `total`
    days: list[Row]  # they add up to `total`
    allocated_seconds_by_model: dict[str, float]
    measured: Measured | None
    alerts: AlertsInfo
    scaling: ScalingInfo | None
    advice: list[Advice] = msgspec.field(default_factory=list)
    v: int = REPORT_VERSION


def schema() -> dict[str, object]:
    """JSON Schema of the document."""
    return msgspec.json.schema(Report)
