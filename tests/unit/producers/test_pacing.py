from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.pacing import Pacer

rates = st.floats(0.1, 1e6)


def prompt(pacer: Pacer, count: int, now: float) -> list[float]:
    """Times at which texts pass when somebody waits for exactly as long as told."""
    times = []
    for _ in range(count):
        now += pacer.wait_seconds(now)
        pacer.take(now)
        times.append(now)
    return times


@given(rates, st.integers(2, 200))
def test_a_prompt_sender_keeps_the_rate_and_an_even_step(rate: float, count: int) -> None:
    times = prompt(Pacer(rate, 0.0), count, 0.0)
    for at, passed in enumerate(times):
        assert passed == pytest.approx(at / rate, rel=1e-6, abs=1e-9)


@given(rates, st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_span_holds_more_texts_than_rate_and_burst_allow(rate: float, delays: list[float]) -> None:
    pacer, now, times = Pacer(rate, 0.0, burst_seconds=0.05), 0.0, []
    for delay in delays:  # a source that stands still now and then
        now += delay
        for _ in range(3):
            now += pacer.wait_seconds(now)
            pacer.take(now)
            times.append(now)
    for start in range(len(times)):
        for end in range(start, len(times)):
            allowed = rate * (times[end] - times[start] + 0.05) + 1
            assert end - start + 1 <= allowed * (1 + 1e-6) + 1e-6


def test_a_pause_is_not_made_up_for_by_a_flood() -> None:
    pacer = Pacer(100, 0.0)
    prompt(pacer, 1, 0.0)
    passed = 0
    while pacer.wait_seconds(60.0) == 0:
        pacer.take(60.0)
        passed += 1
    assert passed <= 6


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Pacer(rate, 0.0)
