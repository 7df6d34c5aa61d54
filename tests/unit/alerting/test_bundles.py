"""What goes out together: storms are few messages that account for every alert."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from alerting.bundle_words import NAMED, WORDS
from alerting.calm import Calm
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.policy import Policy
from alerting.states import Kind, Ref
from tests.harness.alert_world import FakeReceiver, World, alert_id

POLICY = Policy(("slack",), no_data_grace_seconds=3600.0)
FIVE_MINUTES = 300.0


def world(policy: Policy = POLICY, **calm: object) -> tuple[World, FakeReceiver]:
    slack = FakeReceiver()
    return World(policy, [slack], calm=Calm(**calm)), slack  # type: ignore[arg-type]


def names(count: int) -> list[str]:
    return [f"m{i:04}" for i in range(count)]


def most_posts(slack: FakeReceiver, seconds: float = FIVE_MINUTES) -> int:
    """In any stretch of so many seconds; an edit is no post."""
    at = [second for second, parcel in slack.taken if parcel.ref is None]
    return max((sum(first <= second < first + seconds for second in at) for first in at), default=0)


def test_a_thousand_breaches_at_once_are_one_message_that_counts_them_all() -> None:
    found, slack = world()
    all_of_them = names(1000)
    found.breach(all_of_them)
    found.advance(60.0)
    assert len(slack.taken) == 1
    message = slack.taken[0][1].message
    assert message.title == "🔴 1,000 alerts fire"
    assert len(message.lines) == NAMED + 1
    assert message.lines[-1] == "… and 986 more: 986 high latency"
    assert [slack.told(name) for name in all_of_them] == [["firing"]] * 1000
    assert found.engine.owed() == 0


def test_their_ends_are_one_message_too() -> None:
    found, slack = world()
    found.breach(names(1000))
    found.advance(60.0)
    found.clear(names(1000))
    found.advance(60.0)
    assert [parcel.message.title for _, parcel in slack.taken] == ["🔴 1,000 alerts fire", "✅ 1,000 alerts are over"]
    assert all(slack.told(name) == ["firing", "resolved"] for name in names(1000))


def test_a_storm_that_comes_piece_by_piece_keeps_the_cap_and_loses_nothing() -> None:
    found, slack = world()
    rng = random.Random(6)
    for name in names(600):
        found.breach([name], severity=rng.choice(["critical", "warning", "info"]))
        found.advance(rng.choice([0.0, 0.5, 1.0, 3.0]))
    found.advance(150.0)
    assert found.engine.owed() == 0
    assert all(slack.told(name) == ["firing"] for name in names(600))
    for name in names(600):
        found.clear([name])
        found.advance(rng.choice([0.0, 0.5, 1.0]))
    found.advance(150.0)
    assert found.engine.owed() == 0
    assert all(slack.told(name) == ["firing", "resolved"] for name in names(600))
    assert most_posts(slack) <= 20


@pytest.mark.parametrize("seed", range(3))
def test_a_restart_in_the_midst_of_a_storm_keeps_the_cap(seed: int) -> None:
    found, slack = world()
    rng = random.Random(seed)
    for name in names(120):
        found.breach([name], severity=rng.choice(["critical", "warning", "info"]))
        found.advance(rng.choice([0.0, 0.5, 1.0, 3.0]))
        if rng.random() < 0.15:
            found.crash()
    found.advance(150.0)
    assert found.engine.owed() == 0
    assert all(slack.told(name) == ["firing"] for name in names(120))
    assert most_posts(slack) <= 20


def test_after_a_restart_long_after_a_storm_there_is_room_again() -> None:
    found, slack = world(bundle_from=1000)
    found.breach(names(30))
    found.advance(400.0)
    before = len(slack.taken)
    found.crash()
    found.breach([f"later-{name}" for name in names(8)])
    found.advance(1.0)
    assert len(slack.taken) == before + 8


def test_few_alerts_stay_messages_of_their_own() -> None:
    found, slack = world()
    found.breach(names(4))
    found.advance(5.0)
    assert [parcel.message.kind for _, parcel in slack.taken] == ["firing"] * 4


def test_a_critical_alert_does_not_wait_behind_a_storm_of_warnings() -> None:
    found, slack = world()
    for name in names(60):  # one after the other: the cap is used up
        found.breach([name], severity="warning")
        found.advance(1.0)
    found.breach(["urgent"], severity="critical")
    found.advance(1.0)
    assert slack.told("urgent") == ["firing"]
    assert slack.taken[-1][1].message.kind == "firing", "and it is a message of its own"


def test_an_end_turns_its_own_message_green_whatever_the_cap_says() -> None:
    found, slack = world()
    for name in names(12):
        found.breach([name])
        found.advance(0.5)
    own = [parcel.key for _, parcel in slack.taken if parcel.message.kind == "firing"]
    posts = len(slack.taken)
    found.clear(names(12))
    found.advance(1.0)
    assert [parcel.key for _, parcel in slack.taken[posts:]] == own, "edits only; there is no post left"
    found.advance(150.0)
    assert [slack.told(name) for name in names(12)] == [["firing", "resolved"]] * 10 + [["cleared"]] * 2


def test_warnings_are_not_starved_by_a_long_storm_of_critical_alerts() -> None:
    found, slack = world()
    for i in range(400):
        found.breach([f"critical{i}"], severity="critical")
        if i == 100:
            found.breach(["warning"], severity="warning")
        found.advance(1.0)
        if i == 140:
            assert slack.told("warning") == ["firing"]
    assert most_posts(slack) <= 20


def test_alerts_that_lose_their_data_at_once_are_one_message() -> None:
    found, slack = world(Policy(("slack",)), bundle_from=100, cap_posts=None)
    for name in names(50):
        found.breach([name])
        found.advance(0.1, step=0.1)
    assert len(slack.taken) == 50
    found.advance(120.0)
    assert len(slack.taken) == 51
    assert slack.taken[-1][1].message.title == "⚪ 50 alerts have no data any more"
    found.clear(names(50))
    found.advance(10.0)
    edits = [parcel for _, parcel in slack.taken if parcel.ref is not None]
    assert len(edits) == 50, "each still has its own message"


def test_a_bundle_is_the_same_message_at_every_attempt() -> None:
    attempts: list[Parcel] = []

    def away(second: float, parcel: Parcel) -> Ref:
        attempts.append(parcel)
        if second < 30.0:
            raise SendFailed("away", retryable=True, in_doubt=True)
        return Ref("C1", "1")

    slack = FakeReceiver(script=away)
    found = World(POLICY, [slack])
    found.breach(names(10))
    found.advance(2.0)
    found.breach([f"late{i}" for i in range(10)])
    found.advance(5.0)
    found.crash()
    found.advance(60.0)
    assert len({parcel.news_key for parcel in attempts}) == 2, "the second came later and is a bundle of its own"
    assert all(slack.told(name) == ["firing"] for name in names(10))


@pytest.mark.parametrize("before_store", [True, False])
def test_a_crash_around_the_binding_loses_nothing(before_store: bool) -> None:
    found, slack = world()
    found.breach(names(10))
    found.save()
    assert found.begin("slack") is None, "bound, not stored"
    if not before_store:
        found.save()
    found.crash()
    found.advance(5.0)
    assert all(slack.told(name) == ["firing"] for name in names(10))
    # One that is not bound may have been on its way by itself, and is looked for by itself.
    assert len(slack.taken) == (2 if before_store else 1)


def test_a_machine_gets_each_by_itself_without_a_cap() -> None:
    pager = FakeReceiver("pager", traits=Traits(bundles=False))
    found = World(Policy(("pager",)), [pager])
    found.breach(names(100))
    found.advance(5.0)
    assert sorted(parcel.message.alert_id for _, parcel in pager.taken) == sorted(alert_id(n) for n in names(100))


def test_a_mixed_bundle_says_how_many_of_what() -> None:
    found, slack = world(cap_posts=2)
    found.breach(["a", "b", "c", "d", "e"], severity="warning", alert_type="HIGH_LAG")
    found.advance(5.0)
    found.breach(["f", "g", "h"], severity="info")
    found.clear(["a", "b"], alert_type="HIGH_LAG")
    found.advance(FIVE_MINUTES)
    assert slack.taken[1][1].message.title == "🔵 5 alerts: 3 fire, 2 are over"


def test_a_bundle_has_words_for_every_kind() -> None:
    assert set(WORDS) == set(get_args(Kind))
