"""The table of `embedwatch alerts list`."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from alerting.receivers import utc
from alerting.states import AlertState, Status
from alerting.wording import clean, quantity

#: The longest id: one that is cut cannot be looked up.
NAME_CHARS = 1000
_ORDER: tuple[Status, ...] = ("firing", "no_data", "acknowledged", "snoozed", "pending", "resolved", "inactive")
_RANK = {status: rank for rank, status in enumerate(_ORDER)}
_STYLE: dict[Status, str] = {
    "firing": "bold red",
    "no_data": "yellow",
    "acknowledged": "cyan",
    "snoozed": "cyan",
    "pending": "yellow",
    "resolved": "green",
}


def in_order(states: Iterable[AlertState]) -> list[AlertState]:
    """What fires first, the newest change first within a status."""
    return sorted(states, key=lambda s: (_RANK[s.status], -s.changed_at_seconds, s.alert_id))


def as_table(states: Iterable[AlertState]) -> Table:
    table = Table()
    for name in ("status", "severity", "alert", "value", "limit", "since", "not delivered"):
        table.add_column(name, no_wrap=name == "since")  # a moment in four lines cannot be read
    for state in states:
        verdict = state.verdict
        style = _STYLE.get(state.status, "")
        table.add_row(
            f"[{style}]{_status(state)}[/]" if style else _status(state),
            verdict.severity,
            escape(clean(state.alert_id, NAME_CHARS)),
            escape(quantity(verdict.value, clean(verdict.unit, 20))),
            escape(quantity(verdict.threshold, clean(verdict.unit, 20))),
            utc(state.changed_at_seconds),
            escape(undelivered(state)),
        )
    return table


def _status(state: AlertState) -> str:
    """With who took it on, and with what keeps it quiet."""
    if state.status in ("acknowledged", "snoozed") and state.act is not None:
        until = f" until {utc(state.act.until_seconds)}" if state.act.until_seconds is not None else ""
        return escape(f"{state.status}{until} by {clean(state.act.by, 60)}")
    if state.quiet is not None:
        return f"{state.status} ({state.quiet.kind})"
    return f"{state.status} (flapping)" if state.flapping is not None else state.status


def undelivered(state: AlertState) -> str:
    """What is owed to whom, and why it could not go out."""
    parts = []
    for receiver in dict.fromkeys(owed.receiver for owed in state.owed):
        kinds = ", ".join(owed.kind for owed in state.owed if owed.receiver == receiver)
        trouble = state.troubles.get(receiver)
        parts.append(f"{receiver}: {kinds}" + (f" ({trouble})" if trouble else ""))
    return "; ".join(parts)
