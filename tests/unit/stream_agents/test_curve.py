"""A day's spend over time: nothing is lost between quarters, hours and texts."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_agents.compute.curve import (
    BUCKET_SECONDS,
    HOUR_SECONDS,
    add_curve,
    add_spend,
    hourly,
    packed,
    quarters,
    recent_spend,
    spend_before,
    unpacked,
)

curves = st.lists(st.integers(0, 2**60), max_size=100)


@given(curve=curves, other=curves)
def test_curves_add_up_bucket_by_bucket(curve: list[int], other: list[int]) -> None:
    out = list(curve)
    add_curve(out, other)
    assert sum(out) == sum(curve) + sum(other)
    assert all(out[n] >= spend for spends in (curve, other) for n, spend in enumerate(spends))


@given(curve=curves)
def test_hours_hold_what_their_quarters_held(curve: list[int]) -> None:
    hours = hourly(curve, BUCKET_SECONDS)
    assert sum(hours) == sum(curve)
    assert len(hours) == -(-len(curve) // 4)
    assert hourly(hours, HOUR_SECONDS) == hours
    again = quarters(hours, HOUR_SECONDS)
    assert hourly(again, BUCKET_SECONDS) == hours
    assert max((abs(a - b) for first in range(0, len(again), 4) for a in again[first : first + 4]
                for b in again[first : first + 4]), default=0) <= 1  # fmt: skip


@given(curve=curves)
def test_a_packed_curve_comes_back(curve: list[int]) -> None:
    assert unpacked(packed(curve)) == curve


def test_an_amount_of_nothing_makes_no_bucket() -> None:
    curve: list[int] = []
    add_spend(curve, 40, 0)
    assert curve == []
    add_spend(curve, 2, 5)
    assert curve == [0, 0, 5]


@given(
    curve=st.lists(st.integers(0, 2**48), max_size=25),
    moments=st.lists(st.floats(0, 26 * HOUR_SECONDS), min_size=2, max_size=2),
)
def test_the_spend_up_to_a_moment_never_falls_and_ends_at_the_whole(curve: list[int], moments: list[float]) -> None:
    cumulative = (0, *accumulate(curve))
    early, late = (spend_before(cumulative, moment) for moment in sorted(moments))
    assert 0 <= early <= late <= cumulative[-1]
    assert spend_before(cumulative, 26 * HOUR_SECONDS) == cumulative[-1]
    assert [spend_before(cumulative, n * HOUR_SECONDS) for n in range(len(cumulative))] == list(cumulative)


def test_within_an_hour_spend_is_taken_along_a_straight_line() -> None:
    assert spend_before((0, 100, 300), 1.25 * HOUR_SECONDS) == 150


@pytest.mark.parametrize(
    ("minutes", "window_minutes", "spent"),
    [
        (0, 15, 1),  # the bucket that runs counts whole, whatever its age
        (7.5, 15, 1),
        (15, 15, 10 + 1),  # one has just begun: the one before lies in the window as a whole
        (22.5, 15, 10 + 0.5),  # and half of it when 7.5 minutes have passed
        (29.999999, 15, 10),
        (37.5, 15, 100 + 5),
        (37.5, 120, 111),  # the window would begin before the day does
        (120, 120, 111_111_111),
        (165, 120, 111_111_111_000),
        (172.5, 120, 111_111_110_500),
        (600, 120, 0),  # long after the last spend
    ],
)
def test_a_window_is_the_running_bucket_and_those_before_it_pro_rata(
    minutes: float, window_minutes: int, spent: float
) -> None:
    curve = [10**n for n in range(12)]
    assert recent_spend(curve, minutes * 60, window_minutes * 60) == pytest.approx(spent, rel=1e-6)


def test_what_was_booked_ahead_of_the_present_is_no_spend_of_the_past() -> None:
    assert recent_spend([1, 2, 400], 20 * 60, 900) == pytest.approx(2 + 1 * (1 - 1 / 3))


@given(curve=curves, moment=st.floats(0, 25 * HOUR_SECONDS))
def test_a_longer_window_holds_no_less(curve: list[int], moment: float) -> None:
    fast, slow = (recent_spend(curve, moment, seconds) for seconds in (900, 7200))
    assert 0 <= fast <= slow * (1 + 1e-12) <= sum(curve) * (1 + 1e-9)
