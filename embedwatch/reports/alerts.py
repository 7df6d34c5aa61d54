"""Which alerts fired in a period, from the records of the topic of alerts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedwatch import alert_view
from embedwatch.alert_view import AlertView, Judged
from embedwatch.errors import InvalidEvent
from embedwatch.reports.model import AlertRow
from embedwatch.scopes import Scope, scope_key

#: Of alerts in a period. Beyond it the newest are left out.
MAX_ALERTS = 10_000


@dataclass(slots=True)
class _Alert:
    changes: dict[float, str] = field(default_factory=dict)
    newest: AlertView | None = None


class Seen:
    """Takes in every record there is of each alert, since the newest has only its latest changes."""

    def __init__(self, begin_seconds: float, end_seconds: float, scope: Scope) -> None:
        self._begin, self._end, self._scope = begin_seconds, end_seconds, dict(scope)
        self._alerts: dict[str, _Alert] = {}
        self.refused = 0

    def take(self, value: bytes | None) -> None:
        if value is None:
            return
        try:
            view = alert_view.decode(value)
        except InvalidEvent:
            self.refused += 1
            return
        if view is None or any(view.verdict.scope.get(name) != wanted for name, wanted in self._scope.items()):
            return
        if view.alert_id not in self._alerts and len(self._alerts) >= MAX_ALERTS:
            return
        alert = self._alerts.setdefault(view.alert_id, _Alert())
        for change in view.history:
            if self._begin <= change.at_seconds < self._end:
                alert.changes[change.at_seconds] = change.status
        if alert.newest is None or view.changed_at_seconds >= alert.newest.changed_at_seconds:
            alert.newest = view

    def rows(self) -> list[AlertRow]:
        """Those that fired or were firing in the period, what is not over first, then what fired most."""
        out = []
        for alert_id, alert in self._alerts.items():
            view, changes = alert.newest, sorted(alert.changes.items())
            if view is None:
                continue
            fired = sum(
                status == "firing" and (number == 0 or changes[number - 1][1] not in alert_view.ACTIVE)
                for number, (_, status) in enumerate(changes)
            )
            through = view.active and view.since_seconds < self._end
            if not fired and not through and not any(status in alert_view.ACTIVE for _, status in changes):
                continue
            judged: Judged = view.breach or view.verdict
            out.append(
                AlertRow(
                    alert_id=alert_id,
                    title=view.title,
                    scope="" if not judged.scope else scope_key(tuple(sorted(judged.scope.items()))),
                    severity=judged.severity,
                    fired=fired,
                    first_seconds=changes[0][0] if changes else view.since_seconds,
                    last_seconds=changes[-1][0] if changes else view.changed_at_seconds,
                    active=through,
                    summary=alert_view.summary(judged),
                )
            )
        return sorted(out, key=lambda row: (not row.active, -row.fired, row.first_seconds, row.alert_id))
