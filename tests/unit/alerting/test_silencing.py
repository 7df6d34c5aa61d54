"""Silences as alerting obeys them."""

from __future__ import annotations

from typing import Any

from alerting.policy import Policy
from embedwatch.events import Silence
from tests.harness.alert_world import START_SECONDS, FakeReceiver, World

POLICY = Policy(("slack",), no_data_grace_seconds=3600.0)


def world() -> tuple[World, FakeReceiver]:
    slack = FakeReceiver()
    return World(POLICY, [slack]), slack


def silence(seconds: float, silence_id: str = "s1", start: float = 0.0, **match: str) -> Silence:
    starts = START_SECONDS + start
    return Silence(silence_id, starts, "ada", match, starts, starts + seconds)


def test_a_silenced_alert_fires_unsaid_and_is_told_when_the_silence_is_over() -> None:
    found, slack = world()
    found.engine.silence([silence(60.0, severity="warning")])
    found.breach(["a"], severity="warning")
    found.breach(["b"], severity="critical")
    found.advance(59.0)
    assert (slack.told("a"), slack.told("b")) == ([], ["firing"])
    state = found.state("a")
    assert state is not None
    assert state.status == "firing"
    assert state.quiet is not None
    assert (state.quiet.kind, state.quiet.by, state.quiet.until_seconds) == ("silence", "s1", START_SECONDS + 60.0)
    found.advance(2.0)
    assert slack.told("a") == ["firing"]


def test_a_silence_that_is_ended_early_is_over() -> None:
    found, slack = world()
    found.engine.silence([silence(600.0)])
    found.breach(["a"])
    found.advance(5.0)
    found.engine.silence([silence(5.0)])
    found.advance(2.0)
    assert slack.told("a") == ["firing"]


def test_a_silence_that_begins_later_hides_no_end_and_takes_back_what_waits() -> None:
    def away(second: float, parcel: Any) -> Any:
        from alerting.parcels import SendFailed

        if second < 20.0 and parcel.message.alert_id != "latency|told":
            raise SendFailed("away", retryable=True)
        return parcel.ref

    slack = FakeReceiver(script=away)
    found = World(POLICY, [slack])
    found.breach(["told"])
    found.advance(1.0)
    found.breach(["waits"])
    found.advance(5.0)
    found.engine.silence([silence(600.0)])
    found.advance(30.0)
    found.clear(["told", "waits"])
    found.advance(5.0)
    assert slack.told("told") == ["firing", "resolved"]
    assert slack.told("waits") == []


def test_the_longest_of_several_silences_is_the_one_that_is_named() -> None:
    found, _ = world()
    found.engine.silence([silence(60.0, "short"), silence(90.0, "long"), silence(900.0, "other", model="x")])
    found.breach(["a"])
    found.cycle()
    state = found.state("a")
    assert state is not None
    assert state.quiet is not None
    assert state.quiet.by == "long"


def test_a_storm_under_a_silence_says_nothing() -> None:
    found, slack = world()
    found.engine.silence([silence(600.0)])
    found.breach([str(i) for i in range(500)])
    found.advance(10.0)
    found.clear([str(i) for i in range(500)])
    found.advance(10.0)
    assert slack.taken == []
