"""Which texts go into the model together. Pure: token counts in, indices out.

A batch is a rectangle of (longest text x number of texts) tokens, padding included, so texts of like length belong
together and the rectangle is what memory and time follow. Texts are sorted by token count, longest first: the
largest batch comes first, and if memory does not hold it, that shows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

#: After so many batches in a row that fitted, a shrunk budget grows by `GROWTH`, up to what was asked for.
RECOVER_AFTER_BATCHES = 20
GROWTH = 1.25


def longest_first(counts: Counts) -> npt.NDArray[np.intp]:
    """Indices sorted by falling token count; equal counts keep their order, so that the result is always the same."""
    return np.argsort(-counts, kind="stable")


def head_that_fits(counts: Counts, group: Sequence[int], budget_tokens: int) -> int:
    """How many texts of the head of `group` (sorted longest first) fill a batch of at most `budget_tokens`.

    At least 1: a text larger than the budget goes alone.
    """
    longest = max(int(counts[group[0]]), 1)
    return min(max(budget_tokens // longest, 1), len(group))


def plan(counts: Counts, budget_tokens: int) -> list[list[int]]:
    """All batches for a fixed budget. Every index appears exactly once."""
    group = longest_first(counts).tolist()
    batches = []
    while group:
        size = head_that_fits(counts, group, budget_tokens)
        batches.append(group[:size])
        group = group[size:]
    return batches


def padded_tokens(counts: Counts, batch: Sequence[int]) -> int:
    """Size of the rectangle in tokens."""
    return int(counts[list(batch)].max()) * len(batch)


@dataclass(slots=True)
class TokenBudget:
    """Padded tokens a batch may hold, following memory: an out-of-memory halves it, success lets it recover slowly."""

    limit_tokens: int
    tokens: int = field(init=False)
    _fitted: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.tokens = self.limit_tokens

    def out_of_memory(self, padded: int) -> None:
        """A batch of `padded` tokens did not fit: the next ones hold at most half of it."""
        self.tokens = max(1, min(self.tokens, padded) // 2)
        self._fitted = 0

    def fitted(self) -> None:
        """A batch went through."""
        self._fitted += 1
        if self.tokens < self.limit_tokens and self._fitted >= RECOVER_AFTER_BATCHES:
            self.tokens = min(self.limit_tokens, max(self.tokens + 1, int(self.tokens * GROWTH)))
            self._fitted = 0
