"""From what was read to a report. Pure: `now` and `today` go in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from embedwatch.errors import InputError, InvalidEvent
from embedwatch.events import PHASES, WORKING_PHASES, ScalingEvent, WindowEvent
from embedwatch.pricing import known_nano_usd
from embedwatch.reports import advice
from embedwatch.reports.groups import Names, grouped, has_overflow
from embedwatch.reports.kept import KeptDay, Sums
from embedwatch.reports.model import (
    AlertsInfo,
    BudgetInfo,
    Comparison,
    Forecast,
    LatencyRow,
    Measured,
    MissingDay,
    PeriodInfo,
    PhaseRow,
    Report,
    Row,
    ScalingInfo,
)
from embedwatch.reports.period import Period
from embedwatch.reports.words import counted
from embedwatch.scopes import ALL, Scope, parse_scope, scope_key
from embedwatch.sketch import Sketch

#: Points of latency over time; hours of a day, days of a longer period.
DIMENSIONS = ("day", "model", "tenant")


@dataclass(frozen=True, slots=True)
class DailyBudget:
    rule: str
    daily_nano_usd: int
    built_in: bool = False


@dataclass(slots=True)
class Known:
    """All that could be read. `days` are those of the period and of the one before it, by date."""

    timezone: str
    today: str
    now: float
    days: Mapping[str, KeptDay]
    hours: Sequence[WindowEvent] = ()
    changes: Sequence[ScalingEvent] = ()
    alerts: AlertsInfo = field(default_factory=lambda: AlertsInfo(None, "they were not read"))
    budget: DailyBudget | None = None
    today_forecast_nano_usd: int | None = None
    notes: list[str] = field(default_factory=list)
    no_today: str = "the agents, who know it, could not be asked"


def build(known: Known, period: Period, by: Sequence[str], scope: Scope = ALL) -> Report:
    """Raises `InputError` where nothing is known of any day of the period."""
    found = {day: known.days[day] for day in period.days if day in known.days}
    missing = list(_missing(known, period))
    if not found:
        reason = " ".join([missing[-1].reason if missing else "there is no such day", *known.notes])
        raise InputError(f"nothing is known of {period.name} ({known.timezone}): {reason}")
    key = scope_key(scope)
    sums = {day: kept.scopes.get(key, Sums()) for day, kept in found.items()}
    whole = Sums.of(sums.values())
    spent = whole.cost_nano_usd
    groups = _groups(found, whole, [name for name in by if name not in dict(scope)], scope)
    total = row_of("Total", whole, spent)
    forecast = _forecast(known, period, sums, total)
    over = period.days[-1] < known.today
    report = Report(
        period=PeriodInfo(
            period.kind, period.name, period.title, period.first.isoformat(), period.last.isoformat(),
            known.timezone, len(period.days),
        ),
        scope=key,
        by=list(by),
        generated_seconds=known.now,
        complete=not missing,
        missing=missing,
        notes=list(known.notes),
        total=total,
        comparison=_comparison(known, period, key, total) if over and not missing else None,
        budget=_budget(known, period, sums, total, forecast),
        forecast=forecast,
        groups=groups,
        days=[row_of(_day_label(day, found[day]), each, spent, day=day) for day, each in sums.items()],
        allocated_seconds_by_model=_allocated(found.values(), scope),
        measured=_measured(known, period, scope, whole),
        alerts=known.alerts,
        scaling=_scaling(known.changes) if scope == ALL else None,
    )  # fmt: skip
    return replace(report, advice=advice.of(report))


def row_of(
    label: str,
    sums: Sums,
    spent_nano_usd: int,
    *,
    day: str | None = None,
    model: str | None = None,
    tenant: str | None = None,
) -> Row:
    looked_up = sums.cache_hits + sums.misses - sums.uncached_texts
    cost = known_nano_usd(sums.cost_nano_usd, sums.unpriced_tokens + sums.unsettled_texts)
    priced = 0 if sums.uncounted_texts else sums.tokens_embedded - sums.unpriced_tokens
    return Row(
        label=label,
        **{name: getattr(sums, name) for name in _PLAIN},
        cost_nano_usd=cost,
        saved_nano_usd=known_nano_usd(sums.saved_nano_usd, sums.unpriced_saved_tokens),
        hit_rate_pct=100.0 * sums.cache_hits / looked_up if looked_up else None,
        error_rate_pct=100.0 * (sums.errors - sums.cancelled_texts) / sums.texts if sums.texts else None,
        cost_share_pct=None if cost is None or not spent_nano_usd else 100.0 * cost / spent_nano_usd,
        cost_per_million_tokens_nano_usd=None if cost is None or priced <= 0 else cost * 1_000_000 // priced,
        day=day,
        model=model,
        tenant=tenant,
    )


_PLAIN = tuple(
    name for name in Row.__struct_fields__ if name in Sums.__slots__ and name not in ("cost_nano_usd", "saved_nano_usd")
)


def _missing(known: Known, period: Period) -> Iterable[MissingDay]:
    for day in period.days:
        kept = known.days.get(day)
        if day > known.today:
            yield MissingDay(day, "to_come", "the day is still to come")
        elif kept is None and day == known.today:
            yield MissingDay(day, "unknown", f"the day is not over, and {known.no_today}")
        elif kept is None:
            yield MissingDay(day, "unknown", "no record of it: no agents booked it, or it is older than what is kept")
        elif kept.running:
            yield MissingDay(day, "running", "the day is not over, or was not closed yet: these are its sums so far")
        elif kept.lacking:
            yield MissingDay(day, "partly_known", f"{counted(kept.lacking, 'partition')} said nothing of it")


def _day_label(day: str, kept: KeptDay) -> str:
    return f"{day} (so far)" if kept.running else day


def _groups(found: Mapping[str, KeptDay], whole: Sums, by: Sequence[str], scope: Scope) -> list[Row]:
    dimensions = [name for name in by if name != "day"]
    overflow = any(has_overflow(kept.scopes) for kept in found.values())
    by_day = "day" in by
    sums: dict[tuple[str | None, Names], Sums] = {}
    for day, kept in found.items():
        parts = grouped(kept.scopes, scope, dimensions)
        for names, each in parts.items():
            sums.setdefault((day if by_day else None, names), Sums()).add(each)
    rows = []
    for (day_name, names), each in sums.items():
        named = dict(zip(dimensions, names, strict=True))
        label = " / ".join(
            ([day_name] if day_name else [])
            + [_name(dimension, name, overflow, names) for dimension, name in named.items()]
        )
        rows.append(row_of(label or "everything", each, whole.cost_nano_usd, day=day_name, **named))
    # What is left has no name, and stands last.
    return sorted(
        rows,
        key=lambda row: (
            row.day or "",
            bool(dimensions) and row.model is None and row.tenant is None,
            -(row.cost_nano_usd or 0),
            -row.texts,
            row.label,
        ),
    )


def _name(dimension: str, name: str | None, overflow: bool, names: Names) -> str:
    if name is not None:
        return name
    if dimension == "tenant" and (len(names) == 1 or names[0] is not None or names[-1] is not None):
        return "(no tenant, or beyond the cap)" if overflow else "(no tenant)"
    return f"(other {dimension}s)"


def _forecast(known: Known, period: Period, sums: Mapping[str, Sums], total: Row) -> Forecast | None:
    if not period.days[0] <= known.today <= period.days[-1]:
        return None
    if total.cost_nano_usd is None:
        return Forecast(None, "nothing that was spent has a price")
    closed = {day: each for day, each in sums.items() if day < known.today}
    today = known.today_forecast_nano_usd
    if period.kind == "day":
        if today is None:
            return Forecast(None, "the agents have no forecast for today yet")
        return Forecast(today, "the agents' forecast for today")
    # Of today nothing may be known: then it is a day like those to come.
    left = [day for day in period.days if day > known.today or (day == known.today and day not in sums)]
    unknown = sum(day < known.today and day not in sums for day in period.days)
    spent = sum(each.cost_nano_usd for each in closed.values())
    if not closed:
        return Forecast(None, "no day of it is over yet")
    basis = [f"{counted(len(closed), 'day')} so far"]
    rest = 0
    if known.today in sums:
        # At night the forecast is not there yet, and what is spent says nothing of the day.
        rest = today if today is not None else max(sums[known.today].cost_nano_usd, spent // len(closed))
        basis.append("the agents' forecast for today" if today is not None else "today like those at least")
    basis.append(f"{counted(len(left), 'day')} at the mean of those")
    if unknown:
        basis.append(f"without {counted(unknown, 'day')} that {'is' if unknown == 1 else 'are'} not known")
    return Forecast(spent + rest + spent * len(left) // len(closed), ", ".join(basis))


def _budget(
    known: Known, period: Period, sums: Mapping[str, Sums], total: Row, forecast: Forecast | None
) -> BudgetInfo | None:
    budget = known.budget
    if budget is None or budget.daily_nano_usd <= 0 or total.cost_nano_usd is None:
        return None
    whole = budget.daily_nano_usd * len(period.days)
    expected = None if forecast is None else forecast.nano_usd
    return BudgetInfo(
        rule=budget.rule,
        built_in=budget.built_in,
        daily_nano_usd=budget.daily_nano_usd,
        period_nano_usd=whole,
        spent_pct=100.0 * total.cost_nano_usd / whole,
        remaining_nano_usd=whole - total.cost_nano_usd,
        days_over=[day for day, each in sums.items() if each.cost_nano_usd > budget.daily_nano_usd],
        forecast_pct=None if expected is None else 100.0 * expected / whole,
    )


def _comparison(known: Known, period: Period, key: str, total: Row) -> Comparison | None:
    before = period.before
    kept = [known.days[day] for day in before.days if day in known.days]
    if len(kept) < len(before.days) or any(each.running or each.lacking for each in kept):
        return None
    sums = Sums.of(each.scopes.get(key, Sums()) for each in kept)
    if sums.unpriced_tokens or total.unpriced_tokens or total.cost_nano_usd is None:
        return None
    cost = sums.cost_nano_usd
    change = 100.0 * (total.cost_nano_usd - cost) / cost if cost else None
    return Comparison(before.name, cost, sums.texts, change)


def _allocated(found: Iterable[KeptDay], scope: Scope) -> dict[str, float]:
    alive: Counter[str] = Counter()
    for kept in found:
        alive.update(kept.allocated_ms)
    wanted = dict(scope).get("model")
    if "tenant" in dict(scope):
        return {}
    return {model: ms / 1000.0 for model, ms in sorted(alive.items()) if wanted in (None, model)}


def _measured(known: Known, period: Period, scope: Scope, whole: Sums) -> Measured | None:
    """None where no closed hour is kept: of a model of a tenant, and of a tenant that was never one of the largest."""
    key = scope_key(scope)
    mine = [hour for hour in known.hours if hour.scope == key]
    texts = sum(hour.texts for hour in mine)
    if not texts:
        return None
    zone = ZoneInfo(known.timezone)
    by: dict[str, dict[str, list[WindowEvent]]] = {"model": {}, "tenant": {}}
    for hour in known.hours if scope == ALL else ():
        for dimension, name in parse_scope(hour.scope):
            by[dimension].setdefault(name, []).append(hour)
    over_time: dict[str, list[WindowEvent]] = {}
    for hour in mine:
        at = datetime.fromtimestamp(hour.start_seconds, UTC).astimezone(zone)
        over_time.setdefault(f"{at:%H:%M}" if period.kind == "day" else at.date().isoformat(), []).append(hour)
    wait = _merged(hour.queue_wait_sketch for hour in mine)
    embedded = sum(hour.tokens_embedded for hour in mine)
    padding = sum(hour.padding_tokens for hour in mine)
    errors: Counter[str] = Counter()
    for hour in mine:
        errors.update(hour.errors)
    return Measured(
        texts=texts,
        of_texts=whole.texts,
        phases=_phases(mine),
        latency=_latency("all", mine),
        latency_by_model=sorted(_rows(by["model"]), key=lambda row: -row.p95_ms),
        latency_over_time=_rows(over_time),
        wait_mean_ms=wait.mean(),
        wait_p95_ms=wait.quantile(0.95),
        padding_pct=100.0 * padding / (padding + embedded) if padding + embedded else None,
        truncated_texts=sum(hour.truncated_texts for hour in mine),
        cache_errors=sum(hour.cache_errors for hour in mine),
        busy_seconds=sum(hour.busy_seconds for hour in mine),
        errors_by_class=dict(errors.most_common()),
        latency_by_tenant=sorted(_rows(by["tenant"]), key=lambda row: -row.p95_ms),
    )


def _merged(sketches: Iterable[str]) -> Sketch:
    out = Sketch()
    for text in sketches:
        try:
            out.merge(Sketch.from_text(text))
        except InvalidEvent:
            continue  # of a window that nobody else can read either
    return out


def _rows(hours: Mapping[str, Sequence[WindowEvent]]) -> list[LatencyRow]:
    return [row for label, some in hours.items() if (row := _latency(label, some)) is not None]


def _latency(label: str, hours: Sequence[WindowEvent]) -> LatencyRow | None:
    sketch = _merged(hour.latency_sketch for hour in hours)
    p50, p95, p99, mean = sketch.quantile(0.5), sketch.quantile(0.95), sketch.quantile(0.99), sketch.mean()
    if p50 is None or p95 is None or p99 is None or mean is None:
        return None
    phases = _phases(hours)
    return LatencyRow(
        label=label,
        texts=sketch.count,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=mean,
        max_ms=sketch.maximum,
        slowest_phase=phases[0].phase if phases else None,
        start_seconds=hours[0].start_seconds,
    )


def _phases(hours: Sequence[WindowEvent]) -> list[PhaseRow]:
    """The slowest first. Waiting in the queue is no work, and is told apart."""
    spent = {phase: sum(getattr(hour.phase_seconds, phase) for hour in hours) for phase in PHASES}
    working = sum(spent[phase] for phase in WORKING_PHASES)
    texts = sum(hour.texts for hour in hours)
    rows = [
        PhaseRow(phase, spent[phase], 100.0 * spent[phase] / working, 1000.0 * spent[phase] / texts if texts else None)
        for phase in WORKING_PHASES
        if working
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def _scaling(changes: Sequence[ScalingEvent]) -> ScalingInfo | None:
    if not changes:
        return None
    desired = [event.desired_workers for event in changes]
    causes: dict[str, int] = dict(Counter(str(event.cause) for event in changes).most_common())
    at_capacity = sum(event.at_capacity for event in changes)
    return ScalingInfo(len(changes), min(desired), max(desired), at_capacity, causes)
