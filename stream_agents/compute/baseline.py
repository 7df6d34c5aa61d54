"""What a baseline keeps of the windows, and the judgement of a rule against one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import msgspec
from msgspec.structs import replace

from embedwatch.baselines import Baseline, Measured, Numbers
from embedwatch.events import PHASES, Contributor, Judgement
from embedwatch.regression import Sample, decide, effective_batches, shift
from stream_agents.compute.contributors import MIN_SHARE_PCT
from stream_agents.compute.scopes import Scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import World

TOP_PHASES = 3
MAX_SCOPES = 1000


Measurement = tuple[Scope, Numbers | None]


def snapshot(world: World, now: float, window_seconds: int) -> dict[str, Any]:
    """Every scope with an event in the window, everything first, as `embedwatch.baselines.from_answer` reads it."""
    return as_answer(now, window_seconds, measured(world, now, window_seconds))


def measured(world: World, now: float, window_seconds: int) -> Iterator[Measurement]:
    """Each scope, without its models; None for one without an event in the window.

    The first time one of an hour costs some milliseconds, so whoever has others to serve takes some at a time. What is
    counted between two of them is in the later ones only.
    """
    for scope in sorted(world.windows.scopes()):
        totals = world.windows.window(scope, window_seconds, now)
        if totals.events or not scope:
            covered = world.windows.covered_seconds(totals, window_seconds, now)
            yield scope, _numbers(scope, totals, covered or 0.0)
        else:
            yield scope, None


def as_answer(now: float, window_seconds: int, measurements: Iterable[Measurement]) -> dict[str, Any]:
    found = {scope: numbers for scope, numbers in measurements if numbers is not None}
    models = _models(found)
    scopes = {
        scope_key(scope): msgspec.to_builtins(replace(found[scope], models=sorted(models.get(scope, ()))))
        for scope in sorted(found)[:MAX_SCOPES]
    }
    return {"time_seconds": now, "window_seconds": window_seconds, "scopes": scopes}


def _numbers(scope: Scope, totals: Totals, covered_seconds: float) -> Numbers:
    return Numbers(
        texts=totals.texts,
        errors=totals.failed_count,
        batches=totals.batches,
        effective_batches=_sample(scope, totals).effective_batches,
        cache_hits=totals.cache_hits,
        cache_misses=totals.misses,
        tokens_received=totals.tokens_received,
        tokens_embedded=totals.tokens_embedded,
        unpriced_tokens=totals.unpriced_tokens,
        cost_nano_usd=totals.cost_nano_usd,
        covered_seconds=covered_seconds,
        phase_seconds=dict(totals.phase_seconds),
        latency_sketch=totals.latency.to_text(),
        queue_wait_sketch=totals.queue_wait.to_text(),
        models=[],
        price_sources=sorted(totals.price_sources),
        batch_share=totals.batch_share,
    )


def _sample(scope: Scope, totals: Totals) -> Sample:
    """A batch of several tenants comes as an event for each: in a scope of all of them they are one batch again."""
    apart = any(dimension == "tenant" for dimension, _ in scope)
    squared = totals.squared_texts + (0.0 if apart else totals.crossed_texts)
    return Sample(totals.latency, effective_batches(totals.latency.count, squared))


def _models(found: Iterable[Scope]) -> dict[Scope, set[str]]:
    """Models seen in each scope: its own, or those of the scopes inside it."""
    models: dict[Scope, set[str]] = {}
    for scope in found:
        model = dict(scope).get("model")
        if model is not None:
            for size in range(len(scope) + 1):
                for around in combinations(scope, size):
                    models.setdefault(around, set()).add(model)
    return models


def against(
    baseline: Baseline, scope: Scope, totals: Totals, *, threshold_pct: float, min_texts: int
) -> tuple[float | None, Judgement, str, tuple[Contributor, ...]]:
    """A rule's value (percent of texts above the baseline's p95), judgement, its reason, and the phases that grew."""
    base = baseline.scopes.get(scope_key(scope))
    if base is None:
        return None, "inconclusive", f"baseline {baseline.name} has no scope {scope_key(scope)}", ()
    found = shift(base.sample, _sample(scope, totals))
    if found is None:
        return None, "inconclusive", f"baseline {baseline.name} has no latencies of {scope_key(scope)}", ()
    outcome, reason = decide(found, min_share_pct=threshold_pct, min_texts=min_texts)
    judgement: Judgement = {"regression": "breached", "none": "ok", "inconclusive": "inconclusive"}[outcome]  # type: ignore[assignment]
    return found.share_pct, judgement, reason, grown(base, totals)


def grown(base: Measured, totals: Totals) -> tuple[Contributor, ...]:
    """Phases that take longer a batch than they did, the largest growth first.

    The value is in percent of the baseline's time a batch, so the values add up and one that was 0 divides by nothing;
    the share is of all that grew, the factor over the phase's own time. Empty where a side has no batches (hits only).
    """
    before = base.phase_ms_per_batch()
    whole = sum(before.values())
    if not whole or not totals.batch_share:
        return ()
    more = {
        phase: 1000.0 * totals.phase_seconds[phase] / totals.batch_share - before[phase]
        for phase in PHASES
        if phase in before
    }
    growth = sum(ms for ms in more.values() if ms > 0)
    # Sums in another order differ in their last digits: what explains next to nothing is not named.
    least = max(MIN_SHARE_PCT / 100.0 * growth, 1e-9 * whole)
    top = sorted(((phase, ms) for phase, ms in more.items() if ms >= least), key=lambda pair: -pair[1])
    return tuple(
        Contributor(
            "phase", phase, 100.0 * ms / whole, 100.0 * ms / growth, 1.0 + ms / before[phase] if before[phase] else None
        )
        for phase, ms in top[:TOP_PHASES]
    )
