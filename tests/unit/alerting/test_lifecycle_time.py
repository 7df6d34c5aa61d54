"""The times of verdicts, and clocks that step, as one alert lives through them. The engine: `test_clock_back`."""

from __future__ import annotations

import pytest

from alerting.lifecycle import Heard, Tick, already_applied, step
from alerting.policy import Policy
from alerting.states import AlertState
from tests.harness.verdicts import verdict

START = 1000.0
POLICY = Policy(receivers=("slack",), repeat_interval_seconds=3600.0, no_data_grace_seconds=60.0)


def test_a_time_far_ahead_makes_nobody_deaf() -> None:
    """A verdict bore a time of another year; later the topic was made anew."""
    state: AlertState | None = None
    for offset, second in enumerate((0.0, 400 * 86_400.0, 10.0)):
        state = step(state, Heard(verdict("breached", START + second), 0, offset), START + second, POLICY).state
    assert state is not None
    assert not already_applied(state, Heard(verdict("breached", START + 20), 0, 0))


def test_a_backlog_read_at_once_makes_the_alerts_it_would_have_made_live() -> None:
    """Alerting was away for an hour: `for` runs in the verdicts' time, not in ours."""
    now = START + 3600
    state: AlertState | None = None
    for offset, (second, judgement) in enumerate([(0, "breached"), (40, "breached"), (90, "ok")]):
        heard = Heard(verdict(judgement, START + second, for_seconds=30.0), 0, offset)  # type: ignore[arg-type]
        state = step(state, heard, now, POLICY).state
    assert state is not None
    assert state.status == "resolved"
    assert [owed.kind for owed in state.owed] == ["cleared"]
    assert (state.fired_at_seconds, state.resolved_at_seconds) == (START + 40, START + 90)


def test_a_backlog_does_not_fire_what_did_not_last() -> None:
    now = START + 3600
    state = step(None, Heard(verdict("breached", START, for_seconds=30.0), 0, 0), now, POLICY).state
    assert step(state, Heard(verdict("ok", START + 20, for_seconds=30.0), 0, 1), now + 0.1, POLICY).state is None


@pytest.mark.parametrize("back_seconds", [3.0, 3600.0, 86_400.0])
def test_the_agents_clock_may_step_back(back_seconds: float) -> None:
    """`for` still runs its full time and no longer."""
    state = step(None, Heard(verdict("breached", START, for_seconds=30.0), 0, 0), 0.0, POLICY).state
    for second in range(1, 60):
        heard = Heard(verdict("breached", START + second - back_seconds, for_seconds=30.0), 0, second)
        outcome = step(state, Tick(0.0) if second % 2 else heard, float(second), POLICY)
        state = outcome.state
        assert state is not None
        assert state.status == ("pending" if second < 30 else "firing"), second


@pytest.mark.parametrize("back_seconds", [3.0, 3600.0, 86_400.0])
def test_our_clock_may_step_back(back_seconds: float) -> None:
    state = step(None, Heard(verdict("breached", START, for_seconds=30.0), 0, 0), START, POLICY).state
    state = step(state, Tick(START), START + 10, POLICY).state
    state = step(state, Tick(START), START + 10 - back_seconds, POLICY).state
    state = step(state, Tick(START), START + 29 - back_seconds, POLICY).state
    assert state is not None
    assert state.status == "pending"
    state = step(state, Tick(START), START + 31 - back_seconds, POLICY).state
    assert state is not None
    assert state.status == "firing"
