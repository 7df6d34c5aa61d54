"""One alert in lines of text, and what happened to all of them as a table. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from rich.markup import escape
from rich.table import Table

from alerting.listing import NAME_CHARS, undelivered
from alerting.message import scope
from alerting.receivers import utc
from alerting.states import Act, AlertState, Reason, Status
from alerting.wording import clean, quantity

NOTE_CHARS = 256


class Happened(Struct, frozen=True):
    """One change of one alert."""

    at_seconds: float
    alert_id: str
    status: Status
    reason: Reason
    act: Act | None


def happened(states: Iterable[AlertState], since_seconds: float) -> list[Happened]:
    """Of all alerts, oldest first."""
    found = [
        Happened(t.at_seconds, state.alert_id, t.status, t.reason, t.act)
        for state in states
        for t in state.history
        if t.at_seconds >= since_seconds
    ]
    return sorted(found, key=lambda h: (h.at_seconds, h.alert_id))


def history_table(found: Iterable[Happened]) -> Table:
    table = Table()
    for name in ("when", "alert", "became", "because", "who"):
        table.add_column(name)
    for each in found:
        name = escape(clean(each.alert_id, NAME_CHARS))
        table.add_row(utc(each.at_seconds), name, each.status, _words(each.reason), escape(_who(each.act)))
    return table


def as_lines(state: AlertState) -> list[str]:
    """For a terminal: whatever is not known is left out."""
    verdict = state.verdict
    unit = clean(verdict.unit, 20)
    value, limit = quantity(verdict.value, unit), quantity(verdict.threshold, unit)
    word = "minimum" if verdict.comparison == "<" else "limit"
    lines = [
        clean(state.alert_id, 256),
        f"  status:    {state.status} since {utc(state.changed_at_seconds)} ({_words(state.reason)})",
        f"  severity:  {verdict.severity}, {verdict.alert_type}",
        f"  value:     {value}, {word} {limit} (judged {verdict.judgement} at {utc(verdict.time_seconds)})",
        f"  scope:     {scope(verdict) or 'the whole pipeline'}",
        f"  fired:     {state.episode} times" if state.episode != 1 else "  fired:     once",
    ]
    if state.act is not None:
        lines.append(f"  by people: {_words(state.act.do)}, {_who(state.act)}")
    if state.quiet is not None:
        until = "" if state.quiet.until_seconds is None else f" until {utc(state.quiet.until_seconds)}"
        lines.append(f"  quiet:     {state.quiet.kind} ({clean(state.quiet.by, NAME_CHARS)}){until}")
    if state.flapping is not None:
        since = utc(state.flapping.since_seconds)
        lines.append(f"  flapping:  since {since}, {state.flapping.changes} changes")
    for receiver, told in sorted(state.told.items()):
        lines.append(f"  told:      {receiver}, of episode {told.episode}{', which is over' if not told.open else ''}")
    if state.owed:
        lines.append(f"  not delivered yet: {undelivered(state)}")
    lines.append("  history:")
    for each in state.history:
        who = f", {_who(each.act)}" if each.act is not None else ""
        lines.append(f"    {utc(each.at_seconds)}  {each.status} ({_words(each.reason)}){who}")
    return lines


def _who(act: Act | None) -> str:
    if act is None:
        return ""
    until = "" if act.until_seconds is None else f" until {utc(act.until_seconds)}"
    note = f": {clean(act.note, NOTE_CHARS)}" if act.note else ""
    return f"{clean(act.by, NAME_CHARS)} ({act.via}){until}{note}"


def _words(name: str) -> str:
    return name.replace("_", " ")
