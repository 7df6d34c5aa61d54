"""The decision table of an alert's life. Each row: what happens at which second, and what comes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerting.change import Outcome
from alerting.lifecycle import Heard, Tick, already_applied, step, worth_saving
from alerting.outbox import delivered
from alerting.policy import Policy
from alerting.states import AlertState, Ref
from tests.harness.verdicts import verdict

START = 1000.0
POLICY = Policy(receivers=("slack",), repeat_interval_seconds=3600.0, no_data_grace_seconds=60.0)


class Story:
    """Runs an alert through events in one clock; every message owed is delivered at once unless told otherwise."""

    def __init__(self, policy: Policy = POLICY, *, deliver: bool = True, **fields: Any) -> None:
        self.policy, self.fields, self.deliver = policy, fields, deliver
        self.state: AlertState | None = None
        self.offset = 0
        self.said: list[str] = []
        self.last = Outcome(None, (), "nothing_to_do")

    def at(self, second: float, event: str, **fields: Any) -> Story:
        now = START + second
        if event == "tick":
            happened: Heard | Tick = Tick(listening_since_seconds=START)
        else:
            happened = Heard(verdict(event, now, **(self.fields | fields)), 0, self.offset)  # type: ignore[arg-type]
            self.offset += 1
        self.last = step(self.state, happened, now, self.policy)
        self.state = self.last.state
        for owed in self.last.messages if self.deliver else ():
            assert self.state is not None
            self.said.append(owed.kind)
            self.state = delivered(self.state, owed.number, Ref("C1", str(owed.number)))
        return self

    @property
    def status(self) -> str:
        return "inactive" if self.state is None else self.state.status


TABLE: list[tuple[str, dict[str, Any], list[tuple[float, str]], str, list[str], str]] = [
    ("ok is no alert", {}, [(0, "ok")], "inactive", [], "nothing_to_do"),
    ("too few samples is no alert", {}, [(0, "inconclusive")], "inactive", [], "nothing_to_do"),
    ("no data is no alert of this rule", {}, [(0, "no_data")], "inactive", [], "nothing_to_do"),
    ("without `for` the first breach fires", {}, [(0, "breached")], "firing", ["firing"], "fired"),
    ("with `for` it waits", {"for_seconds": 30}, [(0, "breached")], "pending", [], "breach_began"),
    ("still waiting", {"for_seconds": 30}, [(0, "breached"), (29, "breached")], "pending", [], "waiting"),
    ("`for` is over", {"for_seconds": 30}, [(0, "breached"), (30, "breached")], "firing", ["firing"], "fired"),
    ("time alone completes `for`", {"for_seconds": 30}, [(0, "breached"), (30, "tick")], "firing", ["firing"], "fired"),
    (
        "ok ends waiting",
        {"for_seconds": 30},
        [(0, "breached"), (20, "ok")],
        "inactive",
        [],
        "recovered_before_firing",
    ),
    (
        "`for` begins anew after ok",
        {"for_seconds": 30},
        [(0, "breached"), (20, "ok"), (21, "breached"), (45, "breached")],
        "pending",
        [],
        "waiting",
    ),
    (
        "inconclusive does not break `for`",
        {"for_seconds": 30},
        [(0, "breached"), (15, "inconclusive"), (30, "breached")],
        "firing",
        ["firing"],
        "fired",
    ),
    (
        "but it does not complete it either",
        {"for_seconds": 30},
        [(0, "breached"), (15, "inconclusive"), (40, "tick")],
        "pending",
        [],
        "inconclusive",
    ),
    (
        "waiting ends without data",
        {"for_seconds": 300},
        [(0, "breached"), (10, "no_data"), (70, "no_data")],
        "inactive",
        [],
        "no_data_while_pending",
    ),
    (
        "waiting ends in silence",
        {"for_seconds": 300},
        [(0, "breached"), (59, "tick"), (60, "tick")],
        "inactive",
        [],
        "no_data_while_pending",
    ),
    ("breached again says nothing", {}, [(0, "breached"), (5, "breached")], "firing", ["firing"], "still_firing"),
    ("ok resolves", {}, [(0, "breached"), (5, "ok")], "resolved", ["firing", "resolved"], "recovered"),
    ("inconclusive changes nothing", {}, [(0, "breached"), (5, "inconclusive")], "firing", ["firing"], "inconclusive"),
    (
        "keep_firing_for holds it",
        {"keep_firing_for_seconds": 20},
        [(0, "breached"), (5, "ok"), (24, "ok")],
        "firing",
        ["firing"],
        "clearing",
    ),
    (
        "until it is over",
        {"keep_firing_for_seconds": 20},
        [(0, "breached"), (5, "ok"), (25, "tick")],
        "resolved",
        ["firing", "resolved"],
        "recovered",
    ),
    (
        "a breach in between starts it anew",
        {"keep_firing_for_seconds": 20},
        [(0, "breached"), (5, "ok"), (20, "breached"), (26, "ok")],
        "firing",
        ["firing"],
        "clearing",
    ),
    ("no data is not yet news", {}, [(0, "breached"), (5, "no_data")], "firing", ["firing"], "data_missing"),
    (
        "no data for the grace is",
        {},
        [(0, "breached"), (5, "no_data"), (65, "no_data")],
        "no_data",
        ["firing", "no_data"],
        "no_data",
    ),
    ("silence is no data too", {}, [(0, "breached"), (60, "tick")], "no_data", ["firing", "no_data"], "no_data"),
    (
        "it is said once",
        {},
        [(0, "breached"), (60, "tick"), (120, "tick")],
        "no_data",
        ["firing", "no_data"],
        "data_missing",
    ),
    (
        "data is back",
        {},
        [(0, "breached"), (60, "tick"), (90, "breached")],
        "firing",
        ["firing", "no_data", "data_back"],
        "data_returned",
    ),
    (
        "back and well",
        {},
        [(0, "breached"), (60, "tick"), (90, "ok")],
        "resolved",
        ["firing", "no_data", "resolved"],
        "recovered",
    ),
    (
        "never closed for lack of data",
        {},
        [(0, "breached"), (60, "tick"), (3000, "tick")],
        "no_data",
        ["firing", "no_data"],
        "data_missing",
    ),
    (
        "said again after the interval",
        {},
        [(0, "breached"), (3599, "breached"), (3600, "breached")],
        "firing",
        ["firing", "repeat"],
        "repeat_interval_elapsed",
    ),
    (
        "not while it is clearing",
        {"keep_firing_for_seconds": 600},
        [(0, "breached"), (3590, "ok"), (3600, "ok")],
        "firing",
        ["firing"],
        "clearing",
    ),
    (
        "it fires again after it was over",
        {},
        [(0, "breached"), (5, "ok"), (9, "breached")],
        "firing",
        ["firing", "resolved", "firing"],
        "fired",
    ),
    (
        "an old breach, carried on by the clock, does not fire again",
        {},
        [(0, "breached"), (5, "ok"), (9, "tick")],
        "resolved",
        ["firing", "resolved"],
        "nothing_to_do",
    ),
]


@pytest.mark.parametrize(
    ("fields", "events", "status", "said", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_decision_table(
    fields: dict[str, Any], events: list[tuple[float, str]], status: str, said: list[str], reason: str
) -> None:
    story = Story(**fields)
    for second, event in events:
        story.at(second, event)
    assert (story.status, story.said, story.last.reason) == (status, said, reason)


def test_an_alert_without_data_is_closed_when_so_configured() -> None:
    policy = Policy(receivers=("slack",), no_data_grace_seconds=60.0, no_data_resolve_seconds=600.0)
    story = Story(policy).at(0, "breached").at(60, "tick").at(599, "tick")
    assert story.status == "no_data"
    story.at(600, "tick")
    assert story.status == "resolved"
    assert story.said == ["firing", "no_data", "resolved"]
    assert story.last.reason == "no_data_too_long"


def test_silence_before_we_listened_is_no_silence() -> None:
    story = Story().at(0, "breached")
    assert step(story.state, Tick(START + 500), START + 510, POLICY).reason == "still_firing"
    assert step(story.state, Tick(START + 500), START + 560, POLICY).reason == "no_data"


def test_that_we_begin_to_listen_brings_no_data_back() -> None:
    story = Story().at(0, "breached").at(60, "tick")
    again = step(story.state, Tick(START + 100), START + 101, POLICY)
    assert (again.reason, again.messages) == ("data_missing", ())
    assert story.at(110, "inconclusive").at(111, "tick").status == "no_data"
    assert story.at(112, "breached").said == ["firing", "no_data", "data_back"]


def test_what_resolves_before_it_was_said_becomes_one_message() -> None:
    story = Story(deliver=False).at(0, "breached")
    assert [owed.kind for owed in story.last.messages] == ["firing"]
    story.at(5, "ok")
    assert story.state is not None
    assert [owed.kind for owed in story.state.owed] == ["cleared"]
    facts = story.state.owed[0].facts
    assert (facts.fired_at_seconds, facts.resolved_at_seconds, facts.worst_value) == (START, START + 5, 1240.0)


def test_what_is_being_sent_is_not_merged() -> None:
    story = Story(deliver=False).at(0, "breached")
    assert story.state is not None
    heard = Heard(verdict("ok", START + 5), 0, 1)
    after = step(story.state, heard, START + 5, POLICY, in_flight=[story.state.owed[0].number]).state
    assert after is not None
    assert [owed.kind for owed in after.owed] == ["firing", "resolved"]


def test_state_does_not_wait_for_a_message() -> None:
    story = Story(deliver=False).at(0, "breached").at(5, "ok").at(9, "breached").at(12, "ok").at(20, "breached")
    assert story.status == "firing"
    assert story.state is not None
    assert [owed.kind for owed in story.state.owed] == ["cleared", "firing"]
    assert story.state.owed[0].facts.episodes == 2


def test_a_new_receiver_is_told_of_what_fires_and_of_its_end() -> None:
    story = Story().at(0, "breached")
    story.policy = Policy(receivers=("slack", "console"))
    story.at(5, "tick")
    assert [(owed.receiver, owed.kind) for owed in story.last.messages] == [("console", "firing")]
    story.at(9, "ok")
    assert [(owed.receiver, owed.kind) for owed in story.last.messages] == [
        ("slack", "resolved"),
        ("console", "resolved"),
    ]


def test_only_those_on_the_route_are_told_and_the_rest_hears_of_no_end() -> None:
    by_severity = {"critical": ("slack", "console"), "warning": ("console",)}
    policy = Policy(receivers=("slack", "console"), route=lambda verdict: by_severity[verdict.severity])
    story = Story(policy, severity="warning").at(0, "breached")
    assert [owed.receiver for owed in story.last.messages] == ["console"]
    story.at(10, "ok")
    assert [(owed.receiver, owed.kind) for owed in story.last.messages] == [("console", "resolved")]


def test_a_route_that_changed_leaves_no_message_open() -> None:
    story = Story(Policy(receivers=("slack", "console"), route=lambda _: ("slack",))).at(0, "breached")
    story.policy = Policy(receivers=("slack", "console"), route=lambda _: ("console",))
    story.at(10, "breached")
    assert [(owed.receiver, owed.kind) for owed in story.last.messages] == [("console", "firing")]
    story.at(20, "ok")
    assert {owed.receiver for owed in story.last.messages} == {"slack", "console"}


def test_a_receiver_that_never_heard_of_it_is_not_told_that_it_is_over() -> None:
    story = Story().at(0, "breached")
    story.policy = Policy(receivers=("slack", "console"))
    story.at(9, "ok")
    assert [(owed.receiver, owed.kind) for owed in story.last.messages] == [("slack", "resolved")]


def test_what_is_owed_to_a_receiver_that_was_removed_is_dropped() -> None:
    story = Story(deliver=False).at(0, "breached")
    story.policy = Policy(receivers=("console",))
    story.at(1, "tick")
    assert story.state is not None
    assert [(owed.receiver, owed.kind) for owed in story.state.owed] == [("console", "firing")]


def test_a_verdict_that_is_delivered_again_changes_nothing() -> None:
    story = Story().at(0, "breached").at(5, "ok")
    assert story.state is not None
    again = step(story.state, Heard(verdict("breached", START), 0, 0), START + 6, POLICY)
    assert (again.reason, again.state) == ("already_applied", story.state)


def test_verdicts_of_a_topic_that_was_made_anew_count() -> None:
    story = Story().at(0, "breached").at(5, "breached")
    assert story.state is not None
    assert not already_applied(story.state, Heard(verdict("ok", START + 9), 0, 0))


def test_a_budget_alert_ends_with_its_day_in_the_budgets_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 3, 28, 23, 59, 50, tzinfo=zone).timestamp()  # the day before clocks go forward
    policy = Policy(receivers=("slack",), timezone=zone)
    fields = {"day": "2026-03-28", "alert_type": "BUDGET_EXCEEDED", "alert_id": "budget|2026-03-28|100%"}
    state = step(None, Heard(verdict("breached", evening, **fields), 0, 0), evening, policy).state
    assert state is not None
    assert step(state, Tick(evening), evening + 9, policy).reason == "still_firing"
    over = step(state, Tick(evening), evening + 11, policy)
    assert over.reason == "day_over"
    assert over.state is not None
    late = Heard(verdict("breached", evening + 15, **fields), 0, 1)
    assert step(over.state, late, evening + 15, policy).reason == "nothing_to_do"


def test_a_budget_crossed_by_the_last_events_of_a_day_is_still_told() -> None:
    midnight = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    heard = Heard(verdict("breached", midnight + 3, day="2026-01-01"), 0, 0)
    outcome = step(None, heard, midnight + 3, POLICY)
    assert [owed.kind for owed in outcome.messages] == ["cleared"]
    assert outcome.messages[0].facts.reason == "day_over"


def test_an_alert_that_is_over_is_forgotten_after_a_while_but_not_while_it_owes_something() -> None:
    story = Story().at(0, "breached").at(5, "ok").at(POLICY.forget_after_seconds + 6, "tick")
    assert (story.state, story.last.reason) == (None, "forgotten")
    story = Story(deliver=False).at(0, "breached").at(5, "ok").at(POLICY.forget_after_seconds + 6, "tick")
    assert story.state is not None


def test_a_refreshed_value_is_not_worth_a_write_and_a_transition_is() -> None:
    story = Story().at(0, "breached")
    before = story.state
    story.at(5, "breached", value=9999.0).at(6, "tick")
    assert not worth_saving(before, story.state)
    story.at(7, "ok")
    assert worth_saving(before, story.state)
    assert worth_saving(None, story.state)
    assert worth_saving(story.state, None)
    assert not worth_saving(None, None)


def test_the_worst_value_is_kept_on_the_side_that_hurts() -> None:
    story = Story().at(0, "breached", value=900.0).at(1, "breached", value=2000.0).at(2, "breached", value=1000.0)
    assert story.state is not None
    assert story.state.worst_value == 2000.0
    low = Story(comparison="<", threshold=40.0).at(0, "breached", value=30.0).at(1, "breached", value=12.0)
    assert low.state is not None
    assert low.state.worst_value == 12.0


def test_every_transition_is_kept_with_its_reason() -> None:
    story = Story(for_seconds=10).at(0, "breached").at(10, "breached").at(80, "tick").at(90, "ok")
    assert story.state is not None
    assert [(t.status, t.reason) for t in story.state.history] == [
        ("pending", "breach_began"),
        ("firing", "fired"),
        ("no_data", "no_data"),
        ("resolved", "recovered"),
    ]
