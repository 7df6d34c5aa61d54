from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.poll_size import MOST, PollSize


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        ([], 1.0),
        ([(256, 256)], 1.0),
        ([(256, 128)], 2.0),
        ([(250, 100), (625, 250)], 2.5),
        ([(256, 0)], MOST),
        ([(256, 1), (1024, 1024)], 1.0),  # a cache that stops helping is believed at once
        ([(100, 100), (100, 0)], 2.0),  # one that begins to, by and by
        ([(0, 0)], 1.0),
    ],
)
def test_a_poll_grows_with_the_share_that_the_cache_knows(seen: list[tuple[int, int]], factor: float) -> None:
    size = PollSize()
    for texts, for_the_model in seen:
        size.saw(texts, for_the_model)
    assert size.factor == pytest.approx(factor)


def test_nothing_is_known_before_the_first_cycle() -> None:
    size = PollSize()
    size.saw(0, 0)
    assert size.model_share is None
    size.saw(10, 4)
    assert size.model_share == 0.4


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), min_size=1))
def test_it_never_asks_for_more_work_than_without_a_cache(cycles: list[tuple[int, float]]) -> None:
    size = PollSize()
    for texts, share in cycles:
        size.saw(texts, round(texts * share))
        assert 1.0 <= size.factor <= MOST
        # As the last cycle was, the next one brings the model no more than a poll of plain settings would.
        assert size.factor * round(texts * share) / texts <= 1.0 + 1e-9
