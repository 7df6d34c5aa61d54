"""What alerting says of itself: by the same messages, once, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping

from alerting.policy import Policy
from alerting.self_watch import BEHIND_FOR_SECONDS, BEHIND_SECONDS, FAILING_SECONDS, REPEAT_SECONDS, SelfWatch, Trouble
from alerting.states import AlertState
from tests.harness.alert_world import FakeReceiver, World

ALL = frozenset({0})
NOW = 1_800_000_000.0


class Bench:
    """The watch and an engine beside a receiver, second by second."""

    def __init__(self) -> None:
        self.world = World(Policy(("slack",)), [FakeReceiver()])
        self.watch = SelfWatch(50.0, 0.0)
        self.seconds = 0.0
        self.failing: Mapping[str, Trouble | None] = {"slack": None}

    def go(self, seconds: float, *, agents: bool = True, age: float = 0.0) -> None:
        for _ in range(int(seconds)):
            self.seconds += 1.0
            if agents:
                self.watch.heard(self.seconds, age)
            now, engine = NOW + self.seconds, self.world.engine
            for heard in self.watch.due(engine.states, ALL, self.failing, now, self.seconds):
                engine.hear(heard, now, self.seconds)
            engine.tick(now, self.seconds, NOW)

    def states(self) -> dict[str, str]:
        return {alert_id: state.status for alert_id, state in self.world.engine.states.items()}


def test_all_is_well_and_nothing_is_known_of_it() -> None:
    bench = Bench()
    bench.go(300)
    assert bench.states() == {}


def test_silent_agents_are_an_alert_that_ends_when_they_speak() -> None:
    bench = Bench()
    bench.go(10)
    bench.go(50, agents=False)
    assert bench.states() == {}
    bench.go(1, agents=False)
    assert bench.states() == {"alerting|agents_silent_seconds": "firing"}
    bench.go(600, agents=False)
    (state,) = bench.world.engine.states.values()
    assert (state.alert_type, state.verdict.severity, state.no_data_since_seconds) == ("NO_DATA", "critical", None)
    assert state.verdict.value is not None
    assert state.verdict.value >= 640
    bench.go(1)
    assert bench.states() == {"alerting|agents_silent_seconds": "resolved"}


def test_to_be_behind_is_an_alert_once_it_lasts() -> None:
    bench = Bench()
    bench.go(BEHIND_FOR_SECONDS - 2, age=BEHIND_SECONDS + 1)
    bench.go(1, age=0.0)
    assert "firing" not in bench.states().values()
    bench.go(BEHIND_FOR_SECONDS + 2, age=BEHIND_SECONDS + 1)
    assert bench.states() == {"alerting|alerting_behind_seconds": "firing"}
    bench.go(1, age=BEHIND_SECONDS)
    assert bench.states() == {"alerting|alerting_behind_seconds": "resolved"}


def test_a_receiver_that_takes_nothing_is_told_of_with_its_last_words() -> None:
    bench = Bench()
    bench.failing = {"slack": Trouble(FAILING_SECONDS, "no answer"), "pagerduty": None}
    bench.go(1)
    assert bench.states() == {}
    bench.failing = {"slack": Trouble(FAILING_SECONDS + 1, "no answer"), "pagerduty": None}
    bench.go(1)
    (state,) = bench.world.engine.states.values()
    assert (state.status, state.verdict.scope, state.verdict.reason) == ("firing", {"receiver": "slack"}, "no answer")
    bench.failing = {"slack": None, "pagerduty": None}
    bench.go(1)
    assert bench.states() == {"alerting|receiver_failing_seconds|slack": "resolved"}


def test_it_speaks_now_and_then_and_only_for_the_first_partition() -> None:
    watch, states = SelfWatch(50.0, 0.0), dict[str, AlertState]()
    assert watch.due(states, frozenset({1, 2}), {}, NOW, 99.0) == []
    found = [watch.due(states, ALL, {}, NOW, 60.0 + second) for second in range(int(2 * REPEAT_SECONDS))]
    assert [len(each) for each in found] == [1, 0, 0, 0, 0] * 2


def test_what_stands_in_place_of_an_offset_grows_while_the_clock_goes_back() -> None:
    watch = SelfWatch(50.0, 0.0)
    numbers = [
        heard.offset for n in range(5) for heard in watch.due({}, ALL, {}, NOW - 3600 * n, 60.0 + n * REPEAT_SECONDS)
    ]
    assert len(numbers) == 5
    assert numbers == sorted(set(numbers))


def test_a_take_over_begins_anew() -> None:
    watch = SelfWatch(50.0, 0.0)
    watch.heard(1.0, 500.0)
    watch.begin(100.0)
    assert watch.due({}, ALL, {}, NOW, 150.0) == []
    assert len(watch.due({}, ALL, {}, NOW, 150.1)) == 1
