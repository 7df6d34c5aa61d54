"""The simulator keeps the books of a queue, and KEDA's rule is the one that its documentation describes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.scaling.keda import Keda
from embedwatch.scaling.policy import Aims, Load, Scaler
from embedwatch.scaling.simulator import Outcome, Plant, simulate
from embedwatch.scaling.traces import SHAPES, trace
from embedwatch.scaling.versus import Setting, Versus, settings_of, versus

PLANT = Plant(partitions=12, capacity_texts_per_s=100.0, warm_up_seconds=30.0, rebalance_seconds=0.0, start_workers=2)


def test_who_keeps_up_lets_nobody_wait() -> None:
    found = simulate(np.full(1000, 750.0), 5.0, PLANT, lambda load, now: 2)
    assert (found.left_texts, found.scale_events) == (0.0, 0)
    assert found.wait_p95_seconds < 5.0
    assert found.worker_hours == pytest.approx(2 * 5000 / 3600)


def test_a_burst_waits_as_long_as_its_work_takes() -> None:
    """20,000 texts at once and 200 a second: the last waits 100 s, the median 50 s."""
    arrivals = np.zeros(100)
    arrivals[0] = 20_000.0
    found = simulate(arrivals, 5.0, PLANT, lambda load, now: 2)
    assert found.wait_max_seconds == pytest.approx(95.0, abs=5.0)  # it came within the first step of 5 s
    assert found.wait_p50_seconds == pytest.approx(50.0, abs=5.0)
    assert found.wait_p95_seconds == pytest.approx(90.0, abs=5.0)


def test_nobody_works_while_they_rebalance_or_start() -> None:
    arrivals = np.full(60, 500.0)
    waits = [
        simulate(arrivals, 5.0, replace(PLANT, start_workers=0, **more), lambda load, now: 2).wait_max_seconds
        for more in ({"warm_up_seconds": 10.0}, {"warm_up_seconds": 60.0}, {"rebalance_seconds": 60.0})
    ]
    assert waits[0] < waits[1] < waits[2]


def test_a_partition_is_read_by_one_worker() -> None:
    """Five workers of 12 partitions have three somewhere: no better than four."""
    arrivals = np.full(2000, 5 * 380.0)
    left = {
        number: simulate(arrivals, 5.0, replace(PLANT, start_workers=number), lambda load, _: load.workers).left_texts
        for number in (3, 4, 5)
    }
    assert left[3] > 100_000
    assert max(left[4], left[5]) < 1e-3


@settings(max_examples=30, deadline=None)
@given(
    arrivals=st.lists(st.floats(0, 1e4), min_size=1, max_size=60),
    numbers=st.lists(st.integers(0, 12), min_size=1, max_size=60), pause=st.floats(0, 20), warm_up=st.floats(0, 60),
)  # fmt: skip
def test_no_text_is_lost_or_made(arrivals: list[float], numbers: list[int], pause: float, warm_up: float) -> None:
    plant = replace(PLANT, rebalance_seconds=pause, warm_up_seconds=warm_up)
    asked = iter(numbers * 60)
    found = simulate(np.array(arrivals), 5.0, plant, lambda load, now: next(asked))
    assert found.texts == pytest.approx(sum(arrivals))
    assert 0 <= found.left_texts <= found.texts * (1 + 1e-9)
    assert np.all(found.backlog >= 0)
    assert found.backlog[-1] == pytest.approx(found.left_texts, abs=1e-3)
    assert found.wait_max_seconds <= len(arrivals) * 5.0
    assert found.turns <= max(found.scale_events - 1, 0)


@pytest.mark.parametrize("name", SHAPES)
def test_a_trace_has_its_mean_and_is_the_same_again(name: str) -> None:
    one, again = (trace(name, texts_per_s=500.0, seconds=86_400, step_seconds=10.0, seed=3) for _ in range(2))
    assert np.array_equal(one, again)
    assert one.sum() / 86_400 == pytest.approx(500.0, rel=0.05)
    assert one.min() >= 0


def load(backlog: float, workers: int) -> Load:
    return Load("OK", 24, backlog, 100.0, 50.0, workers)


def test_kedas_rule() -> None:
    rule = Keda(1000.0, max_workers=100)
    assert rule.decide(load(5000.0, 1), 0.0) == 5  # at most 4 more
    assert rule.decide(load(90_000.0, 5), 5.0) == 5  # it looks each 15 s
    assert rule.decide(load(90_000.0, 5), 15.0) == 10  # or double, and never more than partitions
    assert rule.decide(load(90_000.0, 10), 30.0) == 20
    assert rule.decide(load(90_000.0, 20), 45.0) == 24
    assert rule.decide(load(22_000.0, 24), 60.0) == 24  # within a tenth
    assert rule.decide(load(3_000.0, 24), 75.0) == 24  # and down only after 300 s
    assert [rule.decide(load(3_000.0, 24), 75.0 + 15 * n) for n in range(1, 22)][-3:] == [24, 3, 3]


def test_steady_load_is_held_without_waiting_and_without_turning() -> None:
    arrivals = np.full(2000, 5 * 600.0)
    scaler = Scaler(Aims(max_workers=12))
    found = simulate(arrivals, 5.0, PLANT, lambda one, now: scaler.decide(one, now).desired)
    assert (found.turns, found.left_texts) == (0, 0.0)
    assert found.workers[-1] == 12
    assert found.wait_p50_seconds < 5.0


def test_what_is_compared_is_the_cheapest_of_the_same_wait_and_the_quickest_of_the_same_hours() -> None:
    ours = replace_outcome(80.0, 10.0)
    keda = [
        (Setting(1.0, 300.0), replace_outcome(200.0, 5.0)), (Setting(2.0, 300.0), replace_outcome(110.0, 10.0)),
        (Setting(3.0, 300.0), replace_outcome(80.0, 40.0)), (Setting(4.0, 300.0), replace_outcome(60.0, 90.0)),
    ]  # fmt: skip
    found = Versus(ours, keda)
    assert found.same_wait is keda[1]
    assert found.same_hours is keda[2]
    assert found.fewer_hours_pct == pytest.approx(100 * 30 / 110)
    assert found.lower_wait_pct == pytest.approx(75.0)
    assert found.won
    assert not Versus(replace_outcome(105.0, 10.0), keda[1:2]).won
    assert Versus(replace_outcome(1.0, 1.0), keda).won  # nobody of them is as quick or as cheap


def replace_outcome(hours: float, wait: float) -> Outcome:
    blank = simulate(np.zeros(1), 5.0, PLANT, lambda load, now: 2)
    return replace(blank, worker_hours=hours, wait_p95_seconds=wait)


def test_a_run_against_keda_tells_how_far_it_is() -> None:
    told: list[int] = []
    arrivals = trace("burst", texts_per_s=300.0, seconds=4 * 3600, step_seconds=10.0)
    found = versus(arrivals, 10.0, PLANT, Aims(max_workers=12), settings_of(100.0, 4, (300.0,)), told.append)
    assert told == [1, 2, 3, 4, 5]
    assert len(found.keda) == 4
    assert found.ours.texts == arrivals.sum()
