"""What the view shows, as values with their units: read out of the answers of the agents. Pure.

Whatever is absent, of another type or not finite is None: agents of an older version do not tell everything, and what
is not known is never 0. `embedwatch top --json` prints a `View`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from console.words import clean
from embedwatch.alert_words import TITLES
from embedwatch.scopes import parse_scope

#: Of what a bug or a stranger could send without end.
MAX_ROWS = 1000
MAX_TEXT_CHARS = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers of one moment, as they came. `alerts` and `history` are None where the agents have no such path."""

    summary: Mapping[str, Any]
    ready: bool
    not_ready_reasons: Sequence[str] = ()
    alerts: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # rows, the oldest first


class Percentiles(Struct, frozen=True):
    p50: float | None
    p95: float | None
    p99: float | None


class Errors(Struct, frozen=True):
    """Share of the texts in percent, by class the largest first."""

    rate_pct: float | None
    count: int | None
    by_class_pct: dict[str, float]


class Budget(Struct, frozen=True):
    """The one of which most is spent; `others` are not shown. `remaining_usd` is below 0 when overspent."""

    rule: str
    budget_usd: float | None
    remaining_usd: float | None
    spent_pct: float | None
    forecast_pct: float | None
    others: int


class Money(Struct, frozen=True):
    """Of the day. `unpriced_tokens` are in no sum: they have no price."""

    day: str
    timezone: str
    spent_usd: float | None
    unpriced_tokens: int
    saved_usd: float | None
    savings_pct: float | None
    forecast_usd: float | None
    forecast_reason: str
    budget: Budget | None


class Cache(Struct, frozen=True):
    hit_rate_pct: float | None
    token_hit_rate_pct: float | None
    available: bool | None
    reason: str


class Queue(Struct, frozen=True):
    status: str
    reason: str
    depth_texts: int | None
    lag_seconds: float | None
    drain_seconds: float | None


class Scaling(Struct, frozen=True):
    """Numbers are None where nothing is decided; `reason` says why, or why this many."""

    running_workers: int | None
    desired_workers: int | None
    wanted_workers: int | None
    limited_by: str | None
    reason: str
    decision_seconds: float | None


class Gpu(Struct, frozen=True):
    """`missing`: why a reading is None."""

    label: str
    utilization_pct: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    power_watts: float | None
    missing: str


class Worker(Struct, frozen=True):
    name: str
    model: str
    state: str
    silent_seconds: float | None
    in_flight_texts: int | None
    gpus: list[Gpu]


class Alert(Struct, frozen=True):
    """`status`: firing, acknowledged, snoozed, pending, no_data or resolved; `breached` where only the rule's judgement
    is known. `episode` is needed to acknowledge it; None: it cannot be. `until_seconds` is of a snooze; `quiet` says
    what keeps others from being told: a silence, another alert."""

    alert_id: str
    title: str
    scope: str
    status: str
    severity: str
    value: float | None
    threshold: float | None
    unit: str
    since_seconds: float | None
    who: str
    episode: int | None
    until_seconds: float | None = None
    quiet: str = ""
    summary: str = ""


class Point(Struct, frozen=True):
    """A stretch of the last hour that is over."""

    start_seconds: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    texts_per_s: float | None
    tokens_per_s: float | None


class View(Struct, frozen=True):
    """Everything on the screen but what the person in front of it chose. Times are those of the agents."""

    agents_url: str
    time_seconds: float | None
    ready: bool
    not_ready_reasons: list[str]
    scope: str
    window_seconds: int
    latency_ms: Percentiles
    throughput_texts_per_s: float | None
    throughput_tokens_per_s: float | None
    texts: int | None
    errors: Errors
    money: Money
    cache: Cache
    queue: Queue
    scaling: Scaling
    workers: list[Worker]
    alerts: list[Alert]
    alert_states_known: bool
    alert_states_reason: str
    history: list[Point]


def view(agents_url: str, reading: Reading) -> View:
    data = reading.summary
    performance = _map(data.get("performance"))
    known, why, alerts = _alerts(data, reading.alerts)
    return View(
        agents_url=agents_url,
        time_seconds=_number(data.get("time_seconds")),
        ready=reading.ready,
        not_ready_reasons=[_text(reason) for reason in reading.not_ready_reasons],
        scope=_text(data.get("scope")) or "all",
        window_seconds=_count(data.get("window_seconds")) or 0,
        latency_ms=_percentiles(performance.get("latency_ms")),
        throughput_texts_per_s=_number(performance.get("throughput_texts_per_s")),
        throughput_tokens_per_s=_number(performance.get("throughput_tokens_per_s")),
        texts=_count(performance.get("texts")),
        errors=_errors(performance),
        money=_money(_map(data.get("today"))),
        cache=_cache(_map(data.get("cache"))),
        queue=_queue(_map(data.get("queue"))),
        scaling=_scaling(_map(data.get("scaling"))),
        workers=[_worker(_map(row)) for row in _rows(data.get("workers"))],
        alerts=alerts,
        alert_states_known=known,
        alert_states_reason=why,
        # A stretch that has just begun is a few batches over a second or two: its rate would dwarf all others.
        history=[_point(row) for row in reading.history if not (row.get("open") or row.get("state") == "open")],
    )


def scope_words(key: str) -> str:
    """A scope for people: "all", "model bge, tenant acme"."""
    try:
        parts = parse_scope(key)
    except ValueError:
        return clean(key)
    return ", ".join(f"{dimension} {clean(value)}" for dimension, value in parts) or "all"


def _percentiles(found: Any) -> Percentiles:
    row = _map(found)
    return Percentiles(_number(row.get("p50")), _number(row.get("p95")), _number(row.get("p99")))


def _errors(performance: Mapping[str, Any]) -> Errors:
    shares = {
        _text(name): share
        for name, value in _map(performance.get("error_rate_pct_by_class")).items()
        if (share := _number(value)) is not None and share > 0
    }
    ordered = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return Errors(_number(performance.get("error_rate_pct")), _count(performance.get("errors")), ordered)


def _money(day: Mapping[str, Any]) -> Money:
    return Money(
        day=_text(day.get("day")),
        timezone=_text(day.get("timezone")),
        spent_usd=_number(day.get("cost_usd")),
        unpriced_tokens=_count(day.get("unpriced_tokens")) or 0,
        saved_usd=_number(day.get("saved_usd")),
        savings_pct=_number(day.get("savings_pct")),
        forecast_usd=_number(day.get("forecast_usd")),
        forecast_reason=_text(day.get("forecast_reason")),
        budget=_budget(_rows(day.get("budgets"))),
    )


def _budget(rows: Sequence[Mapping[str, Any]]) -> Budget | None:
    """Where of none is known how much is spent, the first."""
    if not rows:
        return None
    row = max(rows, key=lambda each: _number(each.get("spent_pct")) or 0.0)
    return Budget(
        rule=_text(row.get("rule")),
        budget_usd=_number(row.get("budget_usd")),
        remaining_usd=_number(row.get("remaining_usd")),
        spent_pct=_number(row.get("spent_pct")),
        forecast_pct=_number(row.get("forecast_pct")),
        others=len(rows) - 1,
    )


def _cache(row: Mapping[str, Any]) -> Cache:
    available = row.get("available")
    return Cache(
        hit_rate_pct=_number(row.get("hit_rate_pct")),
        token_hit_rate_pct=_number(row.get("token_hit_rate_pct")),
        available=available if isinstance(available, bool) else None,
        reason=_text(row.get("reason")),
    )


def _queue(row: Mapping[str, Any]) -> Queue:
    return Queue(
        status=_text(row.get("status")) or "UNKNOWN",
        reason=_text(row.get("reason")),
        depth_texts=_count(row.get("depth_texts")),
        lag_seconds=_number(row.get("lag_seconds")),
        drain_seconds=_number(row.get("drain_seconds")),
    )


def _scaling(row: Mapping[str, Any]) -> Scaling:
    limit = row.get("limited_by")
    return Scaling(
        running_workers=_count(row.get("running_workers")),
        desired_workers=_count(row.get("desired_workers")),
        wanted_workers=_count(row.get("wanted_workers")),
        limited_by=None if limit is None else _text(limit),
        reason=_text(row.get("desired_workers_reason")) or ("" if row else "these agents do not tell"),
        decision_seconds=_number(row.get("decision_seconds")),
    )


def _worker(row: Mapping[str, Any]) -> Worker:
    return Worker(
        name=_text(row.get("worker")),
        model=_text(row.get("model")),
        state=_text(row.get("state")),
        silent_seconds=_number(row.get("silent_seconds")),
        in_flight_texts=_count(row.get("in_flight_texts")),
        gpus=[_gpu(_map(gpu)) for gpu in _rows(row.get("gpus"))],
    )


def _gpu(row: Mapping[str, Any]) -> Gpu:
    index, name = _count(row.get("index")), _text(row.get("name"))
    shown = ("utilization_pct", "memory_used_bytes", "power_watts")
    missing = {_text(field): _text(why) for field, why in _map(row.get("missing")).items() if field in shown}
    return Gpu(
        label=" ".join(part for part in ("" if index is None else str(index), name) if part),
        utilization_pct=_number(row.get("utilization_pct")),
        memory_used_bytes=_number(row.get("memory_used_bytes")),
        memory_total_bytes=_number(row.get("memory_total_bytes")),
        power_watts=_number(row.get("power_watts")),
        missing=_text(row.get("unavailable"))
        or "; ".join(dict.fromkeys(f"{_FIELDS.get(field, field)}: {why}" for field, why in missing.items())),
    )


_FIELDS = {"utilization_pct": "use", "memory_used_bytes": "memory", "power_watts": "power"}


def _alerts(summary: Mapping[str, Any], answer: Mapping[str, Any] | None) -> tuple[bool, str, list[Alert]]:
    """(whether the states of all alerts are known, why not, the alerts).

    Where they are not, a rule that is breached may be an alert of which nothing was heard: it is shown as that.
    """
    found = _map(answer)
    states = [_state(row) for row in _rows(found.get("states")) if row.get("status") != "inactive"]
    known = found.get("states_known") is True
    if known:
        return True, "", states
    breached = found.get("breached") if answer is not None else summary.get("breached")
    heard = {row.alert_id for row in states}
    rest = [_breach(row) for row in _rows(breached) if row.get("alert_id") not in heard]
    return False, _text(found.get("states_reason")) or "these agents tell what rules judge", [*states, *rest]


def _state(row: Mapping[str, Any]) -> Alert:
    status = _text(row.get("status"))
    act, quiet = _map(row.get("act")), _map(row.get("quiet"))
    taken = status in ("acknowledged", "snoozed")
    kind = _text(quiet.get("kind")).replace("_", " ")
    by = _text(quiet.get("by"))
    return Alert(
        alert_id=_raw(row.get("alert_id")),
        title=_title(row),
        scope=_scope(row.get("scope")),
        status=status,
        severity=_text(row.get("severity")),
        value=_number(row.get("value")),
        threshold=_number(row.get("threshold")),
        unit=_text(row.get("unit")),
        since_seconds=_number(row.get("since_seconds")),
        who=_text(act.get("by")) if taken else "",
        episode=_count(row.get("episode")),
        until_seconds=_number(act.get("until_seconds")) if status == "snoozed" else None,
        quiet=f"{kind} {by}".strip() if kind and not taken else "",
        summary=_text(row.get("summary")),
    )


def _breach(row: Mapping[str, Any]) -> Alert:
    return Alert(
        alert_id=_raw(row.get("alert_id")),
        title=_title(row),
        scope=_scope(row.get("scope")),
        status="breached",
        severity=_text(row.get("severity")),
        value=_number(row.get("value")),
        threshold=_number(row.get("threshold")),
        unit=_text(row.get("unit")),
        since_seconds=None,
        who="",
        episode=None,
        summary=_text(row.get("reason")),
    )


def _title(row: Mapping[str, Any]) -> str:
    kind = _text(row.get("type"))
    known = next((title for name, title in TITLES.items() if name == kind), "")
    return _text(row.get("title")) or known or kind.replace("_", " ").lower() or "alert"


def _scope(found: Any) -> str:
    return ", ".join(f"{_text(name)} {_text(value)}" for name, value in _map(found).items())


def _point(row: Mapping[str, Any]) -> Point:
    """Of `/api/v1/history`, or a window of `/api/v1/windows`, which has its numbers one level deeper."""
    found = _map(row.get("performance")) or row
    latency = _percentiles(found.get("latency_ms"))
    return Point(
        start_seconds=_number(row.get("start_seconds")),
        p50_ms=latency.p50,
        p95_ms=latency.p95,
        p99_ms=latency.p99,
        texts_per_s=_number(found.get("throughput_texts_per_s")),
        tokens_per_s=_number(found.get("throughput_tokens_per_s")),
    )


def _map(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _rows(found: Any) -> list[Mapping[str, Any]]:
    return [row for row in found[:MAX_ROWS] if isinstance(row, Mapping)] if isinstance(found, list) else []


def _number(found: Any) -> float | None:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def _count(found: Any) -> int | None:
    number = _number(found)
    return None if number is None else int(number)


def _raw(found: Any) -> str:
    """An id is told back to the agents as it came."""
    return found if isinstance(found, str) else ""


def _text(found: Any) -> str:
    return "" if found is None else clean(str(found)[:MAX_TEXT_CHARS])
