"""One step in the life of an alert, in the making: what it becomes, and what is to be said of it. Pure.

`lifecycle` says which of these steps are taken, and in which order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from msgspec.structs import replace

from alerting.acting import act_of, outgrown, remembered, snoozing
from alerting.flapping import Condition, Flapping, changes_lately, moved_on
from alerting.outbox import FINAL, SAID_THOUGH_QUIET, compact, will_know, worst
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import MAX_HISTORY, Act, AlertState, Facts, Kind, Owed, Reason, Status, Transition
from alerting.steps import budget_of, stays_reached
from embedwatch.events import AlertAction, Judgement


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state` is None when there is nothing to remember; `messages` are newly owed."""

    state: AlertState | None
    messages: tuple[Owed, ...]
    reason: Reason


class Change:
    """One step in the making. Every method looks at the state and may move it on."""

    def __init__(self, state: AlertState, now: float, policy: Policy, quiet: Quiet | None) -> None:
        self.state, self.now, self.policy, self.asked = state, now, policy, quiet
        self.at = state.event_seconds
        self.reason: Reason = "waiting"
        self.moved_by: Reason = "waiting"  # of the last transition: saying something may give another reason after it
        self.did: Act | None = None
        self.was_flapping = state.flapping is not None

    @property
    def quiet(self) -> Quiet | None:
        """As asked for from outside, or because a person snoozed it."""
        return self.asked or snoozing(self.state)

    def judge(self, judgement: Judgement, *, from_verdict: bool) -> None:
        state = self.state
        if judgement == "inconclusive":
            self.reason = "inconclusive"
        elif state.active:
            self._judge_active(judgement)
        elif state.status == "pending":
            self._judge_pending(judgement, from_verdict)
        elif judgement == "breached" and from_verdict and not self._day_is_closed():
            # Only a verdict begins an episode: an old judgement, carried on by the clock, is no news.
            self.state = replace(state, breach=state.verdict, worst_value=state.verdict.value)
            self.state = replace(self.state, breached_since_seconds=self.at, no_data_since_seconds=None)
            self._fire_or_wait("breach_began")
        else:
            self.reason = "nothing_to_do"

    def _judge_pending(self, judgement: Judgement, from_verdict: bool) -> None:
        state = self.state
        if judgement == "breached":
            if from_verdict:
                self._note_breach()
            self.state = replace(self.state, no_data_since_seconds=None)
            self._fire_or_wait("waiting")
        elif judgement == "ok":
            self._stand_down("recovered_before_firing")
        else:
            since = self.at if state.no_data_since_seconds is None else state.no_data_since_seconds
            self.state = replace(state, no_data_since_seconds=since)
            if self.at - since >= self.policy.no_data_grace_seconds:
                self._stand_down("no_data_while_pending")
            else:
                self.reason = "data_missing"

    def _judge_active(self, judgement: Judgement) -> None:
        state = self.state
        if judgement != "breached" and stays_reached(state):
            self.state = replace(state, no_data_since_seconds=None)
            self.reason = "step_reached"
            return
        if judgement == "no_data":
            since = self.at if state.no_data_since_seconds is None else state.no_data_since_seconds
            self.state = replace(state, no_data_since_seconds=since, clear_since_seconds=None)
            limit = self.policy.no_data_resolve_seconds
            if limit is not None and self.at - since >= limit:
                self._resolve("no_data_too_long")
            elif state.status == "firing" and self.at - since >= self.policy.no_data_grace_seconds:
                self._move("no_data", "no_data")
                self._say("no_data")
            else:
                self.reason = "data_missing"
            return
        self.state = replace(state, no_data_since_seconds=None)
        if judgement == "breached":
            self._note_breach()
            self.state = replace(self.state, clear_since_seconds=None)
            if state.status == "no_data":
                self._move("firing", "data_returned")
                self._note_flapping()
                self._say("data_back")
            elif outgrown(state):
                self._move("firing", "severity_rose")
                self._say("escalated")
            else:
                self.reason = "still_firing"
            return
        clear_since = self.at if state.clear_since_seconds is None else state.clear_since_seconds
        self.state = replace(self.state, clear_since_seconds=clear_since)
        keep = state.verdict.keep_firing_for_seconds
        if state.flapping is not None:
            keep = max(keep, self.policy.flapping_calm_seconds)
        if self.at - clear_since >= keep:
            self._resolve("recovered")
        elif state.status == "no_data":
            self._move("firing", "data_returned")
            self._hold("data_back")  # its end is told next; that it is back only if it breaches again
        else:
            self.reason = "clearing"

    def close_past_day(self) -> None:
        """A budget's day is over: so is its alert, whether or not a verdict says so."""
        if self._day_is_past():
            if self.state.active:
                self._resolve("day_over")
            elif self.state.status == "pending":
                self._stand_down("day_over")

    def calm_down(self) -> None:
        """Flapping ends when nothing changed for a while; a clear one ends by being over."""
        state = self.state
        if state.flapping is None or not state.active:
            return
        condition: Condition = "breached"
        if state.clear_since_seconds is not None:
            condition = "clear"
        elif state.no_data_since_seconds is not None:
            condition = "no_data"
        flapping = moved_on(state.flapping, condition, self.at)
        self.state = replace(state, flapping=flapping)
        if condition == "clear" or self.at - flapping.changed_seconds < self.policy.flapping_calm_seconds:
            return
        self.reason = "calm"
        if state.status == "firing":
            self.state = replace(self.state, held=None)
            self._say("steady")
        self.state = replace(self.state, flapping=None, calm_since_seconds=self.at)

    def _note_flapping(self) -> None:
        """It just changed: was that too often?"""
        state, most = self.state, self.policy.flapping_changes
        if most is None or state.flapping is not None:
            return
        since = self.at - self.policy.flapping_window_seconds
        if state.calm_since_seconds is not None and state.calm_since_seconds <= self.at:  # else a clock stepped back
            since = max(since, state.calm_since_seconds)
        changes = 1 + changes_lately(((t.at_seconds, t.reason) for t in state.history), since, self.at)
        if changes > most:
            self.state = replace(state, flapping=Flapping(self.at, changes, "breached", self.at))

    def obey(self, action: AlertAction) -> None:
        """A person acknowledges or snoozes it. That it is told is up to `tell`."""
        state = self.state
        self.did = act_of(action, state.severity)
        self.state = replace(state, act=self.did, applied=remembered(state.applied, action.action_id), held=None)
        acknowledges = action.do == "acknowledge"
        self._move("acknowledged" if acknowledges else "snoozed", "acknowledged" if acknowledges else "snoozed")

    def wake(self) -> None:
        """A snooze is over: what still fires is said again."""
        state = self.state
        if state.status != "snoozed" or state.act is None or self.now < (state.act.until_seconds or 0.0):
            return
        if state.clear_since_seconds is not None:
            return  # about to end: either that is said, or it breaches again and this is
        self.state = replace(state, held=None)
        since = state.no_data_since_seconds
        if since is not None and self.at - since >= self.policy.no_data_grace_seconds:
            self._move("no_data", "snooze_over")
            self._say("no_data")
        else:
            self._move("firing", "snooze_over")
            self._say("snooze_over")

    def hush(self, keep: Collection[int]) -> None:
        """Quiet takes back what nobody has heard yet; `keep` are messages that may have been heard."""
        alive = self.state.active or self.state.status == "pending"
        self.state = replace(self.state, quiet=self.quiet if alive else None)
        if self.quiet is None or not self.state.active:
            return
        taken_back = [e for e in self.state.owed if e.kind not in SAID_THOUGH_QUIET and e.number not in keep]
        if taken_back:
            self.state = replace(self.state, owed=tuple(e for e in self.state.owed if e not in taken_back))
            for kind in dict.fromkeys(e.kind for e in taken_back):
                self._hold(kind)

    def say_held(self) -> None:
        """Quiet is over: what stopped or came back meanwhile is said, if it is still so.

        Not while it clears: its end is told then, or it breaches again and this is.
        """
        held, state = self.state.held, self.state
        if held is None:
            return
        unsure = state.clear_since_seconds is not None or (
            held == "data_back" and state.no_data_since_seconds is not None  # missing again, and not for long enough
        )
        flaps = held == "no_data" and self._told_as_flapping(held)
        if state.active and (self.quiet is not None or unsure or flaps):
            return
        self.state = replace(state, held=None)
        if state.status == ("no_data" if held == "no_data" else "firing"):
            self.tell(held)

    def repeat(self) -> None:
        state = self.state
        if self.quiet is not None or state.flapping is not None or state.status == "acknowledged":
            return
        if budget_of(state.verdict) is not None:
            return
        if not state.active or state.clear_since_seconds is not None or state.said_at_seconds is None:
            return
        if self.at - state.said_at_seconds >= self.policy.repeat_interval_seconds:
            self.reason = "repeat_interval_elapsed"
            self._say("repeat")

    def tell_newcomers(self) -> None:
        """Who does not know of an alert that fires is told: it fired now, quiet ended, or the receiver is new.

        Not while it clears: nobody is called to a problem that seems to be over.
        """
        if self.state.active and self.quiet is None and self.state.clear_since_seconds is None:
            route = self.policy.route
            wanted = self.policy.receivers if route is None else route(self.state.breach or self.state.verdict)
            if not any(will_know(self.state, receiver) for receiver in self.policy.receivers):
                self.state = replace(self.state, said_at_seconds=self.at)  # the next repeat counts from here
            for receiver in self.policy.receivers:
                if receiver in wanted and not will_know(self.state, receiver):
                    self._owe("firing", receiver)

    def outcome(self, before: AlertState, in_flight: Collection[int]) -> Outcome:
        state = replace(self.state, owed=compact(self.state.owed, in_flight), reason=self.reason)
        idle = state.status in ("inactive", "resolved") and not state.owed
        if idle and (
            state.status == "inactive" or self.at - state.changed_at_seconds >= self.policy.forget_after_seconds
        ):
            return Outcome(None, (), self.reason if state.status == "inactive" else "forgotten")
        if self.did is not None or (state.status != before.status and state.status != "inactive"):
            history = (*state.history, Transition(self.at, state.status, self.moved_by, self.did))[-MAX_HISTORY:]
            state = replace(state, history=history)
        new = tuple(e for e in state.owed if e.number >= before.next_number)
        return Outcome(state, new, self.reason)

    def _fire_or_wait(self, waiting: Reason) -> None:
        state = self.state
        since = self.at if state.breached_since_seconds is None else state.breached_since_seconds
        if self.at - since < state.verdict.for_seconds:
            self.reason = waiting
            if state.status != "pending":
                self._move("pending", waiting)
            return
        self.state = replace(
            state,
            episode=state.episode + 1,
            fired_at_seconds=self.at,
            resolved_at_seconds=None,
            clear_since_seconds=None,
            said_at_seconds=self.at,
            act=None,
            applied=(),
        )
        self._move("firing", "fired")
        self._note_flapping()
        self.tell_newcomers()

    def _resolve(self, reason: Reason) -> None:
        self.state = replace(self.state, resolved_at_seconds=self.at, clear_since_seconds=None)
        self._move("resolved", reason)
        self._say("resolved")
        if self.state.flapping is not None:
            self.state = replace(self.state, flapping=None, calm_since_seconds=self.at, held=None)

    def _stand_down(self, reason: Reason) -> None:
        """Pending came to nothing: back to how it was before."""
        self.state = replace(self.state, breached_since_seconds=None, no_data_since_seconds=None)
        self._move("resolved" if self.state.episode else "inactive", reason)

    def _move(self, status: Status, reason: Reason) -> None:
        self.reason = self.moved_by = reason
        self.state = replace(self.state, status=status, changed_at_seconds=self.at)

    def _note_breach(self) -> None:
        verdict = self.state.verdict
        if verdict.judgement == "breached":
            value = worst(self.state.worst_value, verdict.value, verdict.comparison)
            self.state = replace(self.state, breach=verdict, worst_value=value)

    def _say(self, kind: Kind) -> None:
        undone = self.state.held is not None and self.state.held == _OPPOSITE.get(kind)
        if kind not in FINAL and (self.quiet is not None or self._told_as_flapping(kind) or undone):
            self._hold(kind)
            return
        self.tell(kind)

    def tell(self, kind: Kind) -> None:
        """To whoever knows that it fires, quiet or not."""
        self.state = replace(self.state, said_at_seconds=self.at)
        for receiver in self.policy.receivers:
            if will_know(self.state, receiver):
                self._owe(kind, receiver)

    def _told_as_flapping(self, kind: Kind) -> bool:
        """That it comes and goes was said before this step, and is not over."""
        return self.was_flapping and self.state.flapping is not None and kind in ("no_data", "data_back")

    def _hold(self, kind: Kind) -> None:
        """Data that stops and comes back while it is quiet is no news at its end; a reminder comes by itself."""
        if kind in _OPPOSITE:
            self.state = replace(self.state, held=None if self.state.held == _OPPOSITE[kind] else kind)
        elif kind in ("snooze_over", "escalated", "steady"):
            self.state = replace(self.state, held=kind)

    def _owe(self, kind: Kind, receiver: str) -> None:
        state = self.state
        facts = Facts(
            breach=state.breach or state.verdict,
            since_seconds=self.at if state.breached_since_seconds is None else state.breached_since_seconds,
            fired_at_seconds=self.at if state.fired_at_seconds is None else state.fired_at_seconds,
            latest_value=state.verdict.value if state.verdict.judgement in ("ok", "breached") else None,
            worst_value=state.worst_value,
            resolved_at_seconds=state.resolved_at_seconds,
            reason=self.reason,
            act=state.act,
            flapping_changes=0 if state.flapping is None else state.flapping.changes,
        )
        owed = Owed(state.next_number, receiver, kind, state.episode, self.now, facts)
        self.state = replace(state, owed=(*state.owed, owed), next_number=state.next_number + 1)

    def _day_is_past(self) -> bool:
        day = self.state.verdict.day
        return day is not None and _date(self.at, self.policy.timezone) > day

    def _day_is_closed(self) -> bool:
        """Late events of a past day do not open its alert a second time."""
        return self._day_is_past() and any(t.reason == "day_over" for t in self.state.history)


def _date(at_seconds: float, zone: tzinfo) -> str:
    """ISO date of a time in a zone. Taken from the epoch: `fromtimestamp` refuses years that a bad clock may show."""
    try:
        return (_EPOCH + timedelta(seconds=at_seconds)).astimezone(zone).date().isoformat()
    except OverflowError:
        return ""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPPOSITE: dict[Kind, Kind] = {"no_data": "data_back", "data_back": "no_data"}
