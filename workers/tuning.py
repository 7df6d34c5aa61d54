"""How many padded tokens a batch should hold on this GPU with this model: tried once at the start.

A small batch leaves a GPU waiting for its next one, a large one brings nothing more and costs memory and latency. The
best lies between 16k and 64k tokens on today's GPUs and depends on the model, so it is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.backend import Embedder
from workers.failures import classify

log = logging.getLogger(__name__)

CANDIDATES = (16_384, 32_768, 65_536)
#: A larger budget has to be faster by so much to be taken.
WORTH_IT = 1.03
#: Of each candidate: the first pass sets up kernels for its shapes and does not count.
PASSES = 3
TEXT_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Trial:
    budget_tokens: int
    #: None: it did not fit into memory, or failed in another way that a smaller one did not.
    tokens_per_second: float | None


def choose(trials: list[Trial]) -> int | None:
    """The smallest budget that no larger one beats by `WORTH_IT`; None when none fitted. Trials ascend."""
    best: Trial | None = None
    for trial in trials:
        rate = trial.tokens_per_second
        if rate is not None and (best is None or rate >= WORTH_IT * (best.tokens_per_second or 0.0)):
            best = trial
    return None if best is None else best.budget_tokens


def trials_of(embedder: Embedder, monotonic: Callable[[], float]) -> list[Trial]:
    """Runs each candidate, smallest first, until one does not fit."""
    payload, tokens = _text_of(embedder)
    found: list[Trial] = []
    for budget in CANDIDATES:
        batch = [payload] * max(1, budget // tokens)
        try:
            embedder.embed(batch)
            seconds = min(_timed(embedder, batch, monotonic) for _ in range(PASSES))
        except Exception as error:
            if not found and classify(error) != "out_of_memory":
                raise  # a model that cannot embed at all
            found.append(Trial(budget, None))
            break
        found.append(Trial(budget, len(batch) * tokens / max(seconds, 1e-9)))
    return found


def tuned_budget(embedder: Embedder, monotonic: Callable[[], float]) -> int:
    """For a local model on a GPU what is fastest there; for every other the backend's own budget."""
    if not (embedder.local and embedder.device.startswith("cuda")):
        return embedder.token_budget
    trials = trials_of(embedder, monotonic)
    budget = choose(trials)
    said = ", ".join(
        f"{trial.budget_tokens} "
        + ("failed" if trial.tokens_per_second is None else f"{trial.tokens_per_second:,.0f} tokens/s")
        for trial in trials
    )
    log.info("worker: token budget tuned: %s; %s", said, "half the smallest" if budget is None else f"{budget} taken")
    return CANDIDATES[0] // 2 if budget is None else budget


def _text_of(embedder: Embedder) -> tuple[Any, int]:
    """A text of about `TEXT_TOKENS` tokens, or as many as the model takes, and how many those are."""
    encoded = embedder.tokenise([" ".join(["time"] * min(TEXT_TOKENS, embedder.max_tokens))])
    return encoded.payloads[0], max(1, int(encoded.counts[0]))


def _timed(embedder: Embedder, batch: list[Any], monotonic: Callable[[], float]) -> float:
    begun = monotonic()
    embedder.embed(batch)
    return monotonic() - begun
