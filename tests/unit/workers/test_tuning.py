from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workers.conftest import FakeClock
from workers import tuning
from workers.backends.hashing import HashingEmbedder
from workers.failures import EmbedError
from workers.tuning import CANDIDATES, Trial, choose, tuned_budget


class Gpu(HashingEmbedder):
    """Takes so many seconds a batch and a token, and has so much memory."""

    def __init__(self, clock: FakeClock, batch_seconds: float, tokens_per_second: float, memory_tokens: int) -> None:
        super().__init__("m", 8)
        self._clock, self._batch_seconds, self._rate = clock, batch_seconds, tokens_per_second
        self._memory_tokens, self._seen = memory_tokens, set[int]()

    device = "cuda:0"
    local = True

    def embed(self, payloads: Any) -> Any:
        tokens = int(self.tokenise(list(payloads)).counts.sum())
        if tokens > self._memory_tokens:
            raise EmbedError("out_of_memory", "CUDA out of memory")
        self._clock.pass_by(self._batch_seconds + tokens / self._rate + (0 if tokens in self._seen else 5.0))
        self._seen.add(tokens)
        return super().embed(payloads[:1])


@pytest.mark.parametrize(
    ("batch_seconds", "memory_tokens", "expected"),
    [
        (0.0, 10**9, 16_384),  # nothing is won by more
        (0.050, 10**9, 65_536),  # a price for each batch: the larger the better
        (0.0011, 10**9, 32_768),
        (0.050, 40_000, 32_768),  # the largest does not fit
        (0.0, 10_000, 8_192),  # none fits: the budget then halves by itself
    ],
)
def test_the_smallest_budget_that_is_as_fast_as_any(batch_seconds: float, memory_tokens: int, expected: int) -> None:
    clock = FakeClock()
    assert tuned_budget(Gpu(clock, batch_seconds, 1_000_000, memory_tokens), clock.monotonic) == expected


def test_on_a_cpu_and_for_an_endpoint_nothing_is_tried() -> None:
    embedder = HashingEmbedder("m", 8)
    assert tuned_budget(embedder, lambda: pytest.fail("it was timed")) == embedder.token_budget


def test_what_fails_at_a_larger_budget_only_is_not_used_and_stops_nothing() -> None:
    clock = FakeClock()
    gpu = Gpu(clock, 0.050, 1e6, 10**9)
    works = gpu.embed

    def embed(payloads: Any) -> Any:
        if len(payloads) > 300:
            raise RuntimeError("CUDA error: invalid configuration argument")
        return works(payloads)

    gpu.embed = embed  # type: ignore[method-assign]
    assert tuned_budget(gpu, clock.monotonic) == 32_768


def test_trouble_that_is_not_memory_is_not_hidden() -> None:
    clock = FakeClock()
    gpu = Gpu(clock, 0.0, 1e6, 10**9)
    gpu.embed = lambda payloads: (_ for _ in ()).throw(EmbedError("bad_response", "no"))  # type: ignore[method-assign]
    with pytest.raises(EmbedError):
        tuned_budget(gpu, clock.monotonic)


@given(st.lists(st.none() | st.floats(1.0, 1e9), min_size=len(CANDIDATES), max_size=len(CANDIDATES)))
def test_what_is_chosen_fitted_and_is_nearly_the_fastest(rates: list[float | None]) -> None:
    trials = [Trial(budget, rate) for budget, rate in zip(CANDIDATES, rates, strict=True)]
    chosen = choose(trials)
    fitted = {trial.budget_tokens: trial.tokens_per_second for trial in trials if trial.tokens_per_second is not None}
    if not fitted:
        assert chosen is None
    else:
        assert chosen is not None
        assert fitted[chosen] * tuning.WORTH_IT >= max(fitted.values()) * 0.999999
