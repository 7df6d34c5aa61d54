"""The shapes of what is answered about alerts; as `answers`, which has the rest."""

from __future__ import annotations

from msgspec import Struct

from stream_agents.web.answers import VerdictRow


class AlertAct(Struct):
    """What a person did. `until_seconds` is of a snooze."""

    do: str
    by: str
    via: str
    at_seconds: float | None
    until_seconds: float | None
    note: str | None


class AlertQuiet(Struct):
    """Why nobody is told of an alert: `kind` is a silence, another alert that says it, or a snooze."""

    kind: str
    by: str
    until_seconds: float | None


class AlertState(Struct):
    """An alert as alerting sees it. `since_seconds`: when the present episode began. Numbers are of the newest breached
    verdict while it fires, else of the newest."""

    alert_id: str
    type: str
    title: str
    summary: str
    rule: str
    scope: dict[str, str]
    status: str
    reason: str
    severity: str
    metric: str
    value: float | None
    worst_value: float | None
    threshold: float
    comparison: str
    unit: str
    window_seconds: float
    verdict_reason: str
    runbook: str | None
    episode: int
    since_seconds: float
    changed_at_seconds: float
    fired_at_seconds: float | None
    resolved_at_seconds: float | None
    act: AlertAct | None
    quiet: AlertQuiet | None


class AlertTransition(Struct):
    """What an alert became, and why."""

    at_seconds: float
    alert_id: str
    type: str
    title: str
    severity: str
    scope: dict[str, str]
    status: str
    reason: str
    act: AlertAct | None


class Alerts(Struct):
    """Verdicts that are breached now, and the states of alerts. Where `states_known` is false, more alerts may fire
    than `states` has. `states_as_of_seconds`: the moment of which they are, long ago where alerting stopped; null: not
    known. `alerting_heard_seconds`: when a process of alerting was seen last by these agents; null: never."""

    time_seconds: float
    breached: list[VerdictRow]
    states_known: bool
    states_reason: str | None
    states_as_of_seconds: float | None
    alerting_heard_seconds: float | None
    states: list[AlertState]
    transitions: list[AlertTransition]
