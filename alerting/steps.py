"""Steps of a budget (50 %, 80 %, 100 % of a day's spend): each is an alert of its own, said once a day. Pure.

Spend does not fall, so a step that is reached stays reached until its day is over, whatever a correction, an agent that
starts anew or missing data say. A step that was not told yet is part of the next one when that is reached too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.quiet import Quiet
from alerting.states import AlertState
from embedwatch.events import Verdict

#: Rule, scope and day.
Budget = tuple[str, tuple[tuple[str, str], ...], str]


def budget_of(verdict: Verdict) -> Budget | None:
    """The budget of which this is a step; None for every other verdict."""
    if verdict.alert_type != "BUDGET_EXCEEDED" or verdict.day is None:
        return None
    return verdict.rule, tuple(sorted(verdict.scope.items())), verdict.day


def stays_reached(state: AlertState) -> bool:
    """Nothing but the end of its day, or another budget in the rules, ends it."""
    if state.breach is None or budget_of(state.verdict) is None:
        return False
    return state.verdict.judgement == "no_data" or state.verdict.threshold == state.breach.threshold


class Steps:
    """Which of the alerts that are known are steps of the same budget."""

    def __init__(self) -> None:
        self._found: dict[Budget, set[str]] = {}

    def reload(self, states: Iterable[AlertState]) -> None:
        self._found.clear()
        for state in states:
            self.add(state)

    def add(self, state: AlertState) -> None:
        budget = budget_of(state.verdict)
        if budget is not None:
            self._found.setdefault(budget, set()).add(state.alert_id)

    def remove(self, state: AlertState) -> None:
        budget = budget_of(state.verdict)
        if budget in self._found:
            self._found[budget].discard(state.alert_id)
            if not self._found[budget]:
                del self._found[budget]

    def below(self, state: AlertState, states: Mapping[str, AlertState]) -> list[AlertState]:
        """Lower steps of the same budget that fire."""
        limit = state.verdict.threshold
        return [other for other in self._active(state.verdict, states) if other.verdict.threshold < limit]

    def quiet(self, verdict: Verdict, states: Mapping[str, AlertState]) -> Quiet | None:
        """A step that fires says what the lower ones would."""
        higher = [s for s in self._active(verdict, states) if s.verdict.threshold > verdict.threshold]
        if not higher:
            return None
        return Quiet("inhibited", max(higher, key=lambda s: s.verdict.threshold).alert_id)

    def _active(self, verdict: Verdict, states: Mapping[str, AlertState]) -> list[AlertState]:
        budget = budget_of(verdict)
        if budget is None:
            return []
        found = (states.get(alert_id) for alert_id in self._found.get(budget, ()))
        return [state for state in found if state is not None and state.active]
