"""Whether the agents answer, and when to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from console.link import BACKOFF_SECONDS, EVERY_SECONDS, Link


def test_attempts_become_rarer_and_an_answer_forgets_them() -> None:
    link, now, waits = Link().answered(100.0), 101.0, []
    for _ in range(7):
        link = link.failed(now, "refused")
        waits.append(link.wait_seconds(now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert (link.lost_seconds, link.got_seconds, link.live) == (101.0, 100.0, False)
    assert link.age_seconds(now) == now - 100.0
    back = link.answered(now)
    assert (back.live, back.failures, back.wait_seconds(now)) == (True, 0, EVERY_SECONDS)


def test_without_numbers_they_have_no_age() -> None:
    assert Link().age_seconds(5.0) is None
    assert Link().wait_seconds(5.0) == 0.0


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_clock_that_is_set_never_makes_it_wait_longer_than_the_longest_pause(then: float, now: float) -> None:
    assert 0.0 <= Link().failed(then, "x").wait_seconds(now) <= BACKOFF_SECONDS[-1]
