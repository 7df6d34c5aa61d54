"""Budgets: each step of a scope and day is told once, none masks the next, and after midnight they start afresh."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.policy import Policy
from tests.harness.alert_world import FakeReceiver, World

POLICY = Policy(("slack",), repeat_interval_seconds=4 * 3600.0, no_data_grace_seconds=60.0)
STEPS = (50.0, 80.0, 100.0)


class Budget:
    """A budget of 100 USD a day and who is told of it. `spent` is judged as the agents do it: all steps at once."""

    def __init__(self, policy: Policy = POLICY, start_seconds: float | None = None) -> None:
        self.slack = FakeReceiver()
        self.world = World(policy, [self.slack])
        if start_seconds is not None:
            self.world.second = start_seconds - self.world.now
            self.world.crash()

    def spent(self, usd: float, *, day: str = "1970-01-12", limit: float = 100.0, scope: str = "all") -> Budget:
        self.judge(usd, STEPS, day=day, limit=limit, scope=scope)
        self.world.cycle()
        return self

    def judge(self, usd: float, steps: Any, *, day: str = "1970-01-12", limit: float = 100.0, scope: str = "") -> None:
        for step in steps:
            threshold = limit * step / 100.0
            self.world.hear(
                "breached" if usd > threshold else "ok",
                f"{scope}|{day}|{step:g}%",
                rule="daily_cost_usd",
                alert_type="BUDGET_EXCEEDED",
                metric="daily_cost_usd",
                severity="critical" if step == 100 else "info",
                threshold=threshold,
                value=usd,
                day=day,
                unit="USD",
                scope={} if scope == "all" else {"tenant": scope},
            )

    @property
    def told(self) -> list[str]:
        """Kind and step of each message."""
        return [f"{p.message.kind} {p.message.alert_id.rsplit('|', 1)[1]}" for _, p in self.slack.taken]


def test_each_step_is_told_once_and_none_masks_the_next() -> None:
    budget = Budget().spent(10).spent(51).spent(60).spent(81).spent(90).spent(101).spent(150)
    assert budget.told == ["firing 50%", "firing 80%", "firing 100%"]


def test_a_step_is_not_repeated_for_the_rest_of_the_day() -> None:
    budget = Budget().spent(55)
    for _ in range(9):
        budget.world.advance(3600.0, step=600.0)
        budget.spent(56)
    assert budget.told == ["firing 50%"]


def test_a_correction_does_not_make_it_told_a_second_time() -> None:
    budget = Budget().spent(51).spent(49).spent(51).spent(49).spent(52)
    assert budget.told == ["firing 50%"]
    state = budget.world.state("all|1970-01-12|50%")
    assert state is not None
    assert state.status == "firing"


def test_missing_data_does_not_un_reach_a_step() -> None:
    budget = Budget().spent(51)
    budget.world.advance(600.0, step=10.0)
    budget.world.hear("no_data", "all|1970-01-12|50%", alert_type="BUDGET_EXCEEDED", day="1970-01-12", threshold=50.0)
    budget.world.advance(600.0, step=10.0)
    budget.spent(52)
    assert budget.told == ["firing 50%"]


@pytest.mark.parametrize("steps", [STEPS, STEPS[::-1], (80.0, 100.0, 50.0)])
def test_of_a_budget_passed_in_one_leap_the_highest_step_is_told(steps: tuple[float, ...]) -> None:
    budget = Budget()
    budget.judge(120, steps)
    budget.world.cycle()
    budget.world.advance(30.0)
    assert budget.told == ["firing 100%"]


def test_a_step_that_slack_was_not_told_of_is_part_of_the_next() -> None:
    budget = Budget()
    budget.judge(55, STEPS, scope="all")
    budget.world.save()
    budget.judge(85, STEPS, scope="all")
    budget.world.advance(30.0)
    assert budget.told == ["firing 80%"]


def test_the_steps_of_another_scope_are_its_own() -> None:
    budget = Budget().spent(120, scope="acme").spent(55, scope="other")
    assert budget.told == ["firing 100%", "firing 50%"]


def test_a_higher_budget_begins_anew() -> None:
    """Whoever raises the budget is told that it is over, and again when the new one is reached."""
    budget = Budget().spent(101)
    budget.spent(101, limit=150.0).spent(151, limit=150.0)
    assert budget.told[0] == "firing 100%"
    assert budget.told.count("resolved 100%") == 1
    assert budget.told[-1] == "firing 100%"


def test_after_midnight_in_the_budgets_zone_they_start_afresh() -> None:
    zone = ZoneInfo("Asia/Tokyo")
    midnight = datetime(2026, 3, 2, tzinfo=zone).timestamp()
    budget = Budget(Policy(("slack",), timezone=zone), midnight - 60.0)
    budget.spent(85, day="2026-03-01")
    budget.world.advance(59.0, step=1.0)
    assert budget.told == ["firing 80%"]
    budget.world.advance(5.0, step=1.0)
    assert budget.told == ["firing 80%", "resolved 80%"]
    budget.spent(1, day="2026-03-02").spent(51, day="2026-03-02")
    assert budget.told == ["firing 80%", "resolved 80%", "firing 50%"]


def test_a_restart_tells_no_step_again() -> None:
    budget = Budget().spent(85)
    budget.world.crash()
    budget.spent(86).spent(49).spent(86)
    budget.world.advance(600.0, step=60.0)
    assert budget.told == ["firing 80%"]


def test_a_budget_forecast_is_no_step() -> None:
    world = World(POLICY, [slack := FakeReceiver()])
    said = {"alert_type": "BUDGET_FORECAST", "day": "1970-01-12"}
    world.hear("breached", "forecast", **said)
    world.cycle()
    world.hear("ok", "forecast", **said)
    world.cycle()
    assert slack.told("forecast") == ["firing", "resolved"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 200.0), st.permutations(STEPS), st.sampled_from(["cycle", "save", "crash", "wait"])),
        max_size=15,
    )
)
def test_whatever_is_spent_a_step_is_told_at_most_once_and_the_highest_always(moments: list[Any]) -> None:
    budget = Budget(Policy(("slack",), repeat_interval_seconds=300.0, no_data_grace_seconds=60.0))
    for usd, steps, then in moments:
        budget.judge(usd, steps, scope="all")
        if then == "crash":
            budget.world.crash()
        elif then == "save":
            budget.world.save()
        else:
            budget.world.advance(1.0 if then == "cycle" else 600.0, step=100.0)
    budget.world.advance(5.0)
    fired = [line for line in budget.told if line.startswith("firing")]
    assert len(set(fired)) == len(fired)
    assert fired == budget.told, "nothing else is said before midnight"
    reached = [step for step in STEPS if any(usd > step for usd, _, _ in moments)]
    assert (f"firing {reached[-1]:g}%" in fired) if reached else not fired
