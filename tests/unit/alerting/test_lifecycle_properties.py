"""What holds whatever happens: to the numbers, to the clocks, to the receivers."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alerting.lifecycle import Heard, Tick, step, worth_saving
from alerting.outbox import FINAL, compact, delivered, failed, next_owed, settled
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, Owed, Ref, decode, encode
from tests.harness.verdicts import verdict

RECEIVERS = ("slack", "console")
MOST_OWED = 4
seconds = st.floats(0.0, 400.0)


class AlertMachine(RuleBasedStateMachine):
    """Verdicts, time, sends, failures and crashes in any order.

    `stored` is what the topic holds; a crash goes back to it and reads the verdicts after the committed offset again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.state: AlertState | None = None
        self.stored: bytes | None = None
        self.verdicts: list[Heard] = []
        self.committed = 0
        self.sending: dict[str, Owed] = {}
        self.heard_by: dict[str, list[Owed]] = {name: [] for name in RECEIVERS}
        self.sent_unsettled: set[tuple[str, int]] = set()
        self.crashed = False
        self.quiet: Quiet | None = None
        self.in_doubt: set[int] = set()

    @initialize(for_seconds=st.sampled_from([0.0, 30.0]), keep=st.sampled_from([0.0, 30.0]), close=st.booleans())
    def configure(self, for_seconds: float, keep: float, close: bool) -> None:
        self.for_seconds, self.keep = for_seconds, keep
        self.policy = Policy(RECEIVERS, 300.0, 60.0, 200.0 if close else None, 1500.0)

    def _in_flight(self) -> list[int]:
        return [owed.number for owed in self.sending.values()]

    def _apply(self, event: Heard | Tick) -> None:
        before = self.state
        numbers = self.state.next_number if self.state is not None else 1
        outcome = step(before, event, self.now, self.policy, self._in_flight(), self.quiet, self.in_doubt)
        self.state = outcome.state
        if self.quiet is not None:
            new = [owed.kind for owed in outcome.messages if owed.number >= numbers]
            assert all(kind in FINAL for kind in new), f"{new} said while it is quiet"
        if worth_saving(before, self.state):
            self._store()
        if before is not None and self.state is None:
            self._is_all_told()
            self.in_doubt = set()
            self.heard_by = {name: [] for name in RECEIVERS}  # the next time it counts from 1 again

    def _store(self) -> None:
        self.stored = None if self.state is None else encode(self.state)

    @rule(judgement=st.sampled_from(["ok", "breached", "inconclusive", "no_data"]), after=seconds, skew=seconds)
    def hear(self, judgement: str, after: float, skew: float) -> None:
        self.now += after
        event = Heard(
            verdict(
                judgement,  # type: ignore[arg-type]
                self.now - skew,
                for_seconds=self.for_seconds,
                keep_firing_for_seconds=self.keep,
            ),
            0,
            len(self.verdicts),
        )
        self.verdicts.append(event)
        self._apply(event)

    @rule(after=seconds)
    def time_goes_on(self, after: float) -> None:
        self.now += after
        self._apply(Tick(0.0))

    @rule(back=seconds)
    def clock_steps_back(self, back: float) -> None:
        self.now -= back
        self._apply(Tick(0.0))

    @rule(quiet=st.sampled_from([None, Quiet("silence", "s1"), Quiet("inhibited", "other")]))
    def quiet_changes(self, quiet: Quiet | None) -> None:
        self.quiet = quiet

    @rule()
    def commit(self) -> None:
        self.committed = len(self.verdicts)

    @rule(receiver=st.sampled_from(RECEIVERS))
    def begin_to_send(self, receiver: str) -> None:
        if self.state is None or receiver in self.sending:
            return
        owed = next_owed(self.state, receiver)
        if owed is not None:
            assert self.stored is not None
            assert owed in decode(self.stored).owed, "sent before it was stored"
            self.sending[receiver] = owed

    @rule(receiver=st.sampled_from(RECEIVERS), arrives=st.booleans())
    def send_ends(self, receiver: str, arrives: bool) -> None:
        owed = self.sending.pop(receiver, None)
        if owed is None:
            return
        if arrives:
            self.heard_by[receiver].append(owed)
        if self.state is None:
            assert arrives is False, "forgotten while a message was owed"
            return
        if arrives:
            self.state = delivered(self.state, owed.number, Ref("C1", str(owed.number)))
        else:
            self.state = failed(self.state, owed.number, "Slack is away", self._in_flight())
        self._store()

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """What was being sent may have arrived or not; nobody will know."""
        for receiver, owed in self.sending.items():
            if data.draw(st.booleans()):
                self.heard_by[receiver].append(owed)
        self.sending.clear()
        self.crashed = True
        self.state = None if self.stored is None else settled(decode(self.stored))
        self.in_doubt = set() if self.state is None else {owed.number for owed in self.state.owed}
        self._store()
        for event in self.verdicts[self.committed :]:
            self._apply(event)

    @precondition(lambda self: self.state is not None)
    @invariant()
    def little_is_owed(self) -> None:
        assert self.state is not None
        for receiver in RECEIVERS:
            assert sum(owed.receiver == receiver for owed in self.state.owed) <= MOST_OWED

    @precondition(lambda self: self.state is not None)
    @invariant()
    def merging_again_changes_nothing(self) -> None:
        assert self.state is not None
        assert compact(self.state.owed, self._in_flight()) == self.state.owed

    @precondition(lambda self: self.state is not None)
    @invariant()
    def it_can_be_stored(self) -> None:
        assert self.state is not None
        assert decode(encode(self.state)) == self.state

    @invariant()
    def who_knows_of_a_problem_will_hear_of_its_end(self) -> None:
        """And nobody hears of an end without having heard of the problem, nor of the same problem twice."""
        for receiver in RECEIVERS:
            open_episode: int | None = None
            finished: set[int] = set()
            for owed in self._without_repeats_of_crashes(receiver):
                if owed.kind == "firing":
                    assert open_episode is None, "a second firing message without an end in between"
                    open_episode = owed.episode
                elif owed.kind == "resolved":
                    assert open_episode == owed.episode, "resolved loudly, fired silently"
                    open_episode = None
                    finished.add(owed.episode)
                elif owed.kind == "cleared":
                    assert open_episode is None
                    assert owed.episode not in finished
                    finished.add(owed.episode)
                else:
                    assert open_episode == owed.episode, f"{owed.kind} of an alert nobody heard of"
            if open_episode is not None and self.state is not None:
                firing = self.state.active and self.state.episode == open_episode
                end = any(o.receiver == receiver and o.kind in FINAL for o in self.state.owed)
                assert firing or end, "its end will never be told"

    def _without_repeats_of_crashes(self, receiver: str) -> list[Owed]:
        """A crash between sending and storing may repeat a message: the same number, or merged into its end."""
        seen: dict[int, Owed] = {}
        for owed in self.heard_by[receiver]:
            if self.crashed and owed.kind == "cleared":
                # Its firing message may have arrived unnoticed: then it is the end of what was heard.
                for number in [n for n, o in seen.items() if o.kind == "firing" and o.episode <= owed.episode]:
                    if not any(o.kind == "resolved" and o.episode == seen[number].episode for o in seen.values()):
                        del seen[number]
                for number in [n for n, o in seen.items() if o.kind not in ("firing", *FINAL)]:
                    if not any(o.kind == "firing" and o.episode == seen[number].episode for o in seen.values()):
                        del seen[number]
            seen.setdefault(owed.number, owed)
        return list(seen.values())

    def teardown(self) -> None:
        """Left alone with receivers that work, everything owed goes out and every problem that was told is closed."""
        if not hasattr(self, "policy"):
            return
        for receiver in list(self.sending):
            self.send_ends(receiver, True)
        self.hear("ok", 0.0, 0.0)
        for _ in range(25):  # longer than what flaps has to be calm
            self.time_goes_on(30.0)
            self.hear("ok", 0.0, 0.0)
        for receiver in RECEIVERS:
            for _ in range(MOST_OWED):
                self.begin_to_send(receiver)
                self.send_ends(receiver, True)
        assert self.state is None or not self.state.owed
        self._is_all_told()

    def _is_all_told(self) -> None:
        self.who_knows_of_a_problem_will_hear_of_its_end()
        for receiver in RECEIVERS:
            heard = self._without_repeats_of_crashes(receiver)
            fired = [owed.episode for owed in heard if owed.kind == "firing"]
            ended = [owed.episode for owed in heard if owed.kind == "resolved"]
            assert fired == ended, "every firing that was told gets exactly one end"


TestAlertMachine = AlertMachine.TestCase
TestAlertMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
