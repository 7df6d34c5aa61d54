"""Exact counts by model and tenant since this process started.

They only go up, as Prometheus counters must: the sums of a day begin anew at midnight, those of a window go down again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from embedwatch.events import PHASES, BatchEvent
from stream_agents.compute.unpriced import unpriced_saved_tokens
from stream_agents.compute.wasted import wasted_nano_usd

#: Pairs of model and tenant with series of their own; what comes later is counted under `OTHER`.
MAX_SERIES = 500
OTHER = "other"

COUNTED = (
    "texts", "cache_hits", "duplicates", "misses", "batches", "tokens_received", "tokens_embedded", "tokens_saved",
    "truncated_texts", "padding_tokens", "cost_nano_usd", "saved_nano_usd", "unpriced_tokens", "cache_errors",
    "duplicate_tokens", "unsettled_texts", "uncounted_texts", "uncached_texts",
)  # fmt: skip

_FOUND = ("unpriced_saved_tokens", "wasted_nano_usd")


@dataclass(slots=True)
class Counts:
    """Sums of integers by field of the event, errors by class, seconds by phase and those the model was busy."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*COUNTED, *_FOUND), 0))
    errors: dict[str, int] = field(default_factory=dict)
    phase_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    busy_seconds: float = 0.0
    #: Batches that no other series has counted: of a model, their sum is the batches that it embedded.
    own_batches: int = 0


class Counters:
    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.max_series = max_series
        self.series: dict[tuple[str, str | None], Counts] = {}

    def add(self, event: BatchEvent) -> None:
        """Count an event once, under its model and tenant."""
        pair = (event.model, event.tenant)
        counts = self.series.get(pair)
        if counts is None:
            if len(self.series) >= self.max_series:
                pair = (OTHER, OTHER)
            counts = self.series.setdefault(pair, Counts())
        sums = counts.sums
        for name in COUNTED:
            sums[name] += getattr(event, name)
        sums["unpriced_saved_tokens"] += unpriced_saved_tokens(event)
        sums["wasted_nano_usd"] += wasted_nano_usd(event)
        sums["batches"] -= min(event.tenant_repeated_batches, event.batches)
        counts.own_batches += event.batches - min(event.repeated_batches, event.batches)
        for error, count in event.errors.items():
            counts.errors[error] = counts.errors.get(error, 0) + count
        for phase in PHASES:
            counts.phase_seconds[phase] += getattr(event.phase_seconds, phase)
        counts.busy_seconds += event.busy_seconds
