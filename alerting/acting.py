"""What people do about an alert: acknowledge it, or snooze it for a time. Pure.

Who acts has seen an episode of an alert and means that one: an act for another episode, or for an alert that is over,
changes nothing. So an acknowledgement that races the end stays without effect.
"""

from __future__ import annotations

from alerting.quiet import Quiet
from alerting.states import MAX_APPLIED, Act, AlertState, Reason
from embedwatch.events import AlertAction, Severity

#: An act is no older than the episode it is for, but for clocks that differ. The count of episodes begins anew when an
#: alert was forgotten, and acts are read again from their beginning: those of its earlier life are older than this.
CLOCKS_DIFFER_SECONDS = 86_400.0

SEVERITY_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


def refusal(state: AlertState | None, action: AlertAction, now: float) -> Reason | None:
    """Why an act changes nothing; None when it does."""
    if state is None or not state.active:
        return "not_active"
    if action.episode != state.episode or _of_an_earlier_life(state, action):
        return "another_episode"
    if action.action_id in state.applied:
        return "already_applied"
    if action.do == "acknowledge":
        return "already_acknowledged" if state.status == "acknowledged" else None
    return "snooze_is_past" if action.until_seconds is None or action.until_seconds <= now else None


def _of_an_earlier_life(state: AlertState, action: AlertAction) -> bool:
    fired = state.fired_at_seconds
    return fired is not None and action.time_seconds < fired - CLOCKS_DIFFER_SECONDS


def act_of(action: AlertAction, severity: Severity) -> Act:
    until = action.until_seconds if action.do == "snooze" else None
    return Act(action.do, action.by, action.via, action.time_seconds, severity, until, action.note)


def remembered(applied: tuple[str, ...], action_id: str) -> tuple[str, ...]:
    return (*applied, action_id)[-MAX_APPLIED:]


def snoozing(state: AlertState) -> Quiet | None:
    """The quiet of an alert that is snoozed."""
    if state.status != "snoozed" or state.act is None:
        return None
    return Quiet("snoozed", state.act.by, state.act.until_seconds)


def outgrown(state: AlertState) -> bool:
    """It is more severe than what a person acknowledged or snoozed."""
    if state.act is None or state.status not in ("acknowledged", "snoozed"):
        return False
    return SEVERITY_RANK[state.severity] > SEVERITY_RANK[state.act.severity]
