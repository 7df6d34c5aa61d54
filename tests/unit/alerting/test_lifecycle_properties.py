"""What holds whatever happens: to the numbers, to the clocks, to the receivers."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alerting.change import Outcome
from alerting.lifecycle import Heard, Tick, act, step, worth_saving
from alerting.outbox import FINAL, SAID_THOUGH_QUIET, compact, delivered, failed, next_owed, settled
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, Owed, Ref, decode, encode
from embedwatch.events import AlertAction
from tests.harness.actions import action
from tests.harness.verdicts import verdict

RECEIVERS = ("slack", "console")
MOST_OWED = 4
seconds = st.floats(0.0, 400.0)


class AlertMachine(RuleBasedStateMachine):
    """Verdicts, time, acts of people, sends, failures and crashes in any order.

    `stored` is what the topic holds; a crash goes back to it, reads the verdicts after the committed offset again, and
    all acts. Everything that happens is applied twice: the second time it changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.state: AlertState | None = None
        self.stored: bytes | None = None
        self.verdicts: list[Heard] = []
        self.acts: list[AlertAction] = []
        self.committed = 0
        self.sending: dict[str, Owed] = {}
        self.heard_by: dict[str, list[Owed]] = {name: [] for name in RECEIVERS}
        self.sent_unsettled: set[tuple[str, int]] = set()
        self.crashed = False
        self.quiet: Quiet | None = None
        self.in_doubt: set[int] = set()
        self.says_flapping: dict[int, float] = {}  # number of a message that says so: since when it is flapping
        self.heard_flapping: dict[tuple[str, float], int] = {}

    @initialize(
        for_seconds=st.sampled_from([0.0, 0.0, 30.0]),
        keep=st.sampled_from([0.0, 0.0, 30.0]),
        close=st.booleans(),
        flapping=st.sampled_from([None, 3, 6]),
    )
    def configure(self, for_seconds: float, keep: float, close: bool, flapping: int | None) -> None:
        self.for_seconds, self.keep = for_seconds, keep
        close_seconds = 200.0 if close else None
        self.policy = Policy(RECEIVERS, 300.0, 60.0, close_seconds, 1500.0, flapping_changes=flapping)

    def _in_flight(self) -> list[int]:
        return [owed.number for owed in self.sending.values()]

    def _apply(self, event: Heard | Tick) -> None:
        before = self.state
        outcome = step(before, event, self.now, self.policy, self._in_flight(), self.quiet, self.in_doubt)
        again = step(outcome.state, event, self.now, self.policy, self._in_flight(), self.quiet, self.in_doubt)
        assert again.messages == ()
        assert not worth_saving(outcome.state, again.state), "a second time it changes something"
        assert isinstance(event, Tick) or again.state is outcome.state
        if self.quiet is not None:
            new = [owed.kind for owed in outcome.messages]
            assert all(kind in FINAL for kind in new), f"{new} said while it is quiet"
        self._take(before, outcome)
        if before is not None and self.state is None:
            self._is_all_told()
            self.in_doubt = set()
            self.acts.clear()
            self.says_flapping.clear()
            self.heard_flapping.clear()
            self.heard_by = {name: [] for name in RECEIVERS}  # the next time it counts from 1 again

    def _act(self, action: AlertAction) -> Outcome:
        before = self.state
        outcome = act(before, action, self.now, self.policy, self._in_flight(), self.quiet, self.in_doubt)
        if before is None or not before.active or before.episode != action.episode:
            assert outcome.state is before, "what is over stays over"
            assert outcome.messages == ()
        again = act(outcome.state, action, self.now, self.policy, self._in_flight(), self.quiet, self.in_doubt)
        assert again.state is outcome.state, "a second time it changes something"
        if self.quiet is not None:
            assert all(owed.kind in SAID_THOUGH_QUIET for owed in outcome.messages)
        self._take(before, outcome)
        return outcome

    def _take(self, before: AlertState | None, outcome: Outcome) -> None:
        """It becomes so."""
        after = self.state = outcome.state
        if worth_saving(before, after):
            self._store()
        if before is None or after is None:
            return
        kinds = [owed.kind for owed in outcome.messages]
        if after.status == "acknowledged":
            assert {*kinds} <= {"firing", "acknowledged"}, f"{kinds} though a person takes care of it"
        if before.status == after.status == "snoozed":
            assert {*kinds} <= {"snoozed"}, f"{kinds} said while it is snoozed"
        if after.flapping is not None:
            if before.flapping is not None:
                assert not {"no_data", "repeat"} & {*kinds}, f"{kinds} said while it is flapping"
            for owed in outcome.messages:
                if owed.kind in ("firing", "data_back"):
                    self.says_flapping[owed.number] = after.flapping.since_seconds

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

    @rule(
        judgements=st.sampled_from([("breached",), ("ok",), ("breached", "ok"), ("breached", "no_data"), ("no_data",)]),
        times=st.integers(2, 12),
        gap=st.floats(0.5, 70.0),
    )
    def goes_on(self, judgements: tuple[str, ...], times: int, gap: float) -> None:
        """For a while, with receivers that work."""
        for number in range(times):
            self.hear(judgements[number % len(judgements)], gap, 0.0)
            self.time_goes_on(0.0)
            self._send_all()

    @precondition(lambda self: self.state is not None)
    @rule(
        do=st.sampled_from(["acknowledge", "snooze"]),
        after=st.floats(0.0, 20.0),
        older=st.sampled_from([0, 0, 0, 1]),
        snooze=st.floats(1.0, 2000.0),
    )
    def a_person_acts(self, do: str, after: float, older: int, snooze: float) -> None:
        """Now and then on an episode that is over."""
        assert self.state is not None
        self.now += after
        until = self.now + snooze if do == "snooze" else None
        name, episode = f"{do}-{len(self.acts)}", max(0, self.state.episode - older)
        self.acts.append(action(do, self.now, episode=episode, until_seconds=until, action_id=name))
        self._act(self.acts[-1])

    @rule(after=seconds)
    def the_end_races_an_acknowledgement(self, after: float) -> None:
        """A person saw it fire; it is over before the act arrives."""
        if self.state is None or not self.state.active:
            return
        episode = self.state.episode
        self.hear("ok", after, 0.0)
        was = None if self.state is None else self.state.status
        self.acts.append(action("acknowledge", self.now, episode=episode, action_id=f"late-{len(self.acts)}"))
        self._act(self.acts[-1])
        if was == "resolved":
            assert self.state is not None
            assert self.state.status == "resolved"

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
            since = self.says_flapping.get(owed.number)
            if since is not None:
                assert self.heard_flapping.setdefault((receiver, since), owed.number) == owed.number, "told twice"
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
        for act_again in list(self.acts):
            before = self.state
            assert self._act(act_again).state is before, "an act that is read again changes something"

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
        self._send_all()
        assert self.state is None or not self.state.owed
        self._is_all_told()

    def _send_all(self) -> None:
        for receiver in RECEIVERS:
            for _ in range(MOST_OWED):
                self.begin_to_send(receiver)
                self.send_ends(receiver, True)

    def _is_all_told(self) -> None:
        self.who_knows_of_a_problem_will_hear_of_its_end()
        for receiver in RECEIVERS:
            heard = self._without_repeats_of_crashes(receiver)
            fired = [owed.episode for owed in heard if owed.kind == "firing"]
            ended = [owed.episode for owed in heard if owed.kind == "resolved"]
            assert fired == ended, "every firing that was told gets exactly one end"


TestAlertMachine = AlertMachine.TestCase
TestAlertMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
