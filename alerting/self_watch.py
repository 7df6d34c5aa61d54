"""Alerting watches its own way of a message, and says by the same messages what is wrong with it. Pure.

What it finds are verdicts as the agents give them, so that all that holds for an alert holds for these: one message,
its end, silences, acknowledging. They are heard by the engine and stand on no topic; instead of an offset they have
the time. Whoever owns the first partition of the verdicts (there is one, unless somebody added some) speaks, so that
two processes never tell of one thing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from alerting.lifecycle import Heard
from alerting.states import AlertState
from embedwatch.events import AlertType, Judgement, Severity, Verdict

#: Older than this when it is read, and whoever waits for an alert waits that much longer.
BEHIND_SECONDS = 30.0
#: A pause that is not worth a word: a restart of the broker, a limit of requests.
BEHIND_FOR_SECONDS = 10.0
#: A receiver that takes nothing for so long.
FAILING_SECONDS = 300.0
#: As often as agents repeat a verdict that is not well.
REPEAT_SECONDS = 5.0
PARTITION = 0
SILENT = "agents_silent_seconds"
BEHIND = "alerting_behind_seconds"
FAILING = "receiver_failing_seconds"


@dataclass(frozen=True, slots=True)
class Watched:
    """What one of our own numbers is called and when it is too much."""

    alert_type: AlertType
    severity: Severity
    for_seconds: float = 0.0


#: Metric, scope, value, and why.
Number = tuple[str, dict[str, str], float, str]

WATCHED: dict[str, Watched] = {
    SILENT: Watched("NO_DATA", "critical"),
    BEHIND: Watched("ALERTING_BEHIND", "warning", BEHIND_FOR_SECONDS),
    FAILING: Watched("RECEIVER_FAILING", "warning"),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A receiver takes nothing: for so long, and what it said last (without secrets)."""

    seconds: float
    reason: str


class SelfWatch:
    """Times are of our monotonic clock, but where they are named `now`."""

    def __init__(self, agents_silent_seconds: float, begun: float) -> None:
        self._limits = {SILENT: agents_silent_seconds, BEHIND: BEHIND_SECONDS, FAILING: FAILING_SECONDS}
        self._heard, self._behind_seconds = begun, 0.0
        self._knows = False  # since it began: whether agents speak
        self._said: dict[str, tuple[Judgement, float]] = {}
        self._last_number = -1

    def heard(self, monotonic: float, age_seconds: float) -> None:
        """A verdict of the agents was read, that was written so long ago."""
        self._heard, self._behind_seconds, self._knows = monotonic, age_seconds, True

    def begin(self, monotonic: float) -> None:
        """Partitions were taken over: from here on silence means something. What was wrong before may be so still."""
        self._heard, self._behind_seconds, self._knows = monotonic, 0.0, False
        self._said.clear()

    def due(
        self,
        states: Mapping[str, AlertState],
        owned: frozenset[int],
        failing: Mapping[str, Trouble | None],
        now: float,
        monotonic: float,
        untried: Collection[str] = (),
    ) -> list[Heard]:
        """What is to be heard now. `failing` has every receiver; None: it works, or is among the `untried`."""
        if PARTITION not in owned:
            return []
        found = []
        unknown = {"agents"} if not self._knows else set()
        numbers: list[Number] = [(SILENT, {}, monotonic - self._heard, ""), (BEHIND, {}, self._behind_seconds, "")]
        for metric, scope, value, reason in [*numbers, *_receivers(failing, states)]:
            alert_id = "|".join(["alerting", metric, *scope.values()])
            state = states.get(alert_id)
            judgement: Judgement = "breached" if value > self._limits[metric] else "ok"
            if judgement == "ok" and (scope.get("receiver", "agents") in {*unknown, *untried}):
                judgement = "inconclusive"  # nobody has tried since: what was wrong is not known to be over
            known = state is not None and state.active
            if (judgement == "breached" or known) and self._is_due(alert_id, judgement, monotonic):
                verdict = self._verdict(alert_id, metric, scope, value, reason, judgement, now)
                found.append(Heard(verdict, PARTITION, self._number(now)))
        return found

    def _is_due(self, alert_id: str, judgement: Judgement, monotonic: float) -> bool:
        last = self._said.get(alert_id)
        if last is not None and last[0] == judgement and monotonic - last[1] < REPEAT_SECONDS:
            return False
        self._said[alert_id] = (judgement, monotonic)
        return True

    def _number(self, now: float) -> int:
        """In place of an offset: it grows also where the clock steps back."""
        self._last_number = max(self._last_number + 1, int(now * 1000))
        return self._last_number

    def _verdict(
        self,
        alert_id: str,
        metric: str,
        scope: dict[str, str],
        value: float,
        reason: str,
        judgement: Judgement,
        now: float,
    ) -> Verdict:
        watched = WATCHED[metric]
        return Verdict(
            alert_id=alert_id,
            time_seconds=now,
            rule=metric,
            alert_type=watched.alert_type,
            severity=watched.severity,
            scope=scope,
            judgement=judgement,
            metric=metric,
            threshold=self._limits[metric],
            comparison=">",
            unit="s",
            window_seconds=0.0,
            samples=1,
            value=max(value, 0.0),
            for_seconds=watched.for_seconds,
            reason=reason,
        )


def _receivers(failing: Mapping[str, Trouble | None], states: Mapping[str, AlertState]) -> list[Number]:
    """Those there are, and those that were taken out of the settings while they failed: that is over."""
    found: list[Number] = [
        (FAILING, {"receiver": name}, trouble.seconds if trouble else 0.0, trouble.reason if trouble else "")
        for name, trouble in failing.items()
    ]
    begins = f"alerting|{FAILING}|"
    gone = {alert_id.removeprefix(begins) for alert_id in states if alert_id.startswith(begins)} - set(failing)
    return [*found, *((FAILING, {"receiver": name}, 0.0, "it is not configured any more") for name in sorted(gone))]
