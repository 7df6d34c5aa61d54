from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.batching import RECOVER_AFTER_BATCHES, TokenBudget, longest_first, padded_tokens, plan

counts_lists = st.lists(st.integers(min_value=0, max_value=600), max_size=200).map(lambda x: np.array(x, np.int64))
budgets = st.integers(min_value=1, max_value=2000)


@given(counts=counts_lists, budget=budgets)
def test_every_text_is_in_exactly_one_batch(counts: np.ndarray, budget: int) -> None:
    assert sorted(index for batch in plan(counts, budget) for index in batch) == list(range(len(counts)))


@given(counts=counts_lists, budget=budgets)
def test_the_budget_is_kept_and_what_is_larger_goes_alone(counts: np.ndarray, budget: int) -> None:
    for batch in plan(counts, budget):
        assert len(batch) == 1 or padded_tokens(counts, batch) <= budget


@given(counts=counts_lists, budget=budgets)
def test_no_batch_could_have_taken_the_next_text_too(counts: np.ndarray, budget: int) -> None:
    batches = plan(counts, budget)
    for batch, _ in itertools.pairwise(batches):
        assert max(int(counts[batch[0]]), 1) * (len(batch) + 1) > budget


@given(counts=counts_lists, budget=budgets)
def test_the_longest_come_first_and_batches_never_overlap_in_length(counts: np.ndarray, budget: int) -> None:
    batches = plan(counts, budget)
    for batch, following in itertools.pairwise(batches):
        assert counts[batch].min() >= counts[following].max()


def test_texts_of_equal_length_keep_their_order() -> None:
    assert longest_first(np.array([3, 5, 3, 5])).tolist() == [1, 3, 0, 2]


def test_out_of_memory_halves_the_budget_until_the_batch_must_split() -> None:
    budget = TokenBudget(1000)
    budget.out_of_memory(padded=600)
    assert budget.tokens == 300
    budget.out_of_memory(padded=300)
    assert budget.tokens == 150
    for _ in range(20):
        budget.out_of_memory(padded=1)
    assert budget.tokens == 1


def test_the_budget_recovers_slowly_and_never_beyond_what_was_asked_for() -> None:
    budget = TokenBudget(1000)
    budget.out_of_memory(padded=1000)
    for _ in range(RECOVER_AFTER_BATCHES - 1):
        budget.fitted()
    assert budget.tokens == 500
    budget.fitted()
    assert budget.tokens == 625
    for _ in range(RECOVER_AFTER_BATCHES * 10):
        budget.fitted()
    assert budget.tokens == 1000


def test_another_out_of_memory_starts_the_recovery_anew() -> None:
    budget = TokenBudget(1000)
    budget.out_of_memory(padded=1000)
    for _ in range(RECOVER_AFTER_BATCHES - 1):
        budget.fitted()
    budget.out_of_memory(padded=500)
    budget.fitted()
    assert budget.tokens == 250
