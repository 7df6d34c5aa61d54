"""What the service knows and decides: all alerts, what is to be stored, what is sent next. Pure.

`service` reads, stores, commits and sends; it asks here what. The order is its part of the bargain: whatever `unsaved`
names is stored and reported by `saved` before `next_job` hands a message out. So a crash loses nothing: what was not
stored is decided again from the same verdicts, what was stored and not settled is sent again.

Times named `now` are Unix seconds of our clock, which may step; `monotonic` never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alerting import outbox
from alerting.bundle_words import compose_bundle
from alerting.bundles import Choice, Waiting, choose
from alerting.calm import Calm, Cap
from alerting.change import Outcome
from alerting.digest_books import Bookkeeper, Books, OwedDigest, digest_parcel
from alerting.digest_time import Schedule
from alerting.hush import Hush
from alerting.lifecycle import Heard, Tick, act, step, worth_saving
from alerting.message import compose
from alerting.parcels import Job, Parcel, Result, Traits, pack, pack_bundle
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, Owed, Reason, Ref, Status
from embedwatch.events import AlertAction, Silence, Verdict

#: Alerts that are over change only by being forgotten: they are looked at every so many ticks.
TICKS_FOR_THE_PAST = 120
#: A newest verdict that changed nothing is stored at most this often.
REFRESH_SECONDS = 15.0
#: After a digest that did not arrive alerts are tried first.
GIVE_WAY_SECONDS = 5.0


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

    def __init__(
        self,
        policy: Policy,
        traits: Mapping[str, Traits],
        dashboard_url: str | None = None,
        calm: Calm | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.owned: frozenset[int] | None = None
        self._policy, self._traits, self._dashboard_url = policy, traits, dashboard_url
        self._calm = calm or Calm()
        self._caps = {name: Cap(self._calm) for name in traits}
        self._states: dict[str, AlertState] = {}
        self._unsaved: dict[str, AlertState | None] = {}
        self._saved_at: dict[str, float] = {}
        self._not_before: dict[tuple[str, str], float] = {}  # (alert, receiver): a message that was refused
        self._in_flight: dict[str, Job] = {}  # by receiver
        self._flying: dict[str, dict[str, int]] = {}  # by receiver: alert -> message, of the same jobs
        self._now = 0.0  # our clock, as last heard of
        self._settled: list[Result] = []  # reported by a receiver, not stored yet
        people = [name for name in policy.receivers if name in traits and traits[name].bundles]
        self._books = Bookkeeper(schedule, people, policy.route)
        self._hush = Hush()
        self._doubtful: set[tuple[str, str]] = set()  # (alert, receiver): what is owed next may have arrived
        self._alone: set[tuple[str, str]] = set()  # of these: what was being sent when its answer was lost
        self._ticks = 0
        self._listening = (0.0, 0.0)  # since when, as told; and by the clock that never goes back

    @property
    def states(self) -> Mapping[str, AlertState]:
        return self._states

    def mine(self) -> Mapping[str, AlertState]:
        """Alerts that are ours to tell of."""
        return {alert_id: state for alert_id, state in self._states.items() if self._owns(state)}

    # --- ownership ---

    def release(self) -> None:
        """Who has what is being rearranged: nothing may be stored or sent until `load`."""
        self.owned = None

    def load(
        self, states: Mapping[str, AlertState], owned: frozenset[int], books: Iterable[Books] = (), now: float = 0.0
    ) -> Mapping[str, int]:
        """Go on from what the topic holds: whoever had these alerts before may have changed them.

        Results that were not stored yet are noted again. What is owed may have been sent before and its answer lost
        with whoever sent it. Returns how many messages are dropped, by receiver, because it is not configured any more.
        Where there are no `books` yet, they begin `now`.
        """
        self.owned = owned
        self._doubtful = {(alert_id, entry.receiver) for alert_id, state in states.items() for entry in state.owed}
        self._alone = _sent_last(states.values())
        self._states = {alert_id: outbox.settled(s, self._kept(s)) for alert_id, s in states.items()}
        self._unsaved = {alert_id: s for alert_id, s in self._states.items() if s is not states[alert_id]}
        dropped = Counter(self._books.load(books, self._states.values(), owned, now))
        self._doubtful |= {(key, entry.receiver) for key, entry in self._books.owed()}
        self._hush.reload(self._states.values())
        self._not_before.clear()
        if not owned:
            return {}
        for result in self._settled:
            self._note(result)
        owed = (entry for state in self._states.values() for entry in state.owed)
        return dropped + Counter(entry.receiver for entry in owed if entry.receiver not in self._policy.receivers)

    def recall(self, now: float, monotonic: float) -> None:
        """After `load`: what receivers took lately counts for their caps, whoever sent it."""
        for name, cap in self._caps.items():
            cap.recall(outbox.post_ages_seconds(self._states.values(), name, now), monotonic)

    def _owns(self, state: AlertState) -> bool:
        return self.owned is not None and state.partition in self.owned

    # --- verdicts and time ---

    def hear(self, heard: Heard, now: float, monotonic: float) -> Move | None:
        """A verdict arrived."""
        self._now = now
        verdict = heard.verdict
        before = self._states.get(verdict.alert_id)
        outcome = self._step(before, heard, now, self._quiet(verdict, before))
        move = self._apply(verdict.alert_id, before, outcome, monotonic)
        if move is not None and move.status == "firing" and outcome.state is not None:
            self._take_back_lower_steps(outcome.state, now, monotonic)
        return move

    def silence(self, silences: Iterable[Silence]) -> None:
        """All silences that there are: they hold from the next verdict or tick on."""
        self._hush.silence(silences)

    def _step(self, state: AlertState | None, event: Heard | Tick, now: float, quiet: Quiet | None) -> Outcome:
        return step(state, event, now, self._policy, self._kept(state), quiet, self._in_doubt(state))

    def _quiet(self, verdict: Verdict, state: AlertState | None) -> Quiet | None:
        """Why nobody is to be told of this alert now."""
        return self._hush.quiet(verdict, state, self._states, self._now)

    def _take_back_lower_steps(self, state: AlertState, now: float, monotonic: float) -> None:
        """Before anything is sent: of a budget that is passed in one leap the highest step is told."""
        for lower in self._hush.steps.below(state, self._states):
            outcome = self._step(lower, Tick(now), now, self._quiet(lower.verdict, lower))
            self._apply(lower.alert_id, lower, outcome, monotonic)

    def tick(self, now: float, monotonic: float, listening_since_seconds: float) -> list[Move]:
        """Time went on. `listening_since_seconds` as in `lifecycle.Tick`."""
        self._now = now
        tick = Tick(now - self._listened_seconds(listening_since_seconds, now, monotonic))
        self._ticks += 1
        whole = self._ticks % TICKS_FOR_THE_PAST == 0
        moves = []
        for alert_id, state in list(self._states.items()):
            if self._owns(state) and (state.status != "resolved" or state.owed or whole):
                outcome = self._step(state, tick, now, self._quiet(state.verdict, state))
                moves.append(self._apply(alert_id, state, outcome, monotonic))
        return [move for move in moves if move is not None]

    def _listened_seconds(self, since_seconds: float, now: float, monotonic: float) -> float:
        """For how long. Our clock may have stepped since, to a time before we began."""
        if self._listening[0] != since_seconds:
            self._listening = (since_seconds, monotonic - max(0.0, now - since_seconds))
        return monotonic - self._listening[1]

    def act(self, action: AlertAction, now: float, monotonic: float) -> Reason:
        """A person acknowledges or snoozes an alert. The reason is the act itself, or why it changed nothing.

        Acts may come again and again: after a take-over they are read from their beginning.
        """
        before = self._states.get(action.alert_id)
        if before is None or not self._owns(before):
            return "not_active"
        quiet = self._quiet(before.verdict, before)
        outcome = act(before, action, now, self._policy, self._kept(before), quiet, self._in_doubt(before))
        if outcome.state is not before:
            self._apply(action.alert_id, before, outcome, monotonic)
        return outcome.reason

    def _apply(self, alert_id: str, before: AlertState | None, outcome: Outcome, monotonic: float) -> Move | None:
        after = outcome.state
        if outcome.reason == "already_applied":
            return None
        if after is None:
            if before is not None and not self._books.needs(before):
                self._hush.remove(before)
                del self._states[alert_id]
                self._unsaved[alert_id] = None
            return None
        if before is None:
            self._hush.add(after)
        after = self._books.book(before, after)
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

    def unsaved_books(self) -> Mapping[str, Books | None]:
        """What is to be stored before that: the same of the digest."""
        return self._books.unsaved

    def saved(self, monotonic: float) -> None:
        """All of both is stored."""
        self._books.saved()
        for alert_id, state in self._unsaved.items():
            self._saved_at[alert_id] = monotonic
            if state is None:
                del self._saved_at[alert_id]
        self._unsaved, self._settled = {}, []

    def close_books(self, now: float, monotonic: float) -> bool:
        """Make the digests that are due, once all that they sum is stored. True: there is something to store."""
        due = [] if self._unsaved or self._books.unsaved or self.owned is None else self._books.due(now)
        for books in due:
            states = [state for state in self._states.values() if state.partition == books.partition]
            behind = {state.alert_id: state for state in self._books.gone_through(books, states)}
            self._states |= behind
            self._unsaved |= behind
            if not behind:
                full = {name for name, cap in self._caps.items() if not cap.room(monotonic, urgent=False)}
                self._books.close(books, states, now, full, self._begun)
        return bool(self._unsaved or self._books.unsaved)

    def _begun(self, books: Books, owed: OwedDigest) -> bool:
        """This digest is on its way, or may have arrived."""
        return (books.key, owed.receiver) in self._doubtful or books.key in self._flying.get(owed.receiver, ())

    # --- sending ---

    def next_job(self, receiver: str, monotonic: float) -> Job | None:
        """What this receiver is to get now: what is owed longest, what is critical before the rest.

        One at a time; it is on its way until `settle`. An alert with news that is not stored yet has to wait; so has
        a bundle that is bound here, until its next turn.
        """
        if receiver in self._in_flight:
            return None
        choice = self._choose(receiver, monotonic)
        for each in choice.bind:
            state = outbox.bound(self._states[each.alert_id], (each.owed.number,), choice.bundle, capped=choice.capped)
            self._states[each.alert_id] = self._unsaved[each.alert_id] = state
        job = self._digest_job(receiver, choice, monotonic)
        if job is None and choice.send:
            entries, posts = tuple((w.alert_id, w.owed.number) for w in choice.send), any(w.posts for w in choice.send)
            job = Job(receiver, entries, self._parcel(receiver, choice.send), posts)
        if job is not None:
            self._in_flight[receiver], self._flying[receiver] = job, dict(job.entries)
        return job

    def _digest_job(self, receiver: str, choice: Choice, monotonic: float) -> Job | None:
        """What is critical goes before a digest; one that waits for long is kept from its turn by nothing."""
        found = self._books.next_owed(receiver)
        if found is None:
            return None
        books, owed = found
        late = not 0 <= self._now - owed.decided_seconds < self._calm.cap_seconds
        waits = (choice.urgent and not late) or monotonic < self._not_before.get((books.key, receiver), 0.0)
        if waits or not self._caps[receiver].room(monotonic, urgent=late):
            return None
        parcel = digest_parcel(books, owed, self._dashboard_url, doubtful=self._begun(books, owed))
        return Job(receiver, ((books.key, owed.number),), parcel)

    def _choose(self, receiver: str, monotonic: float) -> Choice:
        waiting = []
        for state in self._states.values():
            owed = outbox.next_owed(state, receiver)
            if owed is None or not self._owns(state) or state.alert_id in self._unsaved:
                continue
            if state.quiet is not None and owed.kind not in outbox.SAID_THOUGH_QUIET:
                continue  # it may have arrived, so it is not taken back; it goes out when quiet ends
            if monotonic >= self._not_before.get((state.alert_id, receiver), 0.0):
                alone = (state.alert_id, receiver) in self._alone
                waiting.append(Waiting(state.alert_id, owed, self._ref(state, receiver) is not None, alone))
        if not self._traits[receiver].bundles:
            return Choice(send=(min(waiting, key=lambda w: w.rank),)) if waiting else Choice()
        return choose(waiting, self._caps[receiver], self._calm, self._now, monotonic)

    def _ref(self, state: AlertState, receiver: str) -> Ref | None:
        told = state.told.get(receiver)
        return told.ref if told is not None and self._traits[receiver].edits else None

    def _parcel(self, receiver: str, choice: Sequence[Waiting]) -> Parcel:
        first = choice[0]
        if len(choice) > 1:
            message = compose_bundle([each.owed for each in choice], self._dashboard_url)
        else:
            message = compose(first.owed, self._dashboard_url)
        doubtful = any((each.alert_id, receiver) in self._doubtful for each in choice)
        if first.owed.bundle is not None:
            since_seconds = min(each.owed.begun_seconds for each in choice)
            return pack_bundle(first.owed.bundle, message, [each.owed for each in choice], doubtful, since_seconds)
        ref = self._ref(self._states[first.alert_id], receiver)
        return pack(first.alert_id, first.owed, message, ref, doubtful)

    def settle(self, result: Result, monotonic: float, retry_in_seconds: float | None) -> bool:
        """What the receiver said. `retry_in_seconds` is None when it took the message.

        False when the alert is not ours (any more).
        """
        job = result.job
        self._in_flight.pop(job.receiver, None)
        self._flying.pop(job.receiver, None)
        if job.posts and (result.failure is None or result.failure.in_doubt):
            self._caps[job.receiver].take(monotonic)
        for alert_id, _ in job.entries:
            self._not_before.pop((alert_id, job.receiver), None)
            if result.failure is None:
                self._doubtful.discard((alert_id, job.receiver))
                self._alone.discard((alert_id, job.receiver))
            elif result.failure.in_doubt:
                self._doubtful.add((alert_id, job.receiver))
                self._alone.add((alert_id, job.receiver))
            whole = job.parcel.message.kind == "digest"
            if retry_in_seconds is not None and result.failure is not None and (whole or result.failure.of_message):
                self._not_before[alert_id, job.receiver] = monotonic + retry_in_seconds + whole * GIVE_WAY_SECONDS
        self._settled.append(result)
        return self._note(result)

    def _note(self, result: Result) -> bool:
        """Into the alerts' states. Harmless when it is known already."""
        ours = False
        for alert_id, number in result.job.entries:
            state = self._states.get(alert_id)
            if result.job.parcel.message.kind == "digest":
                ours = self._books.settle(alert_id, number, taken=result.failure is None)
                continue
            if state is None or not self._owns(state):
                continue
            ours = True
            if result.failure is None:
                posted = self._now if result.job.posts and alert_id == result.job.entries[0][0] else None
                entry = next((e for e in state.owed if e.number == number), None)
                after = outbox.delivered(state, number, result.ref, posted, self._calm.cap_seconds)
                after = self._books.book(state, after, entry)
            else:
                after = outbox.failed(state, number, result.failure.reason, self._kept(state))
            if after != state:
                self._states[alert_id] = self._unsaved[alert_id] = after
        return ours

    def _numbers(self, state: AlertState | None) -> list[int]:
        """Messages of this alert that are being sent at this moment."""
        if state is None:
            return []
        return [numbers[state.alert_id] for numbers in self._flying.values() if state.alert_id in numbers]

    def _in_doubt(self, state: AlertState | None) -> list[int]:
        """Messages of this alert that may have arrived."""
        return [] if state is None else [entry.number for entry in self._first_in_doubt(state)]

    def _kept(self, state: AlertState | None) -> list[int]:
        """Messages of this alert that stay as they are.

        Of those that may have arrived it is what could not be found any more under another name: part of a bundle, and
        the end of one episode, that would be merged into the end of the next.
        """
        if state is None:
            return []
        alone = [e.number for e in self._first_in_doubt(state) if e.bundle is not None or e.kind == "cleared"]
        return [*self._numbers(state), *alone]

    def _first_in_doubt(self, state: AlertState) -> list[Owed]:
        firsts = (outbox.next_owed(state, name) for name in self._traits if (state.alert_id, name) in self._doubtful)
        return [entry for entry in firsts if entry is not None]

    # --- for people ---

    def known(self) -> Totals:
        """Over all alerts."""
        states = self._states.values()
        owed = sum(len(s.owed) for s in states) + len(self._books.owed())
        return Totals(len(states), sum(s.active for s in states), owed)

    def owed(self) -> int:
        """Messages that are ours to send."""
        return sum(len(s.owed) for s in self._states.values() if self._owns(s)) + len(self._books.owed())


def _sent_last(states: Iterable[AlertState]) -> set[tuple[str, str]]:
    """Of each receiver what is due first, and so was on its way when whoever sent it died: alert and receiver."""
    due: dict[str, tuple[tuple[bool, float], str]] = {}
    for state in states:
        for name in {entry.receiver for entry in state.owed}:
            owed = outbox.next_owed(state, name)
            if owed is not None:
                found = (Waiting(state.alert_id, owed, False).rank, state.alert_id)
                due[name] = min(found, due.get(name, found))
    return {(alert_id, name) for name, (_, alert_id) in due.items()}
