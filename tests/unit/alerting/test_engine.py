"""The deciding half of the service, without Kafka, threads and a clock."""

from __future__ import annotations

import pytest

from alerting.engine import Engine, Move, Totals
from alerting.lifecycle import Heard
from alerting.parcels import Parcel, Result, SendFailed, Traits
from alerting.policy import Policy
from alerting.states import AlertState, Ref
from tests.harness.alert_world import FakeReceiver, World, alert_id
from tests.harness.verdicts import verdict

POLICY = Policy(("slack",))
TRAITS = {"slack": Traits(edits=True)}
OURS = frozenset({0})


def engine(owned: frozenset[int] = OURS) -> Engine:
    made = Engine(POLICY, TRAITS)
    made.load({}, owned)
    return made


def breach(to: Engine, name: str, offset: int = 0, now: float = 1000.0, partition: int = 0, **fields: object) -> None:
    to.hear(Heard(verdict(at=now, alert_id=name, **fields), partition, offset), now, 0.0)


def order_of(found: Engine) -> list[str]:
    sent = []
    while (job := found.next_job("slack", 0.0)) is not None:
        sent.append(job.entries[0][0])
        found.settle(Result(job, Ref("C1", "1"), None), 0.0, None)
        found.saved(0.0)
    return sent


def test_nothing_goes_out_that_is_not_stored() -> None:
    found = engine()
    breach(found, "a")
    assert found.next_job("slack", 0.0) is None
    assert set(found.unsaved()) == {"a"}
    found.saved(0.0)
    assert found.next_job("slack", 0.0) is not None


def test_a_receiver_has_one_message_at_a_time() -> None:
    found = engine()
    breach(found, "a")
    breach(found, "b", 1)
    found.saved(0.0)
    job = found.next_job("slack", 0.0)
    assert job is not None
    assert found.next_job("slack", 0.0) is None
    assert found.settle(Result(job, Ref("C1", "1"), None), 0.0, None)
    assert found.next_job("slack", 0.0) is not None


def test_what_is_critical_goes_first_then_what_is_owed_longest() -> None:
    found = engine()
    breach(found, "late", 0, 1002.0, severity="warning")
    breach(found, "early", 1, 1001.0, severity="warning")
    breach(found, "critical", 2, 1003.0)
    found.saved(0.0)
    assert order_of(found) == ["critical", "early", "late"]


def test_a_message_that_is_refused_waits_alone() -> None:
    found = engine()
    breach(found, "bad")
    breach(found, "good", 1, 1001.0)
    found.saved(0.0)
    job = found.next_job("slack", 0.0)
    assert job is not None
    refused = SendFailed("too long", retryable=False, of_message=True)
    found.settle(Result(job, None, refused), 0.0, 30.0)
    assert found.unsaved()["bad"].troubles == {"slack": "too long"}  # type: ignore[union-attr]
    found.saved(0.0)
    assert order_of(found) == ["good"]
    assert found.next_job("slack", 29.0) is None
    again = found.next_job("slack", 30.0)
    assert again is not None
    assert again.parcel == job.parcel


@pytest.mark.parametrize("owned", [frozenset({1}), frozenset[int]()])
def test_alerts_of_others_are_theirs_to_tell(owned: frozenset[int]) -> None:
    found = engine(owned)
    breach(found, "a")
    found.saved(0.0)
    assert found.next_job("slack", 0.0) is None
    assert (found.owed(), found.known()) == (0, Totals(1, 1, 1))


def test_while_the_group_is_rearranged_nothing_goes_out() -> None:
    found = engine()
    breach(found, "a")
    found.saved(0.0)
    found.release()
    assert found.next_job("slack", 0.0) is None
    assert found.owed() == 0


def test_an_answer_that_was_not_stored_outlives_a_rearrangement() -> None:
    found = engine()
    breach(found, "a")
    stored = dict(found.states)
    found.saved(0.0)
    job = found.next_job("slack", 0.0)
    assert job is not None
    found.settle(Result(job, Ref("C1", "1"), None), 0.0, None)
    found.release()
    found.load(stored, OURS)
    assert found.owed() == 0
    assert set(found.unsaved()) == {"a"}


def test_what_is_on_its_way_is_not_merged_away_by_a_rearrangement() -> None:
    found = engine()
    breach(found, "a")
    found.saved(0.0)
    job = found.next_job("slack", 0.0)
    found.hear(Heard(verdict("ok", 1001.0, alert_id="a"), 0, 1), 1001.0, 1.0)
    found.release()
    found.load(dict(found.states), OURS)
    assert [owed.kind for owed in found.states["a"].owed] == ["firing", "resolved"]
    assert job is not None
    assert found.next_job("slack", 1.0) is None


def test_receivers_that_are_not_configured_any_more_are_named() -> None:
    before = Engine(Policy(("slack", "gone")), {**TRAITS, "gone": Traits()})
    before.load({}, OURS)
    breach(before, "a")
    assert engine().load(before.states, OURS) == {"gone": 1}


def test_moves_are_reported_once() -> None:
    found = engine()
    waits = verdict(at=1000.0, alert_id="a", for_seconds=10.0)
    assert found.hear(Heard(waits, 0, 0), 1000.0, 0.0) == Move("a", "inactive", "pending", "breach_began")
    assert found.hear(Heard(waits, 0, 0), 1000.0, 0.0) is None
    assert found.tick(1009.0, 9.0, 1000.0) == []
    assert found.tick(1010.0, 10.0, 1000.0) == [Move("a", "pending", "firing", "fired")]


def test_an_alert_that_is_forgotten_is_forgotten_on_the_topic_too() -> None:
    found = engine()
    breach(found, "a", for_seconds=10.0)
    found.saved(0.0)
    found.hear(Heard(verdict("ok", 1001.0, alert_id="a"), 0, 1), 1001.0, 1.0)
    assert found.unsaved() == {"a": None}
    assert found.states == {}


def test_only_who_can_edit_is_told_which_message() -> None:
    slack, hook = FakeReceiver("slack"), FakeReceiver("hook", traits=Traits(), script=lambda _, __: Ref("x", "1"))
    world = World(Policy(("slack", "hook")), [slack, hook])
    world.breach(["a"])
    world.cycle()
    world.clear(["a"])
    world.cycle()
    assert [parcel.ref for _, parcel in slack.taken] == [None, Ref("C1", "1")]
    assert [parcel.ref for _, parcel in hook.taken] == [None, None]


def test_a_message_has_the_same_keys_at_every_attempt() -> None:
    seen: list[tuple[str, str]] = []

    def refuse_twice(_: float, parcel: Parcel) -> Ref:
        seen.append((parcel.key, parcel.news_key))
        if len(seen) < 3:
            raise SendFailed("away", retryable=True)
        return Ref("C1", "1")

    world = World(POLICY, [FakeReceiver(script=refuse_twice)])
    world.breach(["a"])
    world.advance(1.0)
    world.crash()
    world.advance(10.0)
    world.clear(["a"])
    world.advance(1.0)
    *attempts, end = seen
    assert len(attempts) == 3
    assert len(set(attempts)) == 1, "also after a crash"
    assert end[0] == attempts[0][0]
    assert end[1] != attempts[0][1]
    world.breach(["a"])
    world.advance(1.0)
    assert seen[-1][0] != end[0], "an episode of its own"


@pytest.mark.parametrize("stored", [False, True])
def test_a_crash_before_sending_loses_and_doubles_nothing(stored: bool) -> None:
    slack = FakeReceiver()
    world = World(POLICY, [slack])
    world.breach(["a"])
    if stored:
        world.save()
        assert world.begin("slack") is not None
    world.crash()
    world.advance(2.0)
    assert slack.told("a") == ["firing"]
    assert _status(world.state("a")) == "firing"


def test_a_thousand_alerts_get_through_an_outage_each_once() -> None:
    """Ten minutes without an answer; a part of them is over by then."""

    def away(second: float, parcel: Parcel) -> Ref:
        if second < 600.0:
            raise SendFailed("away", retryable=True)
        return parcel.ref or Ref("C1", parcel.key)

    slack = FakeReceiver(script=away)
    world = World(POLICY, [slack])
    names = [str(i) for i in range(1000)]
    world.breach(names, samples=1)
    world.advance(30.0, step=5.0)
    world.clear(names[::4])
    for _ in range(13):  # agents repeat what they judged
        world.advance(50.0, step=5.0)
        world.breach([name for i, name in enumerate(names) if i % 4])
        world.clear(names[::4])
    assert [slack.told(name) for name in names[::4]] == [["cleared"]] * 250
    told = [alert for alert, kind in slack.news if kind == "firing"]
    assert sorted(told) == sorted(alert_id(name) for i, name in enumerate(names) if i % 4)
    assert world.engine.owed() == 0
    assert len(slack.taken) <= 3, "what waited is told together"
    assert slack.attempts - len(slack.taken) < 30, "a dead receiver is not hammered"


def _status(state: AlertState | None) -> str:
    return "inactive" if state is None else state.status
