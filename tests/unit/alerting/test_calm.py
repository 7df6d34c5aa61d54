"""The cap: never more than it says in any stretch of time, and nothing waits for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alerting.calm import Calm, Cap


def test_half_at_once_then_one_after_the_other() -> None:
    cap = Cap(Calm(cap_posts=20, cap_seconds=300.0))
    sent = []
    for second in range(600):
        while cap.room(float(second), urgent=True):
            cap.take(float(second))
            sent.append(second)
    assert sent[:10] == [0] * 10
    assert sent[10:14] == [30, 60, 90, 120]


def test_what_is_not_urgent_leaves_some_for_what_is() -> None:
    cap = Cap(Calm())
    count = 0
    while cap.room(0.0, urgent=False):
        cap.take(0.0)
        count += 1
    assert count == 8
    assert cap.room(0.0, urgent=True, posts=2)
    assert not cap.room(0.0, urgent=True, posts=3)


def test_without_a_cap_there_is_always_room() -> None:
    cap = Cap(Calm(cap_posts=None))
    for _ in range(1000):
        assert cap.room(0.0, urgent=False)
        cap.take(0.0)


@given(
    st.integers(2, 30),
    st.lists(st.tuples(st.floats(0.0, 200.0), st.booleans()), min_size=1, max_size=120),
)
def test_no_window_holds_more_than_the_cap(posts: int, asked: list[tuple[float, bool]]) -> None:
    cap = Cap(Calm(cap_posts=posts, cap_seconds=300.0))
    sent: list[float] = []
    now = 0.0
    for after, urgent in asked:
        now += after
        while cap.room(now, urgent=urgent):
            cap.take(now)
            sent.append(now)
    for first in sent:
        assert sum(first <= at < first + 299.9 for at in sent) <= posts


@given(st.integers(2, 30), st.integers(1, 100), st.booleans())
def test_nobody_waits_longer_than_the_spread(posts: int, taken: int, urgent: bool) -> None:
    cap = Cap(Calm(cap_posts=posts, cap_seconds=300.0))
    for _ in range(taken):
        if cap.room(0.0, urgent=urgent):
            cap.take(0.0)
    assert cap.room(300.0 * 2 / posts + 0.001, urgent=urgent)


@given(
    st.integers(2, 30),
    st.lists(st.tuples(st.floats(0.0, 200.0), st.booleans(), st.booleans()), min_size=1, max_size=120),
)
def test_one_that_recalls_its_posts_keeps_the_cap_as_if_it_had_never_stopped(
    posts: int, asked: list[tuple[float, bool, bool]]
) -> None:
    """Its own monotonic clock begins anew with each process."""
    calm = Calm(cap_posts=posts, cap_seconds=300.0)
    cap, began, sent, now = Cap(calm), 0.0, [], 0.0
    for after, urgent, restarts in asked:
        now += after
        if restarts:
            cap, began = Cap(calm), now
            cap.recall((now - at for at in sent), now - began)
        while cap.room(now - began, urgent=urgent):
            cap.take(now - began)
            sent.append(now)
    for first in sent:
        assert sum(first <= at < first + 299.9 for at in sent) <= posts


def test_what_is_recalled_twice_counts_once_and_what_is_in_doubt_is_not_forgotten() -> None:
    cap = Cap(Calm(cap_posts=20, cap_seconds=300.0))
    for _ in range(4):
        cap.take(100.0)  # one of them may have arrived: nobody else knows
    for _ in range(3):
        cap.recall([0.0] * 3, 100.0)
    assert cap.room(100.0, urgent=True, posts=6)
    assert not cap.room(100.0, urgent=True, posts=7)
    cap.recall([0.0] * 10, 100.0)
    assert not cap.room(100.0, urgent=True)
