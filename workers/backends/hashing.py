"""A model-free backend: the same text always gets the same unit vector, and nothing about it means anything.

For tests of everything around a model, and for load tests without one (`seconds_per_text` stands for its work).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from embedwatch.events import TokenMethod
from workers.backend import Encoded, Vectors


class HashingEmbedder:
    """Tokens are the words between white space. The vector is drawn from a generator seeded by the kept words."""

    device = "cpu"
    token_method: TokenMethod = "model"  # noqa: S105
    # It may stand for any model, also one that a provider sells: then the price list applies.
    local = False
    token_budget = 32_768
    pads = False
    gpu_uuids: Sequence[str] = ()

    def __init__(
        self,
        name: str = "hashing",
        dims: int = 384,
        *,
        seconds_per_text: float = 0.0,
        max_tokens: int = 8192,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.dims = dims
        self.max_tokens = max_tokens
        self.fingerprint = blake2b(f"hashing:1\0{name}\0{dims}\0{max_tokens}".encode(), digest_size=16).hexdigest()
        self._seconds_per_text = seconds_per_text
        self._sleep = sleep

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        words = [text.split() for text in texts]
        full = np.array([len(w) for w in words], np.int64)
        kept = [" ".join(w[: self.max_tokens]) for w in words]
        return Encoded(kept, np.minimum(full, self.max_tokens), full)

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        rows = np.empty((len(payloads), self.dims), np.float32)
        for row, text in zip(rows, payloads, strict=True):
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
            generator.standard_normal(out=row, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if self._seconds_per_text:
            self._sleep(self._seconds_per_text * len(payloads))
        return rows

    def billed_tokens(self) -> None:
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        pass
