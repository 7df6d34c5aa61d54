"""The hands with real processes, shells instead of workers, and a clock that stands still until told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness.waiting import PATIENCE_SECONDS
from workers.autoscale import asking, reporting
from workers.autoscale.dry import DryRun
from workers.autoscale.hands import REST_SECONDS, Ear, Hands
from workers.autoscale.own_metrics import Report
from workers.autoscale.steering import Bounds, Decision, Moves, Place
from workers.autoscale.telling import table
from workers.autoscale.wish import Hold, Wish
from workers.crew import Crew, Member
from workers.slots import Slot

BOUNDS = Bounds(1, 4, 4)
GOOD = "exec sleep 600"


class Rig:
    """Four places, and hands over a crew that is stepped here."""

    def __init__(self, clock: Any, crew: Crew, scripts: dict[str, str], bounds: Bounds, reporter: Any = None) -> None:
        self.clock = clock
        self.crew = crew
        self.told: list[str] = []
        self.ear = Ear(group="g", topic="t", interval_seconds=5.0, clock=clock)
        names = [f"w-{n}" for n in range(1, bounds.slots + 1)]
        members = [Member(name, ("/bin/sh", "-c", scripts.get(name, GOOD)), {}) for name in names]
        asker = Member(asking.NAME, ("/bin/sh", "-c", scripts.get(asking.NAME, GOOD)), {}, self.ear.hear)
        self.hands = Hands(
            members, asker, bounds, self.ear, drain_seconds=20.0, tell=self._tell, clock=clock,
            reporter=reporter,
        )  # fmt: skip

    def _tell(self, decision: Decision, todo: Moves) -> None:
        self.told.append(f"{decision.before} -> {decision.after}")

    def wish(self, desired: int | None, reason: str = "why") -> None:
        answer = {
            "time_seconds": self.clock.now(), "group": "g", "topic": "t", "desired_workers": desired,
            "desired_workers_reason": reason,
        }  # fmt: skip
        self.ear.hear(json.dumps({"answer": answer}).encode())

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, self.hands.places(self.crew)
            self.crew.step(0.02)
            if not self.crew.stopping:
                self.hands(self.crew)

    def there(self) -> list[str]:
        return [member.name for member in self.crew.standing() if member.name != asking.NAME]

    def up(self) -> list[str]:
        return [place.name for place in self.hands.places(self.crew) if place.state == "up"]


@pytest.fixture
def rig(clock: Any) -> Iterator[Callable[..., Rig]]:
    with Crew(clock=clock, independent=True) as crew:

        def build(bounds: Bounds = BOUNDS, reporter: Any = None, **scripts: str) -> Rig:
            named = {name.replace("_", "-"): script for name, script in scripts.items()}
            return Rig(clock, crew, named, bounds, reporter)

        yield build


def test_it_goes_up_and_down_and_to_nothing(rig: Callable[..., Rig]) -> None:
    this = rig(Bounds(0, 4, 4))
    for desired, names in ((1, ["w-1"]), (3, ["w-1", "w-2", "w-3"]), (1, ["w-1"]), (0, [])):
        this.wish(desired)
        this.until(lambda names=names: this.up() == names and len(this.there()) == len(names))
    assert this.told == ["0 -> 1", "1 -> 3", "3 -> 1", "1 -> 0"]


def test_before_an_answer_there_is_the_least_number(rig: Callable[..., Rig]) -> None:
    this = rig(Bounds(2, 4, 4))
    this.until(lambda: this.up() == ["w-1", "w-2"])
    assert this.told == ["0 -> 2"]


@pytest.mark.parametrize("how", ["trouble", "null", "silence", "nonsense"])
def test_without_an_answer_what_there_is_stays_and_it_is_told_once(rig: Callable[..., Rig], how: str) -> None:
    this = rig()
    this.wish(3)
    this.until(lambda: len(this.up()) == 3)
    for _ in range(3):
        match how:
            case "trouble":
                this.ear.hear(b'{"trouble": "no stream agents"}')
            case "null":
                this.wish(None)
            case "silence":
                this.clock.pass_by(31)
            case _:
                this.ear.hear(b'{"answer": {"time_seconds": 0}}')
        this.hands(this.crew)
    assert len(this.up()) == 3
    assert this.told == ["0 -> 3", "3 -> 3"]
    this.wish(2)
    this.until(lambda: len(this.up()) == 2)


def test_one_that_drains_is_waited_for_before_its_place_is_used_again(rig: Callable[..., Rig]) -> None:
    this = rig(Bounds(0, 2, 2), w_2="trap 'while :; do sleep 0.05; done' TERM; while :; do sleep 0.05; done")
    this.wish(2)
    this.until(lambda: len(this.up()) == 2)
    this.wish(1)
    this.until(lambda: this.up() == ["w-1"])
    this.wish(2)
    this.hands(this.crew)
    assert this.there() == ["w-1", "w-2"]
    # Its time to drain and to close is over: it is killed, and its place is there for another.
    this.clock.pass_by(51)
    this.wish(2)
    this.until(lambda: this.up() == ["w-1", "w-2"])


def test_the_place_of_a_crash_loop_rests_and_another_takes_over(
    rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    this = rig(Bounds(0, 3, 3), w_1="exit 6")
    this.wish(2)
    this.until(lambda: this.up() == ["w-2", "w-3"])
    assert "the place of w-1 stays empty for 30 min; the others work on" in caplog.text
    this.wish(3)
    this.hands(this.crew)
    this.hands(this.crew)
    assert caplog.text.count("1 of 3 workers are missing: w-1 rest after a crash loop") == 1
    assert not this.crew.stopping
    this.clock.pass_by(REST_SECONDS + 1)
    this.wish(3)
    this.hands(this.crew)
    assert this.there() == ["w-2", "w-3", "w-1"]


def test_when_all_loop_the_command_ends_with_their_code(
    rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    this = rig(Bounds(1, 8, 8), **{f"w_{n}": "exit 6" for n in range(1, 9)})
    this.until(lambda: this.crew.stopping)
    assert this.crew.exit_code == 6
    assert "no worker keeps running, 3 were given up: all are stopped" in caplog.text


def test_others_that_work_well_go_on_whoever_gives_up(rig: Callable[..., Rig]) -> None:
    this = rig(Bounds(1, 8, 8), **{f"w_{n}": "exit 6" for n in range(2, 9)})
    this.until(lambda: this.up() == ["w-1"])
    this.clock.pass_by(61)
    this.wish(2)
    this.until(lambda: [place.state for place in this.hands.places(this.crew)] == ["up", *["resting"] * 7])
    assert not this.crew.stopping


def test_when_asking_itself_fails_what_there_is_stays_and_it_is_tried_again(
    rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    this = rig(agents="echo trace >&2; exit 2")
    this.until(lambda: "nobody asks the agents for 60 s; what there is stays" in caplog.text)
    assert "agents: trace" in caplog.text
    this.until(lambda: this.up() == ["w-1"])
    assert not this.crew.stopping
    caplog.clear()
    this.clock.pass_by(59)
    this.until(lambda: this.up() == ["w-1"])
    assert "nobody asks" not in caplog.text
    this.clock.pass_by(2)
    this.until(lambda: "nobody asks the agents" in caplog.text)


def test_what_is_heard_is_the_last_that_was_said(clock: Any) -> None:
    ear = Ear(group="g", topic="t", interval_seconds=60.0, clock=clock)
    ear.hear(json.dumps({"answer": {"time_seconds": clock.now(), "desired_workers": 2}}).encode())
    clock.pass_by(179)
    assert isinstance(ear.heard(), Wish)
    clock.pass_by(2)
    assert ear.heard() == Hold("silent", "no answer of the agents for 181 s")
    ear.hear(b'{"trouble": "refused"}')
    clock.pass_by(1000)
    assert ear.heard() == Hold("no answer", "refused")


# --- the dry run ---


def test_a_dry_run_says_what_it_would_do_and_goes_on_from_there(clock: Any) -> None:
    slots = [Slot("w-1", "cuda", 4, "GPU-a"), Slot("w-2", "cuda", 4, "GPU-b"), Slot("w-3", "cuda", 4, "GPU-a")]
    ear = Ear(group="g", topic="t", interval_seconds=5.0, clock=clock)
    answer = {"time_seconds": clock.now(), "desired_workers": 2, "desired_workers_reason": "busy", "cause": "backlog"}
    dry = DryRun(slots, Bounds(1, 3, 3), ear, clock, as_json=False)
    assert dry.look(lambda: {"answer": answer}) == [
        "workers: 0 -> 2: busy",
        "  place  device  CPU threads  what is done",
        "  w-1    GPU-a   4            start",
        "  w-2    GPU-b   4            start",
    ]
    assert dry.look(lambda: {"answer": answer}) == ["workers: 2 stay: busy"]
    assert dry.look(lambda: {"trouble": "nobody there"}) == ["workers: 2 stay: nobody there; what there is stays"]
    assert dry.look(lambda: {"answer": answer | {"desired_workers": 1}})[1:] == [
        "  place  device  CPU threads  what is done",
        "  w-1    GPU-a   4            keep",
        "  w-2    GPU-b   4            stop",
    ]


def test_a_dry_run_for_programs(clock: Any) -> None:
    ear = Ear(group="g", topic="t", interval_seconds=5.0, clock=clock)
    dry = DryRun([Slot("w-1", "cpu", 4)], Bounds(0, 1, 1), ear, clock, as_json=True)
    answer = {
        "time_seconds": clock.now(), "desired_workers": 2, "desired_workers_reason": "busy", "cause": "backlog",
        "wanted_workers": 5, "limited_by": "budget",
    }  # fmt: skip
    (line,) = dry.look(lambda: {"answer": answer})
    assert json.loads(line) == {
        "time_seconds": clock.now(),
        "dry_run": True,
        "from_workers": 0,
        "to_workers": 1,
        "held": False,
        "reason": "busy; the agents ask for 2, at most 1 here (--max)",
        "limited_by": "max",
        "agents": {"desired_workers": 2, "wanted_workers": 5, "cause": "backlog", "limited_by": "budget"},
        "start": ["w-1"],
        "stop": [],
    }
    (line,) = dry.look(lambda: {"trouble": "nobody there"})
    assert (json.loads(line)["held"], json.loads(line)["agents"]) == (True, None)


def test_a_table_leaves_out_places_with_nothing_in_them() -> None:
    slots = [Slot("w-1", "cpu", 1), Slot("w-2", "cpu", 1)]
    assert len(table(slots, [Place("w-1", "up"), Place("w-2")], Moves())) == 2


class Reports:
    """Takes reports in place of a file."""

    def __init__(self, script: str) -> None:
        self.member = Member(reporting.NAME, ("/bin/sh", "-c", script), {})
        self.last: Report | None = None

    def due(self, monotonic: float) -> bool:
        return True

    def write(self, report: Report, monotonic: float) -> None:
        self.last = report


def test_a_report_says_what_is_wanted_what_there_is_and_what_was_done(rig: Callable[..., Rig]) -> None:
    reports = Reports(GOOD)
    this = rig(Bounds(0, 3, 3), reporter=reports, w_2="exit 6")
    this.until(lambda: reports.last is not None)
    assert (reports.last.held, reports.last.answer_seconds_ago) == ("none yet", None)
    this.wish(5)
    this.until(lambda: this.up() == ["w-1", "w-3"])
    this.clock.pass_by(2)
    this.hands(this.crew)
    assert reports.last == Report(
        3, {"free": 0, "up": 2, "waiting": 0, "leaving": 0, "resting": 1}, wanted_workers=5, answer_seconds_ago=2.0,
        decisions=2, started=3, crashes=1, given_up=1,
    )  # fmt: skip
    assert reporting.NAME in this.there()


def test_a_reporter_that_ends_for_good_is_gone_on_without(rig: Callable[..., Rig]) -> None:
    this = rig(Bounds(0, 2, 2), reporter=Reports("exit 2"))
    this.wish(2)
    this.until(lambda: this.up() == ["w-1", "w-2"] and reporting.NAME not in this.there())
    for _ in range(3):
        this.hands(this.crew)
    assert this.there() == ["w-1", "w-2"]
    assert not this.crew.stopping
