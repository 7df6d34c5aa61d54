"""What people do about an alert: it counts once, for the episode they saw, and hides no end."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.lifecycle import act
from alerting.message import compose
from alerting.outbox import failed
from alerting.parcels import SendFailed, Traits
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import MAX_APPLIED, Ref
from tests.harness.actions import action
from tests.harness.alert_world import START_SECONDS, FakeReceiver, World, alert_id
from tests.harness.stories import START, Alert

POLICY = Policy(("slack",), repeat_interval_seconds=3600.0, no_data_grace_seconds=60.0)


def test_an_acknowledged_alert_is_not_repeated_and_its_end_is_told() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10)
    assert (alert.status, alert.reason) == ("acknowledged", "acknowledged")
    alert.hear("breached", 20).hear("breached", 9000)
    assert alert.told == ["firing", "acknowledged"]
    alert.hear("ok", 9010)
    assert (alert.status, alert.told) == ("resolved", ["firing", "acknowledged", "resolved"])


def test_missing_data_does_not_take_an_acknowledgement_back() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10).tick(500)
    assert (alert.status, alert.told) == ("acknowledged", ["firing", "acknowledged"])
    assert alert.hear("breached", 600).status == "acknowledged"


def test_an_alert_without_data_can_be_acknowledged() -> None:
    alert = Alert(POLICY).hear("breached", 0).tick(100).act("acknowledge", 110)
    assert (alert.status, alert.told) == ("acknowledged", ["firing", "no_data", "acknowledged"])


def test_the_next_episode_fires_as_if_nobody_had_acknowledged() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10).hear("ok", 20).hear("breached", 30)
    assert alert.status == "firing"
    assert alert.state is not None
    assert (alert.state.act, alert.state.applied) == (None, ())
    assert alert.told[-1] == "firing"


def test_what_gets_more_severe_than_what_was_acknowledged_is_told() -> None:
    alert = Alert(POLICY).hear("breached", 0, severity="warning").act("acknowledge", 10)
    alert.hear("breached", 20, severity="warning").hear("breached", 30, severity="info")
    assert alert.status == "acknowledged"
    alert.hear("breached", 40, severity="critical")
    assert (alert.status, alert.reason) == ("firing", "severity_rose")
    assert alert.told == ["firing", "acknowledged", "escalated"]
    alert.hear("breached", 50, severity="critical")
    assert alert.told[-1] == "escalated", "said once"


def test_a_snoozed_alert_is_silent_until_its_time_and_then_told_if_it_still_fires() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 10, until_seconds=START + 8000)
    assert (alert.status, alert.reason) == ("snoozed", "snoozed")
    for second in range(100, 8000, 50):
        alert.hear("breached", second)
    assert (alert.status, alert.told) == ("snoozed", ["firing", "snoozed"])
    alert.hear("breached", 8000)
    assert (alert.status, alert.told) == ("firing", ["firing", "snoozed", "snooze_over"])
    alert.hear("breached", 8100)
    assert alert.told[-1] == "snooze_over", "said once"


def test_time_alone_ends_a_snooze() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 1, until_seconds=START + 30).tick(31)
    assert (alert.status, alert.told[-1]) == ("firing", "snooze_over")


def test_a_snooze_that_ends_without_data_says_that() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 10).tick(300)
    assert alert.status == "snoozed"
    alert.tick(610)
    assert (alert.status, alert.told) == ("no_data", ["firing", "snoozed", "no_data"])


def test_an_end_is_told_though_it_is_snoozed() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 10).hear("ok", 20)
    assert (alert.status, alert.told) == ("resolved", ["firing", "snoozed", "resolved"])
    assert alert.tick(700).told == ["firing", "snoozed", "resolved"]


def test_a_snooze_does_not_end_while_the_alert_is_about_to() -> None:
    alert = Alert(POLICY, keep_firing_for_seconds=100.0).hear("breached", 0).act("snooze", 10).hear("ok", 600)
    assert alert.hear("ok", 650).told == ["firing", "snoozed"]
    assert alert.hear("ok", 700).told == ["firing", "snoozed", "resolved"]


def test_a_snooze_is_moved_by_another_and_replaced_by_an_acknowledgement() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 10).act("snooze", 20, until_seconds=START + 5000)
    assert alert.hear("breached", 4000).status == "snoozed"
    assert alert.act("acknowledge", 4001).status == "acknowledged"
    assert alert.hear("breached", 5001).status == "acknowledged"
    assert alert.act("snooze", 5010).status == "snoozed"


def test_what_nobody_heard_of_when_it_was_snoozed_is_told_afterwards() -> None:
    alert = Alert(POLICY)
    alert.away = True
    alert.hear("breached", 0).act("snooze", 10)
    assert alert.state is not None
    assert alert.state.owed == ()
    alert.away = False
    alert.hear("breached", 100).hear("breached", 610)
    assert alert.told == ["firing"]


def test_an_acknowledgement_before_the_message_went_out_is_part_of_it() -> None:
    alert = Alert(POLICY)
    alert.away = True
    alert.hear("breached", 0).act("acknowledge", 10)
    alert.away = False
    alert.tick(20)
    assert alert.told == ["firing"]
    assert any(detail.label == "Acknowledged by" for detail in compose(alert.messages[0]).details)


@pytest.mark.parametrize("do", ["acknowledge", "snooze"])
@pytest.mark.parametrize(
    ("events", "episode", "reason"),
    [
        ([], 1, "not_active"),
        ([("breached", 0.0), ("ok", 5.0)], 1, "not_active"),
        ([("breached", 0.0), ("ok", 5.0), ("breached", 8.0)], 1, "another_episode"),
        ([("breached", 0.0)], 2, "another_episode"),
    ],
)
def test_an_act_that_races_the_end_changes_nothing(
    do: str, events: list[tuple[str, float]], episode: int, reason: str
) -> None:
    alert = Alert(POLICY)
    for judgement, second in events:
        alert.hear(judgement, second)
    before, told = alert.state, list(alert.told)
    alert.act(do, 10, episode=episode)
    assert (alert.state, alert.told, alert.reason) == (before, told, reason)


@pytest.mark.parametrize("do", ["acknowledge", "snooze"])
def test_an_act_on_an_alert_that_was_forgotten_since_is_not_for_its_next_life(do: str) -> None:
    """Acts are read again from their beginning at a take-over, and episodes are counted from 1 again."""
    alert = Alert(POLICY).hear("breached", 0).hear("ok", 10).tick(POLICY.forget_after_seconds + 10)
    assert alert.state is None
    later = POLICY.forget_after_seconds + 20
    alert.hear("breached", later)
    until = START + later + 600
    late = action(do, START + 5, until_seconds=until)
    outcome = act(alert.state, late, START + later + 5, POLICY)
    assert (outcome.reason, outcome.state) == ("another_episode", alert.state)
    now = action(do, START + later + 5, until_seconds=until)
    assert act(alert.state, now, START + later + 5, POLICY).reason in ("acknowledged", "snoozed")


def test_a_pending_alert_cannot_be_acknowledged() -> None:
    alert = Alert(POLICY, for_seconds=30.0).hear("breached", 0)
    before = alert.state
    assert alert.act("acknowledge", 10, episode=0).state == before
    assert alert.reason == "not_active"


def test_an_act_that_comes_again_changes_nothing() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10, action_id="one").act("snooze", 20, action_id="two")
    before = alert.state
    for do, name in (("acknowledge", "one"), ("snooze", "two"), ("acknowledge", "one")):
        alert.act(do, 30, action_id=name)
        assert (alert.state, alert.reason) == (before, "already_applied")


def test_who_acknowledges_what_another_did_is_not_told_of() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10, by="kim").act("acknowledge", 20, by="lee")
    assert alert.reason == "already_acknowledged"
    assert alert.state is not None
    assert alert.state.act is not None
    assert alert.state.act.by == "kim"


def test_a_second_acknowledgement_that_is_read_again_does_not_replace_what_came_after_it() -> None:
    alert = Alert(POLICY).hear("breached", 0, severity="warning")
    alert.act("acknowledge", 10, by="kim", action_id="kim").act("acknowledge", 20, by="lee", action_id="lee")
    alert.act("snooze", 30, by="kim")
    assert alert.act("acknowledge", 40, by="lee", action_id="lee").reason == "already_applied"
    assert alert.status == "snoozed"
    alert.hear("breached", 50, severity="critical").act("acknowledge", 60, by="lee", action_id="lee")
    assert (alert.status, alert.told[-1]) == ("firing", "escalated"), "what got more severe is not hidden either"


@pytest.mark.parametrize("until", [None, START, START + 10.0])
def test_a_snooze_that_is_over_already_changes_nothing(until: float | None) -> None:
    alert = Alert(POLICY).hear("breached", 0)
    before = alert.state
    alert.act("snooze", 10, until_seconds=until)
    assert (alert.state, alert.reason) == (before, "snooze_is_past")


def test_who_when_how_and_why_is_kept() -> None:
    alert = (
        Alert(POLICY).hear("breached", 0).act("acknowledge", 10, by="kim", via="command", note="looking").hear("ok", 20)
    )
    assert alert.state is not None
    assert [(t.status, t.reason) for t in alert.state.history] == [
        ("firing", "fired"),
        ("acknowledged", "acknowledged"),
        ("resolved", "recovered"),
    ]
    done = alert.state.history[1].act
    assert done is not None
    assert (done.by, done.via, done.at_seconds, done.note) == ("kim", "command", START + 10, "looking")
    assert alert.state.history[2].act is None


def test_a_second_snooze_is_kept_too() -> None:
    alert = Alert(POLICY).hear("breached", 0).act("snooze", 10, by="kim").act("snooze", 20, by="lee")
    assert alert.state is not None
    assert [t.act.by for t in alert.state.history if t.act is not None] == ["kim", "lee"]


def test_few_ids_are_remembered() -> None:
    alert = Alert(POLICY).hear("breached", 0)
    for second in range(1, 3 * MAX_APPLIED):
        alert.act("snooze", second, by=f"p{second}")
    assert alert.state is not None
    assert len(alert.state.applied) == MAX_APPLIED


def test_an_acknowledgement_is_told_under_a_silence_and_a_snooze_that_ends_there_waits() -> None:
    quiet = Quiet("silence", "s1")
    alert = Alert(POLICY).hear("breached", 0).act("acknowledge", 10, quiet)
    assert alert.told == ["firing", "acknowledged"]
    alert.act("snooze", 20, quiet, until_seconds=START + 50).tick(51, quiet)
    assert (alert.status, alert.told[-1]) == ("firing", "snoozed")
    assert alert.hear("breached", 55).told[-1] == "snooze_over"


def test_what_was_decided_and_not_sent_survives_a_failure() -> None:
    alert = Alert(POLICY)
    alert.away = True
    alert.hear("breached", 0)
    assert alert.state is not None
    first = alert.state.owed[0].number
    outcome = act(alert.state, action(at=START + 5), START + 5, POLICY, in_flight=[first])
    assert outcome.state is not None
    assert [owed.kind for owed in outcome.state.owed] == ["firing", "acknowledged"]
    assert [owed.kind for owed in failed(outcome.state, first, "away").owed] == ["firing"]


@pytest.mark.parametrize(
    ("do", "heading"),
    [("acknowledge", "👀 Acknowledged by kim: high latency"), ("snooze", "💤 Snoozed for 10 min by kim: high latency")],
)
def test_the_message_says_who_and_until_when(do: str, heading: str) -> None:
    alert = Alert(POLICY).hear("breached", 0).act(do, 10, note="a deploy")
    message = compose(alert.messages[-1])
    assert message.title.startswith(heading)
    assert any(detail.text == "a deploy" for detail in message.details)
    assert any(detail.label == "Snoozed until" for detail in message.details) is (do == "snooze")


# --- the engine ---


def asked(name: str, do: str = "acknowledge", **more: Any) -> Any:
    return action(do, START_SECONDS, alert_id=alert_id(name), **more)


def test_an_act_is_stored_before_it_is_told() -> None:
    slack = FakeReceiver()
    world = World(POLICY, [slack])
    world.breach(["a"])
    world.cycle()
    assert world.engine.act(asked("a"), world.now, world.second) == "acknowledged"
    assert world.begin("slack") is None
    world.cycle()
    assert slack.told("a") == ["firing", "acknowledged"]
    world.crash()
    assert world.engine.act(asked("a"), world.now, world.second) == "already_applied"
    assert dict(world.engine.unsaved()) == {}


def test_an_act_that_was_not_stored_is_read_again_after_a_crash() -> None:
    slack = FakeReceiver()
    world = World(POLICY, [slack])
    world.breach(["a"])
    world.cycle()
    world.engine.act(asked("a"), world.now, world.second)
    world.crash()
    assert world.engine.act(asked("a"), world.now, world.second) == "acknowledged"
    world.cycle()
    assert slack.told("a") == ["firing", "acknowledged"]


def test_an_act_on_the_alert_of_another_process_is_theirs() -> None:
    world = World(POLICY, [FakeReceiver()])
    world.breach(["a"])
    world.cycle()
    world.engine.load(dict(world.engine.states), frozenset({1}))
    assert world.engine.act(asked("a"), world.now, world.second) == "not_active"
    world.engine.release()
    assert world.engine.act(asked("a"), world.now, world.second) == "not_active"


def test_a_receiver_that_was_away_is_told_of_the_act_with_the_alert() -> None:
    def away(second: float, _: Any) -> Ref:
        if second < 100.0:
            raise SendFailed("away", retryable=True)
        return Ref("C1", "1")

    slack = FakeReceiver(script=away, traits=Traits(edits=True))
    world = World(POLICY, [slack])
    world.breach(["a"])
    world.advance(5.0)
    world.engine.act(asked("a"), world.now, world.second)
    world.advance(50.0)
    world.breach(["a"])
    world.advance(150.0)
    assert slack.told("a") == ["firing"]
