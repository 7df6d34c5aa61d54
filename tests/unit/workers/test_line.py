from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.line import Line

WAIT_SECONDS = 10.0


@contextmanager
def line_of(*steps: Any, limit: int = 4) -> Iterator[Line[Any]]:
    line: Line[Any] = Line([(f"step-{n}", step) for n, step in enumerate(steps)], limit=limit)
    try:
        yield line
    finally:
        assert line.close(WAIT_SECONDS)


def all_of(line: Line[Any]) -> list[Any]:
    done = []
    while line.busy:
        part = line.finished(WAIT_SECONDS)
        assert part, "nothing came out in time"
        done += part
    return done


@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_every_item_goes_through_every_step_once_and_in_order(items: list[int], limit: int) -> None:
    seen: list[list[int]] = [[], [], []]
    with line_of(*(part.append for part in seen), limit=limit) as line:
        done = []
        for item in items:
            while line.full:
                done += line.finished(WAIT_SECONDS)
            line.put(item)
        done += all_of(line)
    assert done == items == seen[0] == seen[1] == seen[2]


def test_steps_work_on_different_items_at_the_same_time() -> None:
    both_inside = threading.Barrier(2, timeout=WAIT_SECONDS)

    def meet(item: int) -> None:
        if item in (0, 1):
            both_inside.wait()  # the first in the second step, the second in the first one

    with line_of(lambda item: item == 1 and meet(item), lambda item: item == 0 and meet(item)) as line:
        line.put(0)
        line.put(1)
        assert all_of(line) == [0, 1]


def test_no_more_than_the_limit_is_inside() -> None:
    gate = threading.Event()
    with line_of(lambda _: gate.wait(WAIT_SECONDS), limit=2) as line:
        line.put(1)
        assert not line.full
        line.put(2)
        assert line.full
        with pytest.raises(RuntimeError, match="2 of 2"):
            line.put(3)
        assert line.finished() == []
        gate.set()
        assert all_of(line) == [1, 2]


@pytest.mark.parametrize("failing_step", [0, 1, 2])
def test_what_was_before_a_failure_comes_out_and_what_is_after_it_does_not(failing_step: int) -> None:
    gate = threading.Event()
    delivered: list[int] = []

    def maybe_fail(item: int) -> None:
        gate.wait(WAIT_SECONDS)
        if item == 2:
            raise ValueError("two")

    steps: list[Any] = [lambda _: None, lambda _: None, lambda _: None]
    steps[failing_step] = maybe_fail
    with line_of(*steps, delivered.append, limit=4) as line:
        for item in range(4):
            line.put(item)
        gate.set()
        done: list[int] = []
        while len(done) < 2:
            done += line.finished(WAIT_SECONDS)
        assert done == delivered == [0, 1]
        with pytest.raises(ValueError, match="two"):
            line.finished()


def test_an_exit_inside_a_step_reaches_the_caller_too() -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    with line_of(leave) as line:
        line.put(1)
        with pytest.raises(SystemExit):
            line.finished(WAIT_SECONDS)


def test_a_step_that_does_not_end_is_told() -> None:
    gate = threading.Event()
    line: Line[int] = Line([("stuck", lambda _: gate.wait(WAIT_SECONDS))], limit=1)
    line.put(1)
    assert not line.close(0.01)
    gate.set()
    assert line.close(WAIT_SECONDS)


def test_all_steps_together_have_the_time_that_one_of_them_has() -> None:
    gate = threading.Event()
    line: Line[int] = Line([(f"step-{n}", lambda _: gate.wait(WAIT_SECONDS)) for n in range(3)], limit=3)
    line.put(1)
    waited: list[float | None] = []
    for thread in line._threads:
        thread.join = waited.append  # type: ignore[assignment, method-assign]
    line.close(5.0)
    assert max(w for w in waited if w is not None) <= 5.0
    assert waited == sorted(waited, reverse=True)  # type: ignore[type-var]
    gate.set()
