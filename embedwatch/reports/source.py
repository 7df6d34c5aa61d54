"""Where a report gets its numbers: closed days and alerts from their topics, today from the agents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from embedwatch.errors import ConfigError, ConnectionFailed, EmbedwatchError
from embedwatch.events import NANO_USD_PER_USD
from embedwatch.reports.alerts import Seen
from embedwatch.reports.build import DailyBudget, Known
from embedwatch.reports.kept import FIELDS, Kept, KeptDay, Sums
from embedwatch.reports.model import AlertsInfo
from embedwatch.reports.period import Period
from embedwatch.scopes import Scope, scope_key
from embedwatch.settings import Settings

#: A broker that is away is not waited for longer.
ASK_SECONDS = 5.0


class Agents(Protocol):
    """What is asked of `AgentsApi`."""

    def ledger(self, scope: str = "all") -> dict[str, Any]: ...

    def ledger_day(self, day: str) -> dict[str, Any]: ...

    def ready(self) -> tuple[bool, list[str]]: ...


class Topics(Protocol):
    """Reads records of a topic that were written since a moment, in order."""

    def read(self, topic: str, since_seconds: float, take: Callable[[Any], None]) -> None:
        """Raises `EmbedwatchError` where it cannot be read."""


class KafkaTopics:
    def __init__(self, settings: Settings, told: Callable[[str, float | None], object] = lambda *_: None) -> None:
        """`told` is called with the name of what is read and how much of it is, in percent."""
        self._told = told
        # Stages wait longer, for a broker that starts beside them.
        patience_seconds = min(settings.kafka.connect_timeout_seconds, ASK_SECONDS)
        self._kafka = settings.kafka.model_copy(update={"connect_timeout_seconds": patience_seconds})

    def read(self, topic: str, since_seconds: float, take: Callable[[Any], None]) -> None:
        from embedwatch import kafka
        from embedwatch.reading import TopicReader

        # What was written before that is about days before. A broker that cannot tell the place is read from the start.
        starts = kafka.offsets_since(self._kafka, topic, since_seconds)
        with TopicReader(self._kafka, topic, starts=starts) as reader:
            for records in reader.batches(lambda done_pct: self._told(topic, done_pct)):
                for record in records:
                    take(record)


def gather(
    settings: Settings, agents: Agents, topics: Topics, choose: Callable[[date], Period], now: float, scope: Scope,
    timezone: str | None = None,
) -> tuple[Known, Period]:  # fmt: skip
    """All that is known of a period and the one before. `choose` says which one, given what day it is.

    Raises `ConfigError` for a zone that is not the agents', `ConnectionFailed` where neither agents nor broker answer.
    """
    ledger, away = _asked(agents, scope)
    whose = settings.agents.app_id if ledger is None else ledger.get("app_id", settings.agents.app_id)
    if whose != settings.agents.app_id:
        raise ConfigError(
            f"the agents that were asked are those of --app-id {whose}, and the report is of {settings.agents.app_id}: "
            f"say --app-id {whose}, or name the other agents with --agents-url"
        )
    zone = settings.budget.timezone if ledger is None else str(ledger["timezone"])
    if timezone is not None and timezone != zone:
        if ledger is not None or "timezone" in settings.budget.model_fields_set:
            raise ConfigError(
                f"the agents book by days of {zone}, not of {timezone!r:.60}: leave out --tz, or start them with "
                "another EMBEDWATCH_BUDGET_TIMEZONE"
            )
        zone = timezone
    today = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    if ledger is not None and ledger.get("today"):
        today = date.fromisoformat(str(ledger["today"]))
    period = choose(today)
    wanted = [*period.before.days, *period.days]
    kept = Kept(settings.agents.app_id, zone, wanted)
    begin, end = _begin(period.first, zone), _begin(period.last + timedelta(days=1), zone)
    notes: list[str] = []
    no_broker = ""
    try:
        topics.read(
            settings.topics.days,
            _begin(period.before.first, zone),
            lambda record: kept.take(record.key, record.value, (begin, end)),
        )
    except EmbedwatchError as error:
        if ledger is None:
            raise ConnectionFailed(f"{away}; and closed days cannot be read: {error}") from None
        notes.append(f"Closed days could not be read ({error}); of these only those are known that the agents keep.")
        no_broker = str(error) if isinstance(error, ConnectionFailed) else ""
    days = kept.closed_days()
    _add_agents_days(agents, ledger, days, wanted)
    if ledger is not None:
        ready, reasons = agents.ready()
        if not ready and today.isoformat() in period.days:
            notes.append(f"The agents are not ready ({'; '.join(reasons)}): the numbers of today may be partial.")
    if kept.refused:
        notes.append(f"{kept.refused:,} records of closed days cannot be read by this version, and are left out.")
    if kept.other_zones:
        notes.append(f"Records of days of {', '.join(sorted(kept.other_zones))} are left out: a day is one of {zone}.")
    known = Known(
        timezone=zone,
        today=today.isoformat(),
        now=now,
        days=days,
        hours=list(kept.hours()),
        changes=kept.changes(),
        alerts=AlertsInfo(None, no_broker) if no_broker else _alerts(settings, topics, begin, min(end, now), scope),
        budget=_budget(settings, ledger, scope),
        notes=notes,
        no_today=away or "the agents do not have it yet",
    )
    row = _row_of(ledger, today.isoformat())
    if row is not None and row.get("forecast_usd") is not None:
        known.today_forecast_nano_usd = round(row["forecast_usd"] * NANO_USD_PER_USD)
    return known, period


def _asked(agents: Agents, scope: Scope) -> tuple[dict[str, Any] | None, str]:
    """The ledger of a scope; None, and why, where the agents do not answer."""
    try:
        return agents.ledger(scope_key(scope)), ""
    except ConnectionFailed as error:
        return None, str(error)


def _begin(day: date, timezone: str) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).timestamp()


def _row_of(ledger: Mapping[str, Any] | None, day: str) -> dict[str, Any] | None:
    rows = () if ledger is None else ledger.get("rows", ())
    found: dict[str, Any] | None = next((row for row in rows if row["day"] == day), None)
    return found


def _add_agents_days(
    agents: Agents, ledger: Mapping[str, Any] | None, days: dict[str, KeptDay], wanted: Collection[str]
) -> None:
    """Today, and what is over and not on the topic yet, as the agents have it."""
    if ledger is None:
        return
    today = ledger.get("today")
    # Nothing was booked on it yet: that is known.
    for day in {*ledger.get("days", ()), today} & set(wanted):
        known = days.get(day)
        if known is not None and not known.lacking and day != today:
            continue
        rows = agents.ledger_day(day).get("rows", ())
        days[day] = KeptDay(day, {row["scope"]: _sums(row) for row in rows}, _alive(rows), running=True)


def _sums(row: Mapping[str, Any]) -> Sums:
    # Agents that are older do not tell everything; money that has no price is null there, and beside it what has none.
    return Sums(**{name: row.get(name) or 0 for name in FIELDS})


def _alive(rows: Collection[Mapping[str, Any]]) -> dict[str, int]:
    out = {}
    for row in rows:
        kind, _, name = str(row["scope"]).partition("=")
        if kind == "model" and "," not in name and row.get("allocated_seconds"):
            from embedwatch.scopes import parse_scope

            out[parse_scope(row["scope"])[0][1]] = round(1000 * row["allocated_seconds"])
    return out


def _budget(settings: Settings, ledger: Mapping[str, Any] | None, scope: Scope) -> DailyBudget | None:
    """The largest daily limit on this scope: the agents' own, or that of the rules file named here."""
    from embedwatch.rules import load_rules

    row = next(iter(() if ledger is None else ledger.get("rows", ())), None)
    if row is not None and "budgets" in row:
        found = [(float(budget["budget_usd"]), str(budget["rule"])) for budget in row["budgets"]]
        built_in = settings.agents.rules is None and found == [(100.0, "daily_cost_usd")]
    else:
        rules = load_rules(settings.agents.rules)
        found = [
            (rule.threshold, rule.name)
            for rule in rules
            if rule.metric == "daily_cost_usd" and tuple(sorted(rule.scope)) == scope and not rule.by
        ]
        built_in = settings.agents.rules is None
    if not found:
        return None
    usd, name = max(found)
    return DailyBudget(name, round(usd * NANO_USD_PER_USD), built_in)


def _alerts(settings: Settings, topics: Topics, begin: float, end: float, scope: Scope) -> AlertsInfo:
    seen = Seen(begin, end, scope)
    try:
        topics.read(settings.topics.alerts, 0.0, lambda record: seen.take(record.value))
    except EmbedwatchError as error:
        return AlertsInfo(None, str(error))
    return AlertsInfo(seen.rows())
