"""Times between offsets whose times are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedwatch.lag.ages import CLOSE_SECONDS, POINTS, Times


def test_a_time_lies_in_proportion_between_its_neighbours_and_is_not_known_outside() -> None:
    times = Times()
    assert times.at(5) is None
    times.add(30, 102.0)
    times.add(10, 100.0)
    assert [times.at(offset) for offset in (9, 10, 15, 30, 31)] == [None, 100.0, 100.5, 102.0, None]


def test_between_times_far_apart_nothing_is_told() -> None:
    """All of it may have been written at the one or at the other."""
    times = Times()
    times.add(10, 100.0)
    times.add(30, 100.0 + CLOSE_SECONDS + 0.1)
    assert times.at(20) is None
    assert times.at(10) == 100.0


def test_what_is_known_better_takes_the_place() -> None:
    times = Times()
    times.add(10, 100.0)
    times.add(10, 100.5)
    assert times.at(10) == 100.5


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 4)), min_size=2, max_size=300), st.floats(0, 1))
def test_what_is_told_is_never_far_from_the_truth(steps: list[tuple[int, float]], share: float) -> None:
    """Whenever the records between two known ones were written."""
    times, known, offset, at = Times(), [], 0, 0.0
    for records, seconds in steps:
        times.add(offset, at)
        known.append((offset, at))
        offset, at = offset + records, at + seconds
    assert len(times._points) <= POINTS
    asked = int(share * known[-1][0])
    found = times.at(asked)
    if found is not None:
        low = max(time for each, time in known if each <= asked)
        high = min(time for each, time in known if each >= asked)
        assert low - 1e-9 <= found <= high + 1e-9
        assert high - low <= CLOSE_SECONDS
