"""The life of an alert: a pure function from a state and what happened to the next state and what to say.

Judging numbers is the agents' work, a verdict is all that crosses; what an alert *is* (pending, firing, resolved) is
decided here and nowhere else. State and announcement are two facts: a message that cannot be sent holds up no state,
and stays owed (`outbox`).

Time. Every timer runs in the agents' clock, so that a backlog of verdicts, read in a second, makes the alerts it would
have made live. Between verdicts that clock is carried on by ours. A clock that steps back stops no timer: time within
an episode never goes backwards.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from msgspec.structs import replace

from alerting.acting import refusal, remembered
from alerting.change import Change, Outcome
from alerting.outbox import for_receivers
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, trim
from embedwatch.events import AlertAction, Verdict

#: A time that is further ahead of the others was wrong, and forgotten: it must not make us deaf.
LONGEST_STEP_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A verdict, and where in the verdicts topic it stands."""

    verdict: Verdict
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went on. `listening_since_seconds` (our clock): before it silence means only that we did not listen."""

    listening_since_seconds: float


def step(
    state: AlertState | None,
    event: Heard | Tick,
    now: float,
    policy: Policy,
    in_flight: Collection[int] = (),
    quiet: Quiet | None = None,
    in_doubt: Collection[int] = (),
) -> Outcome:
    """The next state. `now` is our clock; `in_flight` are the numbers of messages being sent at this moment.

    While it is `quiet` nothing new is said of the alert: what was decided and not sent is taken back, what would be
    said is kept until quiet ends. `in_doubt` are messages that may have arrived: those are not taken back.
    """
    heard = event if isinstance(event, Heard) else None
    if state is None:
        if heard is None or heard.verdict.judgement != "breached":
            return Outcome(state, (), "nothing_to_do")
        state = _unknown(heard, now)
    elif heard is not None and already_applied(state, heard):
        return Outcome(state, (), "already_applied")
    before = state
    state = _advance(state, heard, now)
    state = for_receivers(state, policy.receivers)
    judgement = state.verdict.judgement
    if isinstance(event, Tick) and (_missing(state) or _silent(state, event, now, policy)):
        judgement = "no_data"
        if state.no_data_since_seconds is None and (state.active or state.status == "pending"):
            # The grace is over: nothing was heard for all of it.
            state = replace(state, no_data_since_seconds=state.event_seconds - policy.no_data_grace_seconds)
    change = Change(state, now, policy, quiet)
    change.judge(judgement, from_verdict=heard is not None)
    change.close_past_day()
    change.calm_down()
    change.wake()
    change.hush({*in_flight, *in_doubt})
    change.repeat()
    change.tell_newcomers()
    change.say_held()
    return change.outcome(before, in_flight)


def act(
    state: AlertState | None,
    action: AlertAction,
    now: float,
    policy: Policy,
    in_flight: Collection[int] = (),
    quiet: Quiet | None = None,
    in_doubt: Collection[int] = (),
) -> Outcome:
    """What becomes of an alert that a person acknowledges or snoozes; the rest as in `step`.

    The alert is as it was when the act comes too late, for another episode, or a second time: the reason says which.
    """
    refused = refusal(state, action, now)
    if state is None or refused is not None:
        if state is not None and refused == "already_acknowledged":
            # Acts are read again at a take-over: by then it would take the place of what somebody did after it.
            state = replace(state, applied=remembered(state.applied, action.action_id))
        return Outcome(state, (), refused or "not_active")
    before = state
    change = Change(for_receivers(_advance(state, None, now), policy.receivers), now, policy, quiet)
    change.obey(action)
    change.hush({*in_flight, *in_doubt})
    change.tell("acknowledged" if action.do == "acknowledge" else "snoozed")
    change.tell_newcomers()
    return change.outcome(before, in_flight)


def already_applied(state: AlertState, heard: Heard) -> bool:
    """A verdict that is delivered again changes nothing.

    The time is compared too: a verdicts topic that was made anew counts its offsets from 0 again. It is compared with
    the latest of any verdict, since the newest one may bear an earlier time.
    """
    if heard.partition != state.partition or heard.offset > state.offset:
        return False
    return heard.verdict.time_seconds <= _latest(state)


def worth_saving(before: AlertState | None, after: AlertState | None) -> bool:
    """Something changed that a restart must not forget; a mere refresh of the newest verdict is not."""
    if before is None or after is None:
        return before is not after
    return replace(_settled(after), worst_value=before.worst_value) != _settled(before)


def _settled(state: AlertState) -> AlertState:
    """Without what every verdict and tick refreshes."""
    return replace(
        state,
        verdict=_NOTHING,
        breach=None,
        event_seconds=0.0,
        local_seconds=0.0,
        heard_seconds=0.0,
        partition=0,
        offset=0,
        latest_seconds=None,
        reason="waiting",
    )


def _unknown(heard: Heard, now: float) -> AlertState:
    at = heard.verdict.time_seconds
    return AlertState(
        alert_id=heard.verdict.alert_id,
        status="inactive",
        verdict=heard.verdict,
        changed_at_seconds=at,
        event_seconds=at,
        local_seconds=now,
        heard_seconds=now,
        partition=heard.partition,
        offset=heard.offset,
    )


def _advance(state: AlertState, heard: Heard | None, now: float) -> AlertState:
    """Move the anchors on, and take in the verdict."""
    carried_on = state.event_seconds + max(0.0, now - state.local_seconds)
    if heard is None:
        stepped_back = max(0.0, state.local_seconds - now)
        heard_seconds = state.heard_seconds - stepped_back  # as long ago as before
        return replace(state, event_seconds=carried_on, local_seconds=now, heard_seconds=heard_seconds)
    at = heard.verdict.time_seconds
    latest = _latest(state)
    if state.status not in ("inactive", "resolved") and at < state.event_seconds:
        at = carried_on  # their clock stepped back: within an episode ours goes on in its place
    return replace(
        state,
        verdict=trim(heard.verdict),
        latest_seconds=latest if 0 < latest - heard.verdict.time_seconds < LONGEST_STEP_SECONDS else None,
        event_seconds=at,
        local_seconds=now,
        heard_seconds=now,
        partition=heard.partition,
        offset=heard.offset,
    )


def _latest(state: AlertState) -> float:
    return state.verdict.time_seconds if state.latest_seconds is None else state.latest_seconds


def _missing(state: AlertState) -> bool:
    """Nothing was heard since its data stopped: that we begin to listen, or a clock steps, brings no data back."""
    if state.no_data_since_seconds is None or not (state.active or state.status == "pending"):
        return False
    return state.verdict.judgement != "inconclusive"


def _silent(state: AlertState, tick: Tick, now: float, policy: Policy) -> bool:
    since = max(state.heard_seconds, min(tick.listening_since_seconds, now))
    return now - since >= policy.no_data_grace_seconds


_NOTHING = Verdict(
    alert_id="", time_seconds=0.0, rule="", alert_type="NO_DATA", severity="info", scope={}, judgement="ok",
    metric="", threshold=0.0, comparison=">", unit="", window_seconds=0.0, samples=0,
)  # fmt: skip
