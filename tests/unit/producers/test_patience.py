from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from producers.patience import patiently


@pytest.mark.parametrize("capacity", [1, 2, 3, 100, 100_000])
def test_every_item_comes_once_and_in_order(capacity: int) -> None:
    found = [item for item in patiently(iter(range(20_000)), 0.5, capacity) if item is not None]
    assert found == list(range(20_000))


def test_nothing_for_a_while_is_said_and_the_items_go_on() -> None:
    go = threading.Event()

    def slow() -> Iterator[str]:
        yield "first"
        assert go.wait(30)
        yield "second"

    items = patiently(slow(), 0.01)
    assert next(items) == "first"
    assert next(items) is None
    go.set()
    assert [item for item in items if item is not None] == ["second"]


def test_an_error_of_the_source_comes_after_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("line 3")

    found: list[int | None] = []
    with pytest.raises(LookupError, match="line 3"):
        found.extend(patiently(broken(), 0.5))
    assert [item for item in found if item is not None] == [1, 2]


def test_no_more_than_the_capacity_is_read_ahead() -> None:
    read: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for n in range(1000):
            read.append(n)
            if n == 9:
                full.set()
            yield n

    items = patiently(source(), 5.0, capacity=10)
    assert next(items) == 0
    assert full.wait(30)
    taken = 1
    while taken < 500:
        assert next(items) == taken
        taken += 1
        assert len(read) <= taken + 10 + 1


def test_a_source_is_left_when_nobody_asks_any_more() -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from iter(int, 1)  # zeros for ever
        finally:
            ended.set()

    items = patiently(source(), 0.5, capacity=4)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert ended.wait(30)
