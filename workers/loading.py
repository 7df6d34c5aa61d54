"""The backend that the settings name, made ready to embed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from embedwatch.settings import WorkerSettings

if TYPE_CHECKING:
    # It loads NumPy, whose threads a process that starts others (`workers.crew`) must not have.
    from workers.backend import Embedder


def load(settings: WorkerSettings) -> Embedder:
    """The backend that the settings name, ready to embed. Raises `ModelError` in one line."""
    if settings.backend == "hashing":
        from workers.backends.hashing import HashingEmbedder

        return HashingEmbedder(
            name=settings.model, dims=settings.hashing_dims, seconds_per_text=settings.hashing_seconds_per_text
        )
    if settings.backend == "openai":
        from workers.backends.openai_compatible import OpenAIEmbedder

        return OpenAIEmbedder(settings)
    from workers.backends.sentence_transformers import ModelOptions
    from workers.backends.sentence_transformers import load as load_sentence_transformers

    embedder = load_sentence_transformers(
        settings.model,
        device=settings.device,
        threads=settings.threads or cpu_quota(),
        allow_download=settings.allow_download,
        options=ModelOptions(
            precision=settings.precision,
            prompt_name=settings.prompt_name,
            truncate_dim=settings.truncate_dim,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
        ),
    )
    embedder.drop_spare_weights()
    return embedder


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
