"""What a worker needs of a model, whatever it is made of.

A backend tokenises many texts in one call and embeds one batch of them. It does not sort, batch, cache, count or
retry: that is the worker's part and the same for all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedwatch.events import TokenMethod
from embedwatch.settings import WorkerSettings

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
    """A loaded model. One thread at a time calls it."""

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
    def gpu_uuids(self) -> Sequence[str]:
        """The GPUs it uses, as the driver names them; empty when it uses none."""

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        """All texts in one call."""

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        """One batch: row i belongs to payload i, shape (len(payloads), dims).

        Raises whatever the model raises; `failures.classify` gives it a class.
        """

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text."""

    def health(self) -> str | None:
        """None when it can embed, else why not."""


def load(settings: WorkerSettings) -> Embedder:
    """The backend that the settings name, ready to embed. Raises `ModelError` in one line."""
    if settings.backend == "hashing":
        from workers.backends.hashing import HashingEmbedder

        return HashingEmbedder(
            name=settings.model, dims=settings.hashing_dims, seconds_per_text=settings.hashing_seconds_per_text
        )
    from workers.backends.sentence_transformers import load as load_sentence_transformers

    return load_sentence_transformers(
        settings.model,
        device=settings.device,
        threads=settings.threads or cpu_quota(),
        allow_download=settings.allow_download,
    )


def cpu_quota() -> int:
    """Whole CPUs this process may use: its affinity, and the container's quota where there is one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, min(usable, int(quota)) if quota else usable)


def _cgroup_quota(root: Path) -> float | None:
    """CPUs from cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`); None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        return float(quota) / float(period) if float(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max": no limit
