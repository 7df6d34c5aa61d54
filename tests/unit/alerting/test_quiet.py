"""Quiet: nothing new is said, nothing is lost, and an end is told to whoever was told of the problem."""

from __future__ import annotations

from alerting.lifecycle import Heard, Tick, step
from alerting.outbox import delivered
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState
from tests.harness import stories
from tests.harness.verdicts import verdict

POLICY = Policy(("slack",), repeat_interval_seconds=3600.0, no_data_grace_seconds=60.0)
QUIET = Quiet("silence", "s1", 9000.0)


class Alert:
    """One alert with one receiver that takes each message at once, unless it is away."""

    def __init__(self) -> None:
        self.state: AlertState | None = None
        self.told: list[str] = []
        self.away = False
        self.in_doubt: set[int] = set()
        self._offset = -1

    def hear(self, judgement: str, at: float, quiet: Quiet | None = None) -> None:
        self._offset += 1
        self._step(Heard(verdict(judgement, at), 0, self._offset), at, quiet)  # type: ignore[arg-type]

    def tick(self, at: float, quiet: Quiet | None = None) -> None:
        self._step(Tick(0.0), at, quiet)

    def _step(self, event: Heard | Tick, at: float, quiet: Quiet | None) -> None:
        self.state = step(self.state, event, at, POLICY, (), quiet, self.in_doubt).state
        while self.state is not None and self.state.owed and not self.away:
            self.told.append(self.state.owed[0].kind)
            self.state = delivered(self.state, self.state.owed[0].number, None)


def test_an_alert_that_fires_while_it_is_quiet_is_told_when_quiet_ends() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0, QUIET)
    assert alert.state is not None
    assert (alert.state.status, alert.state.quiet, alert.told) == ("firing", QUIET, [])
    alert.hear("breached", 1010.0)
    assert (alert.state.quiet, alert.told) == (None, ["firing"])


def test_what_came_and_went_while_it_was_quiet_is_not_told() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0, QUIET)
    alert.hear("ok", 1010.0, QUIET)
    alert.tick(1020.0)
    assert alert.told == []


def test_quiet_hides_no_end() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0)
    alert.hear("breached", 1010.0, QUIET)
    alert.hear("ok", 1020.0, QUIET)
    assert alert.told == ["firing", "resolved"]


def test_repeats_wait_for_the_end_of_quiet() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0)
    alert.hear("breached", 6000.0, QUIET)
    assert alert.told == ["firing"]
    alert.hear("breached", 6001.0)
    assert alert.told == ["firing", "repeat"]


def test_a_repeat_counts_from_when_it_was_said_not_from_when_it_fired() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0, QUIET)
    alert.hear("breached", 4000.0)
    alert.hear("breached", 7000.0)
    assert alert.told == ["firing"]
    alert.hear("breached", 7601.0)
    assert alert.told == ["firing", "repeat"]


def test_data_that_stopped_while_it_was_quiet_is_told_when_quiet_ends() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0)
    alert.tick(1100.0, QUIET)
    assert alert.state is not None
    assert (alert.state.status, alert.told) == ("no_data", ["firing"])
    alert.tick(1101.0)
    assert alert.told == ["firing", "no_data"]


def test_data_that_stopped_and_came_back_while_it_was_quiet_is_no_news() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0)
    alert.tick(1100.0, QUIET)
    alert.hear("breached", 1110.0, QUIET)
    alert.hear("breached", 1120.0)
    assert alert.told == ["firing"]


def test_data_that_was_said_to_be_missing_and_came_back_while_it_was_quiet_is_told() -> None:
    alert = Alert()
    alert.hear("breached", 1000.0)
    alert.tick(1100.0)
    alert.hear("breached", 1110.0, QUIET)
    alert.hear("breached", 1120.0)
    assert alert.told == ["firing", "no_data", "data_back"]


def test_what_had_not_gone_out_when_quiet_began_is_taken_back() -> None:
    alert = Alert()
    alert.away = True
    alert.hear("breached", 1000.0)
    alert.tick(1010.0, QUIET)
    assert alert.state is not None
    assert alert.state.owed == ()
    alert.away = False
    alert.tick(1020.0)
    assert alert.told == ["firing"]


def test_what_may_have_arrived_is_not_taken_back_so_that_its_end_is_told() -> None:
    alert = Alert()
    alert.away = True
    alert.hear("breached", 1000.0)
    assert alert.state is not None
    alert.in_doubt = {alert.state.owed[0].number}
    alert.tick(1010.0, QUIET)
    alert.hear("ok", 1020.0, QUIET)
    assert [owed.kind for owed in alert.state.owed] == ["cleared"]


def clearing(quiet: Quiet | None = QUIET) -> stories.Alert:
    """It fires and is ok, for less than `keep_firing_for`."""
    return stories.Alert(POLICY, keep_firing_for_seconds=40.0).hear("breached", 0, quiet).hear("ok", 10, quiet)


def test_quiet_that_ends_while_it_clears_calls_nobody_unless_it_breaches_again() -> None:
    assert clearing().tick(20).hear("ok", 50).told == []
    assert clearing().tick(20).hear("breached", 30).told == ["firing"]


def test_a_newcomer_is_not_called_to_what_clears() -> None:
    alert = clearing(None)
    alert.policy = Policy(("slack", "console"))
    assert alert.tick(20).told == ["firing"]
    assert [owed.receiver for owed in alert.hear("breached", 30).messages] == ["slack", "console"]


def test_data_that_came_back_well_is_said_to_be_back_only_if_it_breaches_again() -> None:
    def back() -> stories.Alert:
        return stories.Alert(POLICY, keep_firing_for_seconds=40.0).hear("breached", 0).tick(60).hear("ok", 70)

    assert back().told == ["firing", "no_data"]
    assert back().hear("ok", 110).told == ["firing", "no_data", "resolved"]
    assert back().hear("breached", 80).told == ["firing", "no_data", "data_back"]
    assert back().tick(110).told == ["firing", "no_data", "resolved"], "well for long enough"
    assert back().hear("no_data", 80).hear("no_data", 140).told == ["firing", "no_data"], "once"


def test_data_that_comes_back_at_the_moment_quiet_ends_is_no_news() -> None:
    alert = stories.Alert(POLICY).hear("breached", 0).tick(100, QUIET)
    assert alert.hear("breached", 110).hear("breached", 120).told == ["firing"]


def test_flapping_that_begins_in_quiet_is_told_once_when_quiet_ends() -> None:
    policy = Policy(("slack",), no_data_grace_seconds=60.0, flapping_changes=3, flapping_calm_seconds=1000.0)
    alert = stories.Alert(policy).hear("breached", 0).tick(60).hear("breached", 70).tick(130)
    alert.hear("breached", 140, QUIET)
    assert alert.state is not None
    assert alert.state.flapping is not None
    alert.hear("breached", 150).tick(210).hear("breached", 220)
    assert alert.told == ["firing", "no_data", "data_back", "no_data", "data_back"]
    assert alert.messages[-1].facts.flapping_changes > 3
