"""Messages that may have arrived: at a take-over, and after an attempt without an answer."""

from __future__ import annotations

import pytest

from alerting.calm import Calm
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.policy import Policy
from alerting.slack_lookup import metadata
from alerting.states import Ref
from tests.harness.alert_world import FakeReceiver, World, alert_id

POLICY = Policy(("slack",), flapping_changes=None)


class Channel:
    """Takes messages, looks for doubtful ones as the bot does, and loses the answers it is told to lose."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, Parcel]] = []
        self.edits: list[tuple[float, Parcel]] = []
        self.lose = 0
        self.refuse: SendFailed | None = None
        self.away_until = 0.0

    def __call__(self, at: float, parcel: Parcel) -> Ref | None:
        if at < self.away_until:
            raise SendFailed("does not answer", retryable=True)
        if self.refuse is not None:
            failure, self.refuse = self.refuse, None
            raise failure
        ref = self._take(at, parcel)
        if self.lose:
            self.lose -= 1
            raise SendFailed("no answer", retryable=True, in_doubt=True)
        return ref

    def _take(self, at: float, parcel: Parcel) -> Ref:
        known = [number for number, (_, each) in enumerate(self.posts) if each.news_key == parcel.news_key]
        if parcel.doubtful and known:
            return Ref("C1", str(known[-1]))
        same = [number for number, (_, each) in enumerate(self.posts) if each.key == parcel.key]
        if parcel.ref is not None or (parcel.doubtful and same):
            self.edits.append((at, parcel))
            return parcel.ref or Ref("C1", str(same[-1]))
        self.posts.append((at, parcel))
        return Ref("C1", str(len(self.posts) - 1))


def world(channel: Channel, *, bundle_from: int = 1000) -> World:
    return World(POLICY, [FakeReceiver("slack", channel)], calm=Calm(bundle_from=bundle_from, cap_posts=None))


def test_a_first_attempt_is_not_doubtful() -> None:
    channel = Channel()
    made = world(channel)
    made.breach(["a"])
    made.cycle()
    ((_, sent),) = channel.posts
    assert not sent.doubtful


def test_after_a_lost_answer_the_message_is_doubtful_until_it_is_known_to_be_there() -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel)
    made.breach(["a"])
    made.advance(5.0)
    assert len(channel.posts) == 1
    assert made.engine.owed() == 0
    made.clear(["a"])
    made.advance(1.0)
    (_, sent) = channel.edits[-1]
    assert (sent.message.kind, sent.doubtful) == ("resolved", False)


def test_a_refusal_after_a_lost_answer_leaves_the_doubt() -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel)
    made.breach(["a"])
    made.cycle()
    channel.refuse = SendFailed("status 429", retryable=True, retry_after_seconds=2.0)
    made.advance(10.0)
    assert len(channel.posts) == 1
    assert made.engine.owed() == 0


def test_a_refusal_alone_is_no_doubt() -> None:
    channel = Channel()
    channel.refuse = SendFailed("status 429", retryable=True, retry_after_seconds=2.0)
    made = world(channel)
    made.breach(["a"])
    made.advance(5.0)
    ((_, sent),) = channel.posts
    assert not sent.doubtful


def test_what_a_dead_process_owed_is_doubtful() -> None:
    channel = Channel()
    made = world(channel)
    made.breach(["a"])
    made.save()
    made.begin("slack")
    made.arrive("slack")
    made.crash()
    made.advance(1.0)
    assert len(channel.posts) == 1
    assert made.engine.owed() == 0


def test_an_end_that_was_merged_is_looked_for_from_the_time_of_the_message_that_may_be_there() -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel)
    made.breach(["a"])
    made.cycle()
    channel.away_until = 7200.0
    made.advance(3600.0, step=60.0)
    made.clear(["a"])
    made.advance(3700.0, step=10.0)
    assert len(channel.posts) == 1
    ((_, told),) = channel.edits
    assert told.message.kind == "cleared"
    assert told.doubtful
    assert told.since_seconds <= channel.posts[0][1].since_seconds


def test_the_end_of_an_episode_that_may_be_there_is_not_merged_into_the_next() -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel)
    made.breach(["a"])
    made.cycle()
    channel.away_until = 600.0
    for _ in range(3):
        made.advance(60.0, step=10.0)
        made.clear(["a"])
        made.advance(10.0)
        made.breach(["a"])
    made.advance(10.0)
    made.clear(["a"])
    made.advance(700.0, step=5.0)
    posted = [parcel.key for _, parcel in channel.posts]
    assert len(posted) == 2, "the one that may be there, and all the others in one"
    ((_, told),) = channel.edits
    assert told.key == posted[0], "the first message says that it is over"
    assert channel.posts[1][1].message.kind == "cleared"


def test_a_bundle_that_may_be_there_stays_the_same_message() -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel, bundle_from=3)
    names = [f"a{number}" for number in range(10)]
    made.breach(names)
    made.cycle()
    made.cycle()
    assert len(channel.posts) == 1
    made.clear(names[:5])
    made.advance(30.0)
    assert [parcel.message.kind for _, parcel in channel.posts] == ["bundle", "bundle"], "all fire, five are over"
    assert made.engine.owed() == 0
    assert metadata(channel.posts[0][1]) is not None, "or it could not be found"


def test_a_bundle_outlives_a_crash_once() -> None:
    channel = Channel()
    made = world(channel, bundle_from=3)
    names = [f"a{number}" for number in range(10)]
    made.breach(names)
    made.cycle()
    made.save()
    if not channel.posts:
        made.begin("slack")
        made.arrive("slack")
    made.crash()
    made.clear(names)
    made.advance(30.0)
    firing = [parcel for _, parcel in channel.posts if "fire" in parcel.message.title]
    assert len({parcel.news_key for parcel in firing}) == len(firing) == 1


@pytest.mark.parametrize("crash", [False, True])
def test_a_message_that_may_be_there_does_not_go_into_a_bundle(crash: bool) -> None:
    channel = Channel()
    channel.lose = 1
    made = world(channel, bundle_from=3)
    made.breach(["a"])
    made.cycle()
    if crash:
        made.crash()
    made.breach([f"b{number}" for number in range(10)], severity="warning")
    made.advance(30.0)
    assert [parcel.message.kind for _, parcel in channel.posts] == ["firing", "bundle"]
    told = channel.posts[1][1].message
    assert "10 alerts" in told.title


def test_receivers_that_cannot_look_are_told_again() -> None:
    """Rather twice than never."""
    hook = FakeReceiver("slack", traits=Traits())
    made = World(POLICY, [hook])
    made.breach(["a"])
    made.save()
    made.begin("slack")
    made.arrive("slack")
    made.crash()
    made.advance(1.0)
    assert len(hook.taken) == 2
    assert made.state("a") is not None
    assert alert_id("a") in made.stored
