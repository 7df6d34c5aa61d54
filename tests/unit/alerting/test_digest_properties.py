"""Whatever happens, and wherever it is killed: each firing is in the sums of exactly one digest, and they agree."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alerting.calm import Calm
from alerting.digest import digest_of
from alerting.digest_books import decode as decode_books
from alerting.digest_time import Schedule
from alerting.parcels import Parcel, SendFailed
from alerting.policy import Policy
from alerting.states import Ref, encode
from embedwatch.events import Silence
from tests.harness.actions import action
from tests.harness.alert_world import START_SECONDS, FakeReceiver, World, alert_id
from tests.harness.digests import sums

NAMES = ("a", "b", "c", "low", "lower", "cause")
DAY = 86_400.0
names = st.sampled_from(NAMES)


class DigestMachine(RuleBasedStateMachine):
    """The world with a receiver that fails, silences, people, days that pass, and kills at every step."""

    @initialize(bundle_from=st.sampled_from([2, 5]), cap=st.sampled_from([None, 4]))
    def begin(self, bundle_from: int, cap: int | None) -> None:
        self.mood = "well"
        self.silenced: list[Silence] = []
        self.lost: set[str] = set()
        receivers = [FakeReceiver(name, script=self._take) for name in ("slack", "console")]
        policy = Policy(("slack", "console"), 4 * 3600.0, 60.0, None, 20 * DAY)
        calm = Calm(bundle_from, cap, 300.0)
        self.world = World(policy, receivers, calm=calm, schedule=Schedule(time(14), UTC))
        self.world.cycle()
        self.acts = 0

    def _take(self, at: float, parcel: Parcel) -> Ref | None:
        if self.mood == "away":
            raise SendFailed("status 503", retryable=True)
        if self.mood == "mute":
            raise SendFailed("no answer", retryable=True, in_doubt=True)
        return Ref("C1", str(at))

    def _hear(self, judgement: str, name: str) -> None:
        kinds = {"cause": "WORKER_DOWN", "low": "LOW_THROUGHPUT", "lower": "LOW_GPU_UTILIZATION"}
        severity = "warning" if name == "b" else "critical"
        self.world.hear(judgement, name, alert_type=kinds.get(name, "HIGH_LATENCY"), scope={}, severity=severity)

    @rule(some=st.sets(names, min_size=1), judgement=st.sampled_from(["breached", "breached", "ok"]))
    def hear(self, some: set[str], judgement: str) -> None:
        for name in sorted(some):
            self._hear(judgement, name)

    @rule(mood=st.sampled_from(["well", "away", "mute"]))
    def receivers_change(self, mood: str) -> None:
        self.mood = mood

    @rule(wanted=st.booleans())
    def silence(self, wanted: bool) -> None:
        starts = START_SECONDS
        match = {"severity": "warning"}
        self.silenced = [Silence("s1", starts, "ada", match, starts, starts + 1e9)] if wanted else []
        self.world.engine.silence(self.silenced)

    @rule(name=names, do=st.sampled_from(["acknowledge", "snooze"]))
    def act(self, name: str, do: str) -> None:
        self.acts += 1
        more = {"until_seconds": self.world.now + 1800.0} if do == "snooze" else {}
        asked = action(do, self.world.now, alert_id=alert_id(name), action_id=str(self.acts), **more)
        self.world.engine.act(asked, self.world.now, self.world.second)

    @rule(seconds=st.sampled_from([1.0, 30.0, 400.0, 3600.0, DAY, 2 * DAY]))
    def time_goes_on(self, seconds: float) -> None:
        self.world.advance(seconds, step=max(1.0, seconds / 20))

    @rule()
    def cycle(self) -> None:
        self.world.cycle()

    @rule()
    def crash(self) -> None:
        self.world.crash()
        self.world.engine.silence(self.silenced)

    @rule(stored=st.integers(0, 6))
    def crash_while_storing(self, stored: int) -> None:
        """Books first, then some of the states: what was not stored is decided again from the verdicts."""
        self.world.save_books()
        for key, state in list(self.world.engine.unsaved().items())[:stored]:
            if state is not None:
                self.world.stored[key] = encode(state)
        self.crash()

    @rule(stored=st.booleans(), books=st.booleans())
    def crash_while_closing(self, stored: bool, books: bool) -> None:
        if stored:
            self.world.save()
        self.world.engine.close_books(self.world.now, self.world.second)
        if books:
            self.world.save_books()
        self.crash()

    @invariant()
    def the_open_ones_are_what_the_states_show(self) -> None:
        if not hasattr(self, "world"):
            return
        for key, each in self._books().items():
            for receiver in self.world.receivers:
                states = [s for s in self.world.engine.states.values() if f"digest|{s.partition}" == key]
                made = digest_of(states, receiver, None, each.period, 0.0, 1.0)
                assert made.unaccounted == 0, made
                assert made.account.rerouted == 0, made

    def _books(self):  # type: ignore[no-untyped-def]
        kept = {key: decode_books(value) for key, value in self.world.stored_books.items()}
        return {**kept, **{key: books for key, books in self.world.engine.unsaved_books().items() if books is not None}}

    def teardown(self) -> None:
        """All digests together tell of as many firings as there were, each day once."""
        if not hasattr(self, "world"):
            return
        self.mood = "well"
        self.world.save()
        self.world.advance(2 * DAY, step=600.0)
        fired = sum(state.episode for state in self.world.engine.states.values())
        for receiver in self.world.receivers.values():
            found = {p.news_key: p for _, p in receiver.taken if p.message.kind == "digest"}
            read = [sums(parcel.message.sentence) for parcel in found.values()]
            assert all(each.agree for each in read), read
            assert sum(each.fired for each in read) == fired
            parts = sum((Counter(each.parts) for each in read), Counter())
            started = [p.message.details[0].moment_seconds for p in found.values()]
            ended = [p.message.details[1].moment_seconds for p in found.values()]
            assert started == sorted(set(started))
            assert all(end <= begin for end, begin in zip(ended, started[1:], strict=False)), "two tell of one moment"
            if not fired:
                assert parts == Counter()


TestDigestMachine = DigestMachine.TestCase
TestDigestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
