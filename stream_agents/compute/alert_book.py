"""The states of the alerts, as far as they were read from their topic. Pure, bounded."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from embedwatch.alert_view import ACTIVE, AlertView, decode, term_of
from embedwatch.errors import InvalidEvent

#: Alerts remembered. Above it those that were over first are forgotten.
MAX_ALERTS = 5000
#: Keys whose last term is remembered, forgotten alerts included.
MAX_TERMS = 4 * MAX_ALERTS
SHOWN_STATES = 1000
SHOWN_TRANSITIONS = 200
#: Longest silence of the broker while what was read last still counts as known.
STALE_SECONDS = 30.0

#: Without a process of alerting for so long, nobody is taken to go on with the alerts: a restart takes less.
ABSENT_SECONDS = 30.0

_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


class AlertBook:
    """Give it every record in order, and say when the end was reached and when there is trouble."""

    def __init__(self) -> None:
        self._views: dict[str, AlertView] = {}
        self._terms: dict[str, int] = {}
        self._unread: set[str] = set()
        self._forgotten = 0
        self._ended = False
        self._trouble: str | None = None
        self._heard_seconds: float | None = None
        #: When alerting was seen last, and since when it is not; None: never, or it is not known.
        self._alerting_seconds: float | None = None
        self._absent_since: float | None = None

    def take(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] | None = None) -> None:
        """One record. None as value: the alert is forgotten. A later one in an earlier term does not count."""
        name = (key or b"").decode("utf-8", "replace")
        term = term_of(headers)
        if term is not None:
            if term < self._terms.get(name, 0):
                return
            self._terms.pop(name, None)
            self._terms[name] = term
            if len(self._terms) > MAX_TERMS:
                del self._terms[next(iter(self._terms))]
        if value is None:
            self._views.pop(name, None)
            self._unread.discard(name)
            return
        try:
            view = decode(value)
        except InvalidEvent:
            self._views.pop(name, None)
            if len(self._unread) < MAX_ALERTS:
                self._unread.add(name)
            return
        self._unread.discard(name)
        if view is not None:
            self._views.pop(name, None)
            self._views[name] = view
            if len(self._views) > MAX_ALERTS:
                self._forget_one()

    def _forget_one(self) -> None:
        over = (name for name, view in self._views.items() if view.status not in (*ACTIVE, "pending"))
        name = next(over, None)
        if name is None:  # as many alerts fire: one is missing from here on
            name = next(iter(self._views))
            self._forgotten += 1
        del self._views[name]

    def ended(self) -> None:
        """All that there was has been read."""
        self._ended = True

    def heard(self, now: float) -> None:
        """The broker answered: what is here is what there is."""
        self._heard_seconds = now
        self._trouble = None

    def silent_seconds(self, now: float) -> float | None:
        """How long the broker has not answered; None: it was not heard of yet."""
        return None if self._heard_seconds is None else now - self._heard_seconds

    def troubled(self, reason: str) -> None:
        """The topic cannot be read now."""
        self._trouble = reason

    def alerting(self, members: int | None, now: float) -> None:
        """How many processes the group of alerting has; None: that could not be asked."""
        if members:
            self._alerting_seconds, self._absent_since = now, None
        elif members == 0 and self._absent_since is None:
            self._absent_since = now if self._alerting_seconds is None else self._alerting_seconds

    def absent(self, now: float) -> bool:
        """Nobody goes on with the alerts: they stand as they were left."""
        return self._absent_since is not None and now - self._absent_since > ABSENT_SECONDS

    def as_of_seconds(self, now: float) -> float | None:
        """The moment of which the states are; None: not known, as alerting was never seen or its topic never read."""
        if self._heard_seconds is None or not self.absent(now):
            return self._heard_seconds
        return None if self._alerting_seconds is None else min(self._heard_seconds, self._alerting_seconds)

    def doubt(self, now: float) -> str | None:
        """Why these are not all alerts as they are now; None when they are."""
        if self._trouble is not None:
            return self._trouble
        if not self._ended or self._heard_seconds is None:
            return "the topic of alerts has not been read to its end yet"
        if now - self._heard_seconds > STALE_SECONDS:
            return f"the broker has not answered for {now - self._heard_seconds:.0f} s: alerts are as they were then"
        if self.absent(now):
            since = "" if self._alerting_seconds is None else f" since {_clock(self._alerting_seconds)}"
            left = "the states are as it left them" if self._views else "it has left no state"
            return f"alerting is not heard{since}: no process of it runs, {left}"
        if self._unread:
            return f"{len(self._unread):,} alerts cannot be read: they may be of a newer version of alerting"
        if self._forgotten:
            return f"more than {MAX_ALERTS:,} alerts are active: {self._forgotten:,} of them are not here"
        return None

    def rows(self, now: float) -> dict[str, Any]:
        """States, those that fire first; transitions, the newest first."""
        doubt = self.doubt(now)
        views = heapq.nsmallest(SHOWN_STATES, self._views.values(), key=_order)
        changes = heapq.nlargest(
            SHOWN_TRANSITIONS,
            ((view, change) for view in self._views.values() for change in view.history),
            key=lambda pair: (pair[1].at_seconds, pair[0].alert_id),
        )
        return {
            "states_known": doubt is None,
            "states_reason": doubt,
            "states_as_of_seconds": self.as_of_seconds(now),
            "alerting_heard_seconds": self._alerting_seconds,
            "states": [_state(view) for view in views],
            "transitions": [
                {
                    "at_seconds": change.at_seconds,
                    "alert_id": view.alert_id,
                    "type": view.verdict.alert_type,
                    "title": view.title,
                    "severity": view.verdict.severity,
                    "scope": view.verdict.scope,
                    "status": change.status,
                    "reason": change.reason,
                    "act": None if change.act is None else msgspec.structs.asdict(change.act),
                }
                for view, change in changes
            ],
        }


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _order(view: AlertView) -> tuple[int, int, float, str]:
    group = 0 if view.active else 1 if view.status == "pending" else 2
    severity = _SEVERITIES.get(view.verdict.severity, len(_SEVERITIES)) if group < 2 else 0
    return group, severity, -view.changed_at_seconds, view.alert_id


def _state(view: AlertView) -> dict[str, Any]:
    shown = view.shown
    return {
        "alert_id": view.alert_id,
        "type": view.verdict.alert_type,
        "title": view.title,
        "summary": view.summary,
        "rule": view.verdict.rule,
        "scope": view.verdict.scope,
        "status": view.status,
        "reason": view.reason,
        "severity": view.verdict.severity,
        "metric": shown.metric,
        "value": shown.value,
        "worst_value": view.worst_value,
        "threshold": shown.threshold,
        "comparison": shown.comparison,
        "unit": shown.unit,
        "window_seconds": shown.window_seconds,
        "verdict_reason": shown.reason,
        "runbook": shown.runbook,
        "episode": view.episode,
        "since_seconds": view.since_seconds,
        "changed_at_seconds": view.changed_at_seconds,
        "fired_at_seconds": view.fired_at_seconds,
        "resolved_at_seconds": view.resolved_at_seconds,
        "act": None if view.act is None else msgspec.structs.asdict(view.act),
        "quiet": None if view.quiet is None else msgspec.structs.asdict(view.quiet),
    }
