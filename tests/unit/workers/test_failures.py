from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import FailureBudgetExceeded
from embedwatch.events import ERROR_CLASSES
from workers.failures import MAX_REASON_CHARS, SENDERS_MISTAKES, EmbedError, FailureBudget, classify, failure_of


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EmbedError("rate_limited", "429"), "rate_limited"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (RuntimeError("index out of range in self"), "model_error"),
        (KeyError("x"), "model_error"),
    ],
)
def test_each_exception_has_one_class_of_the_bounded_set(error: Exception, expected: str) -> None:
    assert classify(error) == expected
    assert expected in ERROR_CLASSES


def test_a_reason_is_one_clipped_line() -> None:
    failure = failure_of(RuntimeError("first\nsecond"), "embed")
    assert failure.reason == "RuntimeError: first"
    assert len(failure_of(RuntimeError("x" * 5000), "embed").reason) == MAX_REASON_CHARS
    assert failure_of(RuntimeError(), "embed").reason == "RuntimeError: no message"


def test_nothing_is_judged_before_enough_texts_were_seen() -> None:
    budget = FailureBudget(limit_pct=50.0, min_texts=10)
    budget.add(9, 9)
    with pytest.raises(FailureBudgetExceeded, match=r"9 of the last 10 texts failed \(90 %, allowed 50 %\)"):
        budget.add(1, 0)


def test_exactly_the_limit_is_allowed() -> None:
    budget = FailureBudget(limit_pct=50.0, min_texts=10)
    budget.add(10, 5)
    with pytest.raises(FailureBudgetExceeded, match="most often: invalid_utf8"):
        budget.add(10, 6, "invalid_utf8")


def test_old_failures_leave_the_window() -> None:
    budget = FailureBudget(limit_pct=40.0, min_texts=10)
    budget.add(10, 4)
    for _ in range(5):
        budget.add(10, 0)
    budget.add(10, 4)


@given(polls=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=60))
def test_the_window_holds_the_fewest_latest_polls_that_are_enough(polls: list[tuple[int, int]]) -> None:
    budget = FailureBudget(limit_pct=100.0, min_texts=40)
    seen: list[tuple[int, int]] = []
    for texts, failed in polls:
        seen.append((texts, min(texts, failed)))
        budget.add(*seen[-1])
        window: list[tuple[int, int]] = []
        while len(window) < len(seen) and sum(t for t, _ in window) < 40:
            window.insert(0, seen[-1 - len(window)])
        assert (budget._texts, budget._failed) == (sum(t for t, _ in window), sum(f for _, f in window))


def test_every_mistake_of_a_sender_is_a_known_class() -> None:
    assert set(ERROR_CLASSES) > SENDERS_MISTAKES
