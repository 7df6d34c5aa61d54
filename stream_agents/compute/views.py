"""What the API answers beside the summary: scopes, closed and open windows, lag by partition, what scaling goes by."""

from __future__ import annotations

from typing import Any

from embedwatch.pricing import known_nano_usd, money_state
from stream_agents.compute.closing import totals_of
from stream_agents.compute.ledger import day_scopes
from stream_agents.compute.queue_history import running_workers
from stream_agents.compute.scopes import ALL, Scope, scope_key
from stream_agents.compute.summary import performance
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import STALE_LAG_SECONDS, World

RATE_WINDOW_SECONDS = 300


def scopes_view(world: World) -> dict[str, Any]:
    """Keys of the scopes with an event in the panes or in the ledger, everything first."""
    seen = {scope_key(scope) for scope in world.windows.scopes()}
    states = list(world.partitions.values())
    for day in {day for state in states for day in state.days}:
        seen |= day_scopes(states, day)
    return {"scopes": ["all", *sorted(seen - {"all"})]}


def windows_view(world: World, now: float, *, scope: Scope, window_seconds: int, limit: int) -> dict[str, Any]:
    """The newest windows of a scope, the newest first: those that are open, then those closed and remembered."""
    closer = world.closer
    rows = [
        _row(
            scope_key(scope), window_seconds, start, totals, state="open", partial=closer.is_partial(start),
            closed_seconds=None, covered_seconds=max(min(now, start + window_seconds) - start, 1.0),
        )
        for start, totals in closer.unclosed(world.windows, scope, window_seconds, now)
    ]  # fmt: skip
    rows += [
        _row(
            event.scope, window_seconds, event.start_seconds, totals_of(event), state="closed", partial=event.partial,
            closed_seconds=event.closed_seconds, covered_seconds=float(window_seconds),
        )
        for event in closer.recent(scope, window_seconds, limit)
    ]  # fmt: skip
    return {
        "scope": scope_key(scope),
        "window_seconds": window_seconds,
        "lengths": list(closer.lengths),
        "grace_seconds": closer.grace_seconds,
        "late_events": closer.late_events,
        "windows": rows[:limit],
    }


def _row(
    scope: str, window_seconds: int, start: float, totals: Totals, *, state: str, partial: bool,
    closed_seconds: float | None, covered_seconds: float,
) -> dict[str, Any]:  # fmt: skip
    return {
        "scope": scope,
        "window_seconds": window_seconds,
        "start_seconds": float(start),
        "end_seconds": float(start + window_seconds),
        "state": state,
        "partial": partial,
        "closed_seconds": closed_seconds,
        "events": totals.events,
        "batches": totals.batches,
        "cache_hits": totals.cache_hits,
        "duplicates": totals.duplicates,
        "misses": totals.misses,
        "cache_hit_rate_pct": totals.cache_hit_rate_pct(),
        "token_hit_rate_pct": totals.token_hit_rate_pct(),
        "tokens_received": totals.tokens_received,
        "tokens_embedded": totals.tokens_embedded,
        "tokens_saved": totals.tokens_saved,
        "duplicate_tokens": totals.duplicate_tokens,
        "cost_nano_usd": known_nano_usd(totals.cost_nano_usd, totals.gaps),
        "saved_nano_usd": known_nano_usd(totals.saved_nano_usd, totals.unpriced_saved_tokens),
        "cost_state": money_state(totals.cost_nano_usd, totals.gaps),
        "saved_state": money_state(totals.saved_nano_usd, totals.unpriced_saved_tokens),
        "unpriced_tokens": totals.unpriced_tokens,
        "unpriced_saved_tokens": totals.unpriced_saved_tokens,
        # A window that was not seen whole has no throughput: nobody knows how much of it was seen.
        "performance": performance(totals, None if partial else covered_seconds),
    }


def lag_view(world: World, now: float) -> dict[str, Any]:
    """The newest sample of each partition. One that is old says nothing about now: its status is UNKNOWN."""
    rows = []
    for partition, lag in sorted(world.lags.items()):
        age = max(now - lag.time_seconds, 0.0)
        stale = age > STALE_LAG_SECONDS
        rows.append(
            {
                "partition": partition,
                "status": "UNKNOWN" if stale else lag.status,
                "reason": f"the last sample is {age:.0f} s old" if stale else lag.reason,
                "sample_seconds": lag.time_seconds,
                "sample_age_seconds": age,
                "log_end_offset": lag.log_end_offset,
                "committed_offset": lag.committed_offset,
                "lag_messages": lag.lag_messages,
                "lag_texts": lag.lag_texts,
                "oldest_age_seconds": lag.oldest_age_seconds,
                "arrival_rate_per_s": lag.arrival_rate_per_s,
                "consume_rate_per_s": lag.consume_rate_per_s,
                "drain_seconds": lag.drain_seconds,
            }
        )
    queue = world.queue(now)
    return {
        "time_seconds": now,
        "group": world.lag_group,
        "topic": world.lag_topic,
        "status": queue.status,
        "reason": queue.reason,
        "partitions": rows,
    }


def scaling_view(world: World, now: float) -> dict[str, Any]:
    """What is asked for, and what a decision about the number of workers goes by. Rates without `texts` in the name are
    messages a second."""
    queue = world.queue(now)
    workers = running_workers(world, now) or 0
    totals = world.windows.window(ALL, RATE_WINDOW_SECONDS, now)
    covered = world.windows.covered_seconds(totals, RATE_WINDOW_SECONDS, now)
    texts_per_s = None if covered is None else totals.texts / covered
    return {
        "time_seconds": now,
        "group": world.lag_group,
        "topic": world.lag_topic,
        "status": queue.status,
        "reason": queue.reason,
        "lag_seconds": queue.lag_seconds,
        "lag_messages": queue.lag_messages,
        "depth_texts": queue.depth_texts,
        "arrival_rate_per_s": queue.arrival_rate_per_s,
        "consume_rate_per_s": queue.consume_rate_per_s,
        "drain_seconds": queue.drain_seconds,
        "partitions": queue.partitions,
        "stalled_partitions": queue.stalled_partitions,
        "workers": workers,
        "throughput_texts_per_s": texts_per_s,
        "consume_rate_per_worker_per_s": _each(queue.consume_rate_per_s, workers),
        "throughput_texts_per_worker_per_s": _each(texts_per_s, workers),
        **world.decisions.now(now),
        "decisions": world.decisions.rows(),
    }


def _each(rate: float | None, workers: int) -> float | None:
    return rate / workers if rate is not None and workers else None
