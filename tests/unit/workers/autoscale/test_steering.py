from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.autoscale.steering import Bounds, Helm, Moves, Place, State, moves
from workers.autoscale.wish import Hold, Wish

WIDE = Bounds(0, 10, 10)


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    slots, most = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    return Bounds(draw(st.integers(0, min(slots, most))), most, slots)


@st.composite
def places(draw: st.DrawFn) -> list[Place]:
    states = draw(st.lists(st.sampled_from(get_args(State)), min_size=1, max_size=12))
    order = draw(st.permutations(range(len(states))))
    return [Place(f"w-{n}", state, started) for n, (state, started) in enumerate(zip(states, order, strict=True))]


def named(text: str) -> list[Place]:
    """ "u1 f l" as places: the first letter of the state, and when it was started."""
    states: dict[str, State] = {state[0]: state for state in get_args(State)}
    return [Place(f"w-{n}", states[word[0]], int(word[1:] or 0)) for n, word in enumerate(text.split(), start=1)]


@pytest.mark.parametrize(
    ("target", "before", "start", "stop"),
    [
        (2, "f f f", ("w-1", "w-2"), ()),
        (2, "u1 f u2", (), ()),
        (3, "u1 f u2 f", ("w-2",), ()),
        (1, "u1 u3 u2", (), ("w-2", "w-3")),  # the newest first
        (1, "u1 w2 u3", (), ("w-2", "w-3")),  # who fails goes first
        (0, "u1 w2", (), ("w-2", "w-1")),
        (2, "u1 l2 f", ("w-3",), ()),  # not the place of one that drains
        (1, "u1 l2 l3", (), ()),
        (2, "u1 r f", ("w-3",), ()),  # not the place that gave up
    ],
)
def test_which_places_start_and_stop(target: int, before: str, start: tuple[str, ...], stop: tuple[str, ...]) -> None:
    assert moves(target, named(before), WIDE) == Moves(start, stop)


def test_who_drains_counts_against_the_limit_until_it_has_gone() -> None:
    limited = Bounds(0, 2, 4)
    assert moves(2, named("u1 l2 f f"), limited) == Moves(missing=1)
    assert moves(2, named("u1 f f f"), limited) == Moves(start=("w-2",))


def test_what_finds_no_place_is_missing() -> None:
    assert moves(3, named("u1 r r"), Bounds(0, 3, 3)) == Moves(missing=2)


@given(target=st.integers(0, 12), before=places(), limits=bounds())
def test_moves_come_as_near_as_they_may_and_never_beyond(target: int, before: list[Place], limits: Bounds) -> None:
    target, _ = limits.clamp(target)
    todo = moves(target, before, limits)
    states = {place.name: place.state for place in before}
    count = {state: sum(place.state == state for place in before) for state in get_args(State)}
    at_work = count["up"] + count["waiting"]
    assert not (todo.start and todo.stop)
    assert all(states[name] == "free" for name in todo.start)
    assert all(states[name] in ("up", "waiting") for name in todo.stop)
    assert len(set(todo.start)) == len(todo.start)
    assert at_work - len(todo.stop) + len(todo.start) + todo.missing == max(target, at_work - len(todo.stop))
    if at_work >= target:
        assert at_work - len(todo.stop) == target
    else:
        assert at_work + len(todo.start) <= target
    if todo.start:
        assert at_work + count["leaving"] + len(todo.start) <= limits.cap
    if todo.missing:
        full = at_work + count["leaving"] + len(todo.start) >= limits.cap
        assert full or len(todo.start) == count["free"]


@given(target=st.integers(0, 3), before=places())
def test_whoever_stays_is_older_than_whoever_goes(target: int, before: list[Place]) -> None:
    todo = moves(target, before, Bounds(0, 12, 12))
    stay = [p for p in before if p.state == "up" and p.name not in todo.stop]
    go = [p for p in before if p.state == "up" and p.name in todo.stop]
    assert all(old.started < new.started for old in stay for new in go)
    if go:
        assert all(p.name in todo.stop for p in before if p.state == "waiting")


HEARD = st.builds(Wish, st.integers(0, 20), st.just("why")) | st.builds(Hold, st.sampled_from("ab"), st.just("what"))


@given(limits=bounds(), story=st.lists(HEARD, min_size=1, max_size=30))
def test_the_number_is_within_its_bounds_and_what_says_nothing_changes_nothing(
    limits: Bounds, story: list[Wish | Hold]
) -> None:
    helm = Helm(limits)
    for number, heard in enumerate(story):
        before = helm.target
        decision = helm.turn(heard)
        assert (decision.before, decision.after) == (before, helm.target)
        assert limits.least <= helm.target <= limits.cap
        if isinstance(heard, Hold):
            assert helm.target == (before if number else limits.least)
        elif limits.least <= heard.desired <= limits.cap:
            assert (helm.target, decision.limited_by) == (heard.desired, None)
        else:
            assert decision.limited_by is not None
        if decision.before != decision.after:
            assert not decision.told


def test_news_is_told_once() -> None:
    helm = Helm(Bounds(1, 4, 4))
    story: list[Wish | Hold] = [
        Hold("none yet", "not yet"), Wish(1, "idle"), Wish(1, "idle still"), Wish(3, "busy"), Hold("no answer", "gone"),
        Hold("no answer", "gone for 9 s"), Wish(3, "busy"), Wish(9, "very"), Wish(8, "very"), Wish(4, "right"),
    ]  # fmt: skip
    found = [(decision.told, decision.after) for decision in map(helm.turn, story)]
    assert found == [
        (False, 1), (False, 1), (True, 1), (False, 3), (False, 3), (True, 3), (False, 3), (False, 4), (True, 4),
        (False, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "desired", "after", "by", "words"),
    [
        (Bounds(1, 2, 4), 3, 2, "max", "busy; the agents ask for 3, at most 2 here (--max)"),
        (Bounds(1, 9, 2), 3, 2, "slots", "busy; the agents ask for 3, there are 2 slots here"),
        (Bounds(1, 9, 2), 0, 1, "min", "busy; the agents ask for 0, at least 1 here (--min)"),
        (Bounds(1, 9, 9), 3, 3, None, "busy"),
    ],
)
def test_what_limits_is_told(limits: Bounds, desired: int, after: int, by: str | None, words: str) -> None:
    decision = Helm(limits).turn(Wish(desired, "busy"))
    assert (decision.after, decision.limited_by, decision.reason) == (after, by, words)
