"""One cause, one message: what follows from an alert that fires is not told beside it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from alerting.inhibition import FOLLOWS
from alerting.policy import Policy
from embedwatch.events import AlertType
from tests.harness.alert_world import FakeReceiver, World

POLICY = Policy(("slack",), no_data_grace_seconds=60.0)


def world(policy: Policy = POLICY) -> tuple[World, FakeReceiver]:
    slack = FakeReceiver()
    return World(policy, [slack]), slack


@pytest.mark.parametrize(
    ("cause", "follower", "kept_quiet"),
    [
        (("WORKER_DOWN", {"worker": "w1"}), ("LOW_THROUGHPUT", {"worker": "w1"}), True),
        (("WORKER_DOWN", {"worker": "w1"}), ("LOW_GPU_UTILIZATION", {"worker": "w1"}), True),
        (("WORKER_DOWN", {"worker": "w1"}), ("LOW_THROUGHPUT", {"worker": "w2"}), False),
        (("WORKER_DOWN", {"worker": "w1"}), ("LOW_THROUGHPUT", {}), False),
        (("WORKER_DOWN", {"worker": "w1"}), ("HIGH_LATENCY", {"worker": "w1"}), False),
        (("NO_DATA", {}), ("LOW_THROUGHPUT", {}), True),
        (("NO_DATA", {}), ("LOW_CACHE_HIT_RATE", {"model": "m"}), True),
        (("NO_DATA", {}), ("WORKER_DOWN", {"worker": "w1"}), True),
        (("NO_DATA", {}), ("HIGH_LAG", {}), True),
        (("NO_DATA", {}), ("HIGH_ERROR_RATE", {}), False),
        (("NO_DATA", {}), ("CACHE_UNAVAILABLE", {}), False),
        (("NO_DATA", {}), ("NO_DATA", {"worker": "w1"}), False),
        (("QUEUE_STALLED", {}), ("HIGH_LAG", {}), True),
        (("QUEUE_STALLED", {}), ("HIGH_QUEUE_DEPTH", {"model": "m"}), True),
        (("QUEUE_STALLED", {"model": "m"}), ("HIGH_QUEUE_DEPTH", {"model": "n"}), False),
        (("CACHE_UNAVAILABLE", {}), ("LOW_CACHE_HIT_RATE", {"tenant": "t"}), True),
    ],
)
def test_what_follows_from_what(cause: Any, follower: Any, kept_quiet: bool) -> None:
    found, slack = world()
    found.hear("breached", "cause", alert_type=cause[0], scope=cause[1])
    found.hear("breached", "follower", alert_type=follower[0], scope=follower[1])
    found.advance(5.0)
    assert slack.told("cause") == ["firing"]
    assert slack.told("follower") == ([] if kept_quiet else ["firing"])


def test_nothing_keeps_itself_quiet_and_no_two_each_other() -> None:
    for cause, followers in FOLLOWS.items():
        assert cause in get_args(AlertType)
        assert cause not in followers
        for follower in followers:
            assert follower in get_args(AlertType)
            assert cause not in FOLLOWS.get(follower, ())


def test_when_the_cause_is_gone_what_still_fires_is_told() -> None:
    found, slack = world()
    found.hear("breached", "stalled", alert_type="QUEUE_STALLED", scope={})
    found.hear("breached", "lag", alert_type="HIGH_LAG", scope={})
    found.advance(5.0)
    state = found.state("lag")
    assert state is not None
    assert state.quiet is not None
    assert (state.quiet.kind, state.quiet.by) == ("inhibited", "latency|stalled")
    found.hear("ok", "stalled", alert_type="QUEUE_STALLED", scope={})
    found.advance(2.0)
    assert slack.told("lag") == ["firing"]


def test_what_was_told_before_its_cause_keeps_its_end() -> None:
    found, slack = world()
    found.hear("breached", "lag", alert_type="HIGH_LAG", scope={})
    found.advance(2.0)
    found.hear("breached", "stalled", alert_type="QUEUE_STALLED", scope={})
    found.advance(2.0)
    found.hear("ok", "lag", alert_type="HIGH_LAG", scope={})
    found.advance(2.0)
    assert slack.told("lag") == ["firing", "resolved"]


def test_a_consequence_read_before_its_cause_is_taken_back() -> None:
    """They came in one batch: nothing had been sent yet."""
    found, slack = world()
    found.hear("breached", "lag", alert_type="HIGH_LAG", scope={})
    found.hear("breached", "stalled", alert_type="QUEUE_STALLED", scope={})
    found.advance(5.0)
    assert slack.told("lag") == []


def test_when_nothing_is_heard_that_is_told_once_and_not_of_each_alert() -> None:
    """Fifty alerts fire, then the agents fall silent: no message of each, and none when they come back."""
    found, slack = world()
    names = [f"m{i}" for i in range(50)]
    found.breach(names)
    found.advance(50.0)
    before = len(slack.taken)
    found.hear("breached", "silent", alert_type="NO_DATA", scope={})
    for _ in range(12):
        found.advance(10.0)
        found.hear("breached", "silent", alert_type="NO_DATA", scope={})
    assert {found.state(name).status for name in names} == {"no_data"}  # type: ignore[union-attr]
    assert [parcel.message.title for _, parcel in slack.taken[before:]] == ["🔴 Critical: no data"]
    found.breach(names)
    found.hear("ok", "silent", alert_type="NO_DATA", scope={})
    found.advance(20.0)
    assert len(slack.taken) == before + 2, "the end of that one message"
    assert all(slack.told(name) == ["firing"] for name in names)


def test_a_restart_knows_the_causes() -> None:
    found, slack = world()
    found.hear("breached", "stalled", alert_type="QUEUE_STALLED", scope={})
    found.advance(2.0)
    found.crash()
    found.hear("breached", "lag", alert_type="HIGH_LAG", scope={})
    found.advance(2.0)
    assert slack.told("lag") == []
