"""Clocks that go back an hour and on from there: ours, that of the agents, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.calm import Calm
from alerting.lifecycle import Heard
from alerting.policy import Policy
from embedwatch.events import Silence
from tests.harness.actions import action
from tests.harness.alert_world import START_SECONDS, FakeReceiver, World, alert_id
from tests.harness.verdicts import verdict

HOUR = 3600.0
#: Verdicts come every 7 s. No timer ends together with one, nor within the half second that a step of our clock costs.
EVERY, FOR, KEEP, NO_DATA, REPEAT = 7.0, 24.5, 38.5, 59.5, 303.5
GATHER = 6.0  # for so long at most the news that data stopped or came back waits for more of its kind
POLICY = Policy(("slack",), repeat_interval_seconds=REPEAT, no_data_grace_seconds=NO_DATA, flapping_changes=None)
BOTH = pytest.mark.parametrize("back", ["ours", "agents", "both"])


class Skewed(World):
    """`ours` and `agents` are how wrong the two clocks are. What is monotonic goes on."""

    ours = agents = 0.0

    @property
    def now(self) -> float:
        return START_SECONDS + self.second + self.ours

    def hear(self, judgement: Any, name: str, **fields: Any) -> None:
        at = START_SECONDS + self.second + self.agents
        known = {"alert_id": alert_id(name), "for_seconds": FOR, "keep_firing_for_seconds": KEEP}
        said = Heard(verdict(judgement, at, **(known | fields)), 0, len(self._verdicts))
        self._verdicts.append(said)
        self.engine.hear(said, self.now, self.second)

    def set_back(self, which: str, seconds: float = HOUR) -> None:
        self.ours -= seconds if which in ("ours", "both") else 0.0
        self.agents -= seconds if which in ("agents", "both") else 0.0

    def live(self, judgement: str, seconds: float, **fields: Any) -> None:
        """Agents say it again and again."""
        end = self.second + seconds
        while self.second < end:
            self.hear(judgement, "a", **fields)
            self.advance(min(EVERY, end - self.second))

    @property
    def status(self) -> str:
        state = self.state("a")
        return "inactive" if state is None else state.status


def world(policy: Policy = POLICY) -> tuple[Skewed, FakeReceiver]:
    slack = FakeReceiver()
    return Skewed(policy, [slack]), slack


def firing(policy: Policy = POLICY) -> tuple[Skewed, FakeReceiver]:
    found, slack = world(policy)
    found.live("breached", 28.0)
    assert slack.told("a") == ["firing"]
    return found, slack


@BOTH
def test_for_takes_as_long_as_it_says(back: str) -> None:
    found, slack = world()
    found.live("breached", 14.0)
    found.set_back(back)
    found.live("breached", 9.0)
    assert found.status == "pending"
    found.live("breached", 3.0)
    assert (found.status, slack.told("a")) == ("firing", ["firing"])


@BOTH
def test_keep_firing_for_takes_as_long_as_it_says(back: str) -> None:
    found, slack = firing()
    found.live("ok", 14.0)
    found.set_back(back)
    found.live("ok", 23.0)
    assert found.status == "firing"
    found.live("ok", 3.0)
    assert (found.status, slack.told("a")) == ("resolved", ["firing", "resolved"])


@BOTH
@pytest.mark.parametrize("heard_before_seconds", [0.0, 7200.0])
def test_missing_data_is_told_when_it_always_is(back: str, heard_before_seconds: float) -> None:
    """Whether alerting began to listen before the time that the clock shows now, or after it."""
    found, slack = world()
    found.live("ok", heard_before_seconds)
    found.live("breached", 28.0)
    found.hear("breached", "a")
    found.advance(30.0)
    found.set_back(back)
    found.advance(NO_DATA - 31.0)
    assert found.status == "firing"
    found.advance(3.0)
    assert found.status == "no_data"
    found.advance(GATHER)
    assert slack.told("a") == ["firing", "no_data"]
    found.live("breached", GATHER)
    assert (found.status, slack.told("a")) == ("firing", ["firing", "no_data", "data_back"])


@BOTH
def test_a_reminder_comes_when_it_always_does(back: str) -> None:
    found, slack = firing()
    said_second = slack.taken[0][0]
    found.live("breached", 100.0)
    found.set_back(back)
    found.live("breached", said_second + REPEAT - 2.0 - found.second)
    assert slack.told("a") == ["firing"]
    found.live("breached", 4.0)
    assert slack.told("a") == ["firing", "repeat"]


@BOTH
def test_flapping_is_neither_seen_in_what_is_long_past_nor_overlooked_after_it(back: str) -> None:
    policy = Policy(("slack",), no_data_grace_seconds=3 * HOUR, flapping_changes=4, flapping_window_seconds=600.0)
    found, slack = world(policy)

    def comes_and_goes(times: int, every: float) -> None:
        for _ in range(times):
            found.hear("breached", "a", for_seconds=0.0, keep_firing_for_seconds=0.0)
            found.advance(every)
            found.hear("ok", "a", for_seconds=0.0, keep_firing_for_seconds=0.0)
            found.advance(every)

    comes_and_goes(2, 5.0)
    found.advance(1200.0, step=10.0)
    found.set_back(back)
    comes_and_goes(2, 5.0)
    assert slack.told("a") == ["firing", "resolved"] * 4, "the first two are 20 minutes ago"
    comes_and_goes(8, 5.0)
    assert slack.told("a") == [*["firing", "resolved"] * 4, "firing"]
    found.advance(policy.flapping_calm_seconds + 20.0, step=5.0)
    assert slack.told("a")[8:] == ["firing", "resolved"]
    comes_and_goes(1, 5.0)
    found.set_back(back)
    comes_and_goes(8, 5.0)
    assert len(slack.told("a")) < 20, "it is found again after it was calm"


@BOTH
def test_a_snooze_ends_when_the_clock_shows_what_was_said(back: str) -> None:
    found, slack = firing()
    until = found.now + 600.0
    asked = action("snooze", found.now, alert_id=alert_id("a"), until_seconds=until)
    assert found.engine.act(asked, found.now, found.second) == "snoozed"
    found.live("breached", 100.0)
    found.set_back(back)
    found.live("breached", until - found.now - 2.0)
    assert (found.status, slack.told("a")) == ("snoozed", ["firing", "snoozed"])
    found.live("breached", 4.0)
    assert (found.status, slack.told("a")) == ("firing", ["firing", "snoozed", "snooze_over"])


@BOTH
def test_who_acknowledges_after_it_is_not_refused(back: str) -> None:
    found, slack = firing()
    found.set_back(back)
    asked = action("acknowledge", found.now, alert_id=alert_id("a"))
    assert found.engine.act(asked, found.now, found.second) == "acknowledged"
    found.live("breached", 2 * REPEAT)
    found.live("ok", 60.0)
    assert slack.told("a") == ["firing", "acknowledged", "resolved"]


def test_a_silence_holds_when_the_clock_is_within_it() -> None:
    found, slack = world()
    end = START_SECONDS + 60.0
    found.engine.silence([Silence("s1", START_SECONDS, "ada", {}, START_SECONDS, end)])
    found.live("breached", 56.0)
    found.set_back("both", 30.0)
    found.live("breached", 33.0)
    assert (found.status, slack.told("a")) == ("firing", [])
    found.live("breached", 3.0)
    assert slack.told("a") == ["firing"]


@BOTH
def test_what_is_owed_goes_out_whenever_it_was_decided(back: str) -> None:
    found, slack = firing()
    found.advance(NO_DATA + 1.0)
    found.set_back(back)
    found.advance(GATHER)
    assert slack.told("a") == ["firing", "no_data"], "that data stopped waits for more of its kind, not for an hour"


@BOTH
@pytest.mark.parametrize("again", range(1, 9))
def test_verdicts_from_around_the_step_that_are_read_again_change_nothing(back: str, again: int) -> None:
    found, slack = world()
    for judgement in ("breached", "ok", "breached", "ok"):
        found.live(judgement, 14.0, for_seconds=0.0, keep_firing_for_seconds=0.0)
        if judgement == "ok":
            found.set_back(back)
    before = list(slack.told("a"))
    found._committed = len(found._verdicts) - again
    found.crash()
    found.advance(5.0)
    assert (found.status, slack.told("a")) == ("resolved", before)


Event = tuple[str, int, str]


def lived(events: Sequence[Event], *, steps: bool) -> tuple[Skewed, FakeReceiver]:
    slack = FakeReceiver()
    found = Skewed(POLICY, [slack], calm=Calm(gather_seconds=0.0))
    for judgement, times, back in events:
        if steps:
            found.set_back(back)
        for _ in range(times):
            if judgement != "nothing":
                found.hear(judgement, "a")
            found.advance(EVERY)
    return found, slack


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["breached", "breached", "ok", "no_data", "inconclusive", "nothing"]), st.integers(1, 12)
        ),
        min_size=1,
        max_size=10,
    ),
    st.dictionaries(st.integers(0, 9), st.sampled_from(["ours", "agents", "both"]), max_size=2),
)
def test_an_alert_lives_as_it_would_have_lived(events: list[tuple[str, int]], steps: dict[int, str]) -> None:
    """Nothing is lost, nothing is doubled, nothing is early, nothing hangs."""
    story = [(judgement, times, steps.get(number, "")) for number, (judgement, times) in enumerate(events)]
    (right, told), (wrong, told_too) = lived(story, steps=False), lived(story, steps=True)
    assert wrong.status == right.status
    assert wrong.engine.owed() == right.engine.owed() == 0
    assert told_too.told("a") == told.told("a")
    for (second, _), (expected, _) in zip(told_too.taken, told.taken, strict=True):
        assert abs(second - expected) <= 2.0
