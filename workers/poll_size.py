"""How much a poll takes, so that a cycle holds as much work for the model whether or not the cache knows most of it.

What the model has to see of a cycle is batched by length. Where six texts of ten are known, the same poll leaves four
to batch, the batches are smaller and more mixed, and the time per token grows (by 7 % on two cores). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A poll is never larger than so many times what the settings say: a bound on memory, and on what waits together.
MOST = 4.0


@dataclass(slots=True)
class PollSize:
    """`factor` (1 to `MOST`) is by how much a poll may exceed its settings. Written by one thread, read by any."""

    factor: float = 1.0
    #: Of the texts of late; None before the first cycle was looked up.
    model_share: float | None = None

    def saw(self, texts: int, for_the_model: int) -> None:
        """A cycle was looked up: of `texts`, so many have to go through the model."""
        if not texts:
            return
        share = for_the_model / texts
        if self.model_share is not None:
            # Quickly down when the cache stops helping: a cycle full of misses keeps everything in it waiting.
            share = max(share, (self.model_share + share) / 2)
        self.model_share = share
        self.factor = MOST if share * MOST <= 1.0 else 1.0 / share
