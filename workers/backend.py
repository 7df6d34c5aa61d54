"""What a worker needs of a model, whatever it is made of.

A backend tokenises many texts in one call and embeds one batch of them. It does not sort, batch, cache, count or
retry: that is the worker's part and the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedwatch.events import TokenMethod

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts after tokenising, in order. `payloads` mean something only to the backend that made them.

    `counts` are the tokens the model will process, `full_counts` those of the whole text: where they differ the text
    is truncated.
    """

    payloads: Sequence[Any]
    counts: npt.NDArray[np.int64]
    full_counts: npt.NDArray[np.int64]


class Embedder(Protocol):
    """A loaded model. One thread tokenises and another embeds, at the same time."""

    @property
    def name(self) -> str:
        """The model as events, prices and the header of vectors name it."""

    @property
    def dims(self) -> int: ...

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda:0, mps."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could get another vector: weights, prompt, length, pooling, dims."""

    @property
    def max_tokens(self) -> int:
        """Tokens of a text beyond this are cut off."""

    @property
    def token_method(self) -> TokenMethod: ...

    @property
    def local(self) -> bool:
        """It runs on a machine of ours, so no provider sends a bill by the token."""

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch, where the settings name none."""

    @property
    def pads(self) -> bool:
        """Its forward pass computes the whole rectangle of a batch, positions without a token included."""

    @property
    def gpu_uuids(self) -> Sequence[str]:
        """The GPUs it uses, as the driver names them; empty when it uses none."""

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        """All texts in one call."""

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        """One batch: row i belongs to payload i, shape (len(payloads), dims).

        Raises whatever the model raises; `failures.classify` gives it a class.
        """

    def billed_tokens(self) -> Sequence[int] | None:
        """Tokens of each payload of the last `embed` as a provider counted them; None where nobody else counts."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text."""

    def health(self) -> str | None:
        """None when it can embed, else why not."""

    def close(self) -> None:
        """Let go of connections and threads. An `embed` under way ends soon."""
