"""One cause, one message: an alert that says it keeps quiet those that only follow from it. Pure; a table.

An alert that is silenced, snoozed or acknowledged keeps quiet what follows from it all the same: who knows of the
cause, or does not want to hear of it, does not want to hear of the consequence. What was told before keeps its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.quiet import Quiet
from alerting.states import AlertState
from embedwatch.events import AlertType, Verdict

#: What follows from what: within the scope of the cause, which may be the whole pipeline.
FOLLOWS: dict[AlertType, tuple[AlertType, ...]] = {
    # A worker that is gone does nothing, and its GPU neither.
    "WORKER_DOWN": ("LOW_THROUGHPUT", "LOW_GPU_UTILIZATION"),
    # Nothing is heard of the work: what is low is not known to be, and what piles up has its cause there.
    "NO_DATA": (
        "WORKER_DOWN",
        "LOW_THROUGHPUT",
        "LOW_GPU_UTILIZATION",
        "LOW_CACHE_HIT_RATE",
        "HIGH_LAG",
        "HIGH_QUEUE_DEPTH",
    ),
    # A partition that nobody works off: its lag and depth grow until somebody does.
    "QUEUE_STALLED": ("HIGH_LAG", "HIGH_QUEUE_DEPTH"),
    # Without a cache nothing is a hit.
    "CACHE_UNAVAILABLE": ("LOW_CACHE_HIT_RATE",),
}
#: Keeps quiet also that data is missing, of whatever alert.
OF_ALL_DATA: AlertType = "NO_DATA"


def covers(cause: Verdict, follower: Verdict) -> bool:
    """The follower's scope lies within that of the cause."""
    return all(follower.scope.get(name) == value for name, value in cause.scope.items())


class Causes:
    """The alerts that may keep others quiet: those of the table's types that are known."""

    def __init__(self) -> None:
        self._found: dict[AlertType, set[str]] = {}

    def reload(self, states: Iterable[AlertState]) -> None:
        self._found.clear()
        for state in states:
            self.add(state)

    def add(self, state: AlertState) -> None:
        if state.alert_type in FOLLOWS:
            self._found.setdefault(state.alert_type, set()).add(state.alert_id)

    def remove(self, state: AlertState) -> None:
        self._found.get(state.alert_type, set()).discard(state.alert_id)

    def quiet(self, verdict: Verdict, state: AlertState | None, states: Mapping[str, AlertState]) -> Quiet | None:
        """`state` is the alert as it stands, `states` are all alerts."""
        missing = state is not None and state.active and state.no_data_since_seconds is not None
        for kind, followers in FOLLOWS.items():
            if verdict.alert_type == kind:
                continue
            if verdict.alert_type in followers or (kind == OF_ALL_DATA and missing):
                for alert_id in sorted(self._found.get(kind, ())):
                    cause = states.get(alert_id)
                    if cause is not None and cause.active and covers(cause.verdict, verdict):
                        return Quiet("inhibited", alert_id)
        return None
