"""Sums over panes that are kept: always what adding up every pane anew would give."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.rules import PANE_SECONDS
from stream_agents.compute.merges import HOT_PANES, Merges

BASE = 1_800_000_000


class Bag:
    """A sum that remembers what it was made of, and how often something was added to one."""

    added = 0

    def __init__(self, items: Iterable[int] = ()) -> None:
        self.items = list(items)

    def merge(self, other: Bag) -> None:
        Bag.added += 1
        self.items += other.items


def pane(number: int) -> int:
    return BASE + number * PANE_SECONDS


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(-400, 1)),  # panes before the present one, or a little ahead
    st.tuples(st.just("window"), st.integers(1, 360)),
    st.tuples(st.just("span"), st.integers(1, 360)),
    st.tuples(st.just("move"), st.integers(-5, 40)),
    st.tuples(st.just("prune"), st.integers(300, 420)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=60))
def test_a_sum_is_that_of_all_its_panes_whatever_came_and_went_before(work: list[tuple[str, int]]) -> None:
    panes: dict[int, Bag] = {}
    merges = Merges(panes, Bag)
    now = 0
    for at, (what, number) in enumerate(work):
        last = pane(now)
        if what == "add":
            start = pane(now + number)
            panes.setdefault(start, Bag()).items.append(at)
            merges.changed(start)
        elif what == "window":
            first = pane(now - number + 1)
            wanted = sorted(item for start, bag in panes.items() if start >= first for item in bag.items)
            assert sorted(merges.window(first, last).items) == wanted
            assert sorted(item for part in merges.parts(first, last) for item in part.items) == wanted
        elif what == "span":
            first, end = pane(now - 360), pane(now - number)
            wanted = sorted(item for start, bag in panes.items() if first <= start < end for item in bag.items)
            assert sorted(merges.span(first, end, last).items) == wanted
        elif what == "move":
            now += number
        else:
            oldest = pane(now - number)
            for start in [start for start in panes if start <= oldest]:
                del panes[start]
            merges.forget(oldest)


def test_a_sum_belongs_to_the_caller() -> None:
    panes = {pane(-n): Bag([n]) for n in range(360)}
    merges = Merges(panes, Bag)
    merges.window(pane(-359), pane(0)).items.clear()
    merges.span(pane(-359), pane(-10), pane(0)).items.clear()
    assert len(merges.window(pane(-359), pane(0)).items) == 360
    assert len(merges.span(pane(-359), pane(-10), pane(0)).items) == 349


def test_an_hour_is_added_up_anew_only_where_it_changed() -> None:
    panes = {pane(-n): Bag([n]) for n in range(400)}
    merges = Merges(panes, Bag)

    def cost(now: int) -> int:
        before = Bag.added
        merges.window(pane(now - 359), pane(now))
        return Bag.added - before

    assert cost(0) > 360, "the first time everything"
    assert cost(0) == 1 + HOT_PANES, "then the sum of the past and the hot panes"
    panes[pane(0)].items.append(-1)
    merges.changed(pane(0))
    assert cost(0) == 1 + HOT_PANES
    panes[pane(1)] = Bag([-2])
    merges.changed(pane(1))
    assert cost(1) < 40, "the window moved on: its blocks stay"
    merges.changed(pane(-100))
    assert cost(1) < 70, "a late event: its blocks are made again"


def test_sums_that_nobody_will_ask_for_again_are_dropped() -> None:
    panes = {pane(-n): Bag([n]) for n in range(400)}
    merges = Merges(panes, Bag)
    for now in range(100):
        merges.window(pane(now - 359), pane(now))
        merges.window(pane(now - 5), pane(now))
    assert len(merges._spans) == 2


def test_a_pane_far_ahead_of_a_clock_that_was_set_back_costs_no_more_than_the_panes_there_are() -> None:
    panes = {pane(10**9): Bag([1])}
    merges = Merges(panes, Bag)
    assert merges.window(pane(0), pane(0)).items == [1]
