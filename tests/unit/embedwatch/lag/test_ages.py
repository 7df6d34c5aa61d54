"""Times between offsets whose times are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedwatch.lag.ages import POINTS, Times


def test_a_time_lies_in_proportion_between_its_neighbours_and_is_not_known_outside() -> None:
    times = Times()
    assert times.at(5) is None
    times.add(10, 100.0)
    times.add(30, 200.0)
    assert [times.at(offset) for offset in (9, 10, 15, 30, 31)] == [None, 100.0, 125.0, 200.0, None]


def test_a_log_that_ended_there_for_a_while_gets_its_next_record_later() -> None:
    times = Times()
    times.add(10, 100.0)
    times.add(20, 110.0)
    times.add(20, 500.0)
    times.add(30, 510.0)
    assert times.at(20) == 500.0
    times.add(25, 501.0)  # read: nearer than the proportion
    assert times.at(25) == 501.0


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=400))
def test_what_grows_evenly_is_told_exactly_however_much_is_forgotten(offsets: list[int]) -> None:
    times = Times()
    for offset in offsets:
        times.add(offset, offset * 2.0)
    assert len(times._points) <= POINTS
    known = [offset for offset, _ in times._points]
    for offset in range(known[0], known[-1] + 1, max(1, (known[-1] - known[0]) // 50)):
        found = times.at(offset)
        assert found is not None
        assert abs(found - offset * 2.0) < 1e-6
