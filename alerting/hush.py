"""Why nobody is told of an alert now: a silence, a higher step of its budget, an alert it follows from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.inhibition import Causes
from alerting.quiet import Quiet
from alerting.states import AlertState
from alerting.steps import Steps
from embedwatch.events import Silence, Verdict
from embedwatch.silences import labels, matches, quiet_until

#: How often it is looked which silences hold.
LOOK_SECONDS = 0.5


class Hush:
    """Knows all alerts by what may keep others quiet, and all silences."""

    def __init__(self) -> None:
        self.steps = Steps()
        self._causes = Causes()
        self._silences: tuple[Silence, ...] = ()
        self._holding: list[tuple[Silence, float]] = []
        self._looked: float | None = None

    def silence(self, silences: Iterable[Silence]) -> None:
        """All silences that there are, in place of those known before."""
        self._silences = tuple(sorted(silences, key=lambda s: s.silence_id))
        self._looked = None

    def reload(self, states: Iterable[AlertState]) -> None:
        states = list(states)
        self.steps.reload(states)
        self._causes.reload(states)

    def add(self, state: AlertState) -> None:
        self.steps.add(state)
        self._causes.add(state)

    def remove(self, state: AlertState) -> None:
        self.steps.remove(state)
        self._causes.remove(state)

    def quiet(
        self, verdict: Verdict, state: AlertState | None, states: Mapping[str, AlertState], now: float
    ) -> Quiet | None:
        """`state` is the alert as it stands, None for a new one; `states` are all. `now` is our clock."""
        return (
            self._silenced(verdict, now)
            or self.steps.quiet(verdict, states)
            or self._causes.quiet(verdict, state, states)
        )

    def _silenced(self, verdict: Verdict, now: float) -> Quiet | None:
        if self._looked is None or not 0 <= now - self._looked < LOOK_SECONDS:
            self._looked = now
            untils = ((silence, quiet_until(silence, now)) for silence in self._silences)
            self._holding = [(silence, until) for silence, until in untils if until is not None]
        if not self._holding:
            return None
        of = labels(verdict)
        found = [(until, silence.silence_id) for silence, until in self._holding if matches(silence, of)]
        if not found:
            return None
        until, name = max(found)
        return Quiet("silence", name, until)
