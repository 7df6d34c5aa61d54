"""What the service knows and decides: all alerts, what is to be stored, what is sent next. Pure.

`service` reads, stores, commits and sends; it asks here what. The order is its part of the bargain: whatever `unsaved`
names is stored and reported by `saved` before `next_job` hands a message out. So a crash loses nothing: what was not
stored is decided again from the same verdicts, what was stored and not settled is sent again.

Times named `now` are Unix seconds of our clock, which may step; `monotonic` never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from alerting import outbox
from alerting.lifecycle import Heard, Outcome, Policy, Tick, act, step, worth_saving
from alerting.message import compose
from alerting.parcels import Job, Result, Traits, pack
from alerting.quiet import Quiet
from alerting.states import AlertState, Owed, Reason, Status
from alerting.steps import Steps
from embedwatch.events import AlertAction, Verdict

#: Alerts that are over change only by being forgotten: they are looked at every so many ticks.
TICKS_FOR_THE_PAST = 120
#: A newest verdict that changed nothing is stored at most this often.
REFRESH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Move:
    """An alert went from one status to another, for the log."""

    alert_id: str
    was: Status
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Totals:
    alerts: int
    active: int
    owed: int


class Engine:
    """One thread. `owned` are the partitions of verdicts whose alerts are ours; None: that is not settled."""

    def __init__(self, policy: Policy, traits: Mapping[str, Traits], dashboard_url: str | None = None) -> None:
        self.owned: frozenset[int] | None = None
        self._policy, self._traits, self._dashboard_url = policy, traits, dashboard_url
        self._states: dict[str, AlertState] = {}
        self._unsaved: dict[str, AlertState | None] = {}
        self._saved_at: dict[str, float] = {}
        self._not_before: dict[tuple[str, str], float] = {}  # (alert, receiver): a message that was refused
        self._in_flight: dict[str, Job] = {}  # by receiver
        self._settled: list[Result] = []  # reported by a receiver, not stored yet
        self._steps = Steps()
        self._ticks = 0

    @property
    def states(self) -> Mapping[str, AlertState]:
        return self._states

    # --- ownership ---

    def release(self) -> None:
        """Who has what is being rearranged: nothing may be stored or sent until `load`."""
        self.owned = None

    def load(self, states: Mapping[str, AlertState], owned: frozenset[int]) -> Mapping[str, int]:
        """Go on from what the topic holds: whoever had these alerts before may have changed them.

        Results that were not stored yet are noted again. Returns how many messages are dropped, by receiver, because it
        is not configured any more.
        """
        self.owned = owned
        self._states = {alert_id: outbox.settled(s, self._numbers(s)) for alert_id, s in states.items()}
        self._unsaved = {alert_id: s for alert_id, s in self._states.items() if s is not states[alert_id]}
        self._steps.reload(self._states.values())
        self._not_before.clear()
        if not owned:
            return {}
        for result in self._settled:
            self._note(result)
        owed = (entry for state in self._states.values() for entry in state.owed)
        return Counter(entry.receiver for entry in owed if entry.receiver not in self._policy.receivers)

    def _owns(self, state: AlertState) -> bool:
        return self.owned is not None and state.partition in self.owned

    # --- verdicts and time ---

    def hear(self, heard: Heard, now: float, monotonic: float) -> Move | None:
        """A verdict arrived."""
        verdict = heard.verdict
        before = self._states.get(verdict.alert_id)
        outcome = step(before, heard, now, self._policy, self._numbers(before), self._quiet(verdict))
        move = self._apply(verdict.alert_id, before, outcome, monotonic)
        if move is not None and move.status == "firing" and outcome.state is not None:
            self._take_back_lower_steps(outcome.state, now, monotonic)
        return move

    def _quiet(self, verdict: Verdict) -> Quiet | None:
        """Why nobody is to be told of this alert now."""
        return self._steps.quiet(verdict, self._states)

    def _take_back_lower_steps(self, state: AlertState, now: float, monotonic: float) -> None:
        """Before anything is sent: of a budget that is passed in one leap the highest step is told."""
        for lower in self._steps.below(state, self._states):
            quiet = self._quiet(lower.verdict)
            outcome = step(lower, Tick(now), now, self._policy, self._numbers(lower), quiet)
            self._apply(lower.alert_id, lower, outcome, monotonic)

    def tick(self, now: float, monotonic: float, listening_since_seconds: float) -> list[Move]:
        """Time went on. `listening_since_seconds` as in `lifecycle.Tick`."""
        tick = Tick(listening_since_seconds)
        self._ticks += 1
        whole = self._ticks % TICKS_FOR_THE_PAST == 0
        moves = []
        for alert_id, state in list(self._states.items()):
            if self._owns(state) and (state.status != "resolved" or state.owed or whole):
                outcome = step(state, tick, now, self._policy, self._numbers(state), self._quiet(state.verdict))
                moves.append(self._apply(alert_id, state, outcome, monotonic))
        return [move for move in moves if move is not None]

    def act(self, action: AlertAction, now: float, monotonic: float) -> Reason:
        """A person acknowledges or snoozes an alert. The reason is the act itself, or why it changed nothing.

        Acts may come again and again: after a take-over they are read from their beginning.
        """
        before = self._states.get(action.alert_id)
        if before is None or not self._owns(before):
            return "not_active"
        quiet = self._quiet(before.verdict)
        outcome = act(before, action, now, self._policy, self._numbers(before), quiet)
        if outcome.state is not before:
            self._apply(action.alert_id, before, outcome, monotonic)
        return outcome.reason

    def _apply(self, alert_id: str, before: AlertState | None, outcome: Outcome, monotonic: float) -> Move | None:
        after = outcome.state
        if outcome.reason == "already_applied":
            return None
        if after is None:
            if before is not None:
                self._steps.remove(before)
                del self._states[alert_id]
                self._unsaved[alert_id] = None
            return None
        if before is None:
            self._steps.add(after)
        self._states[alert_id] = after
        stale = monotonic - self._saved_at.get(alert_id, 0.0) >= REFRESH_SECONDS
        if worth_saving(before, after) or (stale and before is not None and after.offset != before.offset):
            self._unsaved[alert_id] = after
        was = before.status if before is not None else "inactive"
        if before is not None and was == after.status:
            return None
        return Move(alert_id, was, after.status, outcome.reason)

    # --- storing ---

    def unsaved(self) -> Mapping[str, AlertState | None]:
        """What is to be stored before anything is sent; None: the alert is forgotten."""
        return self._unsaved

    def saved(self, monotonic: float) -> None:
        """All of `unsaved` is stored."""
        for alert_id, state in self._unsaved.items():
            self._saved_at[alert_id] = monotonic
            if state is None:
                del self._saved_at[alert_id]
        self._unsaved, self._settled = {}, []

    # --- sending ---

    def next_job(self, receiver: str, monotonic: float) -> Job | None:
        """What this receiver is to get now: what is owed longest, what is critical before the rest.

        One at a time; it is on its way until `settle`. An alert with news that is not stored yet has to wait.
        """
        if receiver in self._in_flight:
            return None
        found = self._next(receiver, monotonic)
        if found is None:
            return None
        state, owed = found
        told = state.told.get(receiver)
        ref = told.ref if told is not None and self._traits[receiver].edits else None
        parcel = pack(state.alert_id, owed, compose(owed, self._dashboard_url), ref)
        job = self._in_flight[receiver] = Job(receiver, state.alert_id, owed.number, parcel)
        return job

    def _next(self, receiver: str, monotonic: float) -> tuple[AlertState, Owed] | None:
        candidates = []
        for state in self._states.values():
            owed = outbox.next_owed(state, receiver)
            if owed is None or not self._owns(state) or state.alert_id in self._unsaved:
                continue
            if monotonic >= self._not_before.get((state.alert_id, receiver), 0.0):
                candidates.append((owed.facts.breach.severity != "critical", owed.decided_seconds, state, owed))
        if not candidates:
            return None
        _, _, state, owed = min(candidates, key=lambda c: c[:2])
        return state, owed

    def settle(self, result: Result, monotonic: float, retry_in_seconds: float | None) -> bool:
        """What the receiver said. `retry_in_seconds` is None when it took the message.

        False when the alert is not ours (any more).
        """
        job = result.job
        self._in_flight.pop(job.receiver, None)
        key = (job.alert_id, job.receiver)
        self._not_before.pop(key, None)
        if retry_in_seconds is not None and result.failure is not None and result.failure.of_message:
            self._not_before[key] = monotonic + retry_in_seconds
        self._settled.append(result)
        return self._note(result)

    def _note(self, result: Result) -> bool:
        """Into the alert's state. Harmless when it is known already."""
        job = result.job
        state = self._states.get(job.alert_id)
        if state is None or not self._owns(state):
            return False
        if result.failure is None:
            after = outbox.delivered(state, job.number, result.ref)
        else:
            after = outbox.failed(state, job.number, result.failure.reason, self._numbers(state))
        if after != state:
            self._states[state.alert_id] = self._unsaved[state.alert_id] = after
        return True

    def _numbers(self, state: AlertState | None) -> list[int]:
        """Messages of this alert that are being sent at this moment."""
        if state is None:
            return []
        return [job.number for job in self._in_flight.values() if job.alert_id == state.alert_id]

    # --- for people ---

    def known(self) -> Totals:
        """Over all alerts."""
        states = self._states.values()
        return Totals(len(states), sum(s.active for s in states), sum(len(s.owed) for s in states))

    def owed(self) -> int:
        """Messages that are ours to send."""
        return sum(len(state.owed) for state in self._states.values() if self._owns(state))
