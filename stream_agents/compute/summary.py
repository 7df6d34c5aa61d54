"""The numbers of a moment as plain data: what the API, the report and the page show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from embedwatch.events import NANO_USD_PER_USD, Verdict
from embedwatch.pricing import known_nano_usd, money_state, to_usd
from embedwatch.rules import Rule
from embedwatch.sketch import Sketch
from stream_agents.compute.ledger import DayTotals
from stream_agents.compute.money import budget_rows, machine_rows
from stream_agents.compute.phases import error_rates_pct, phase_rows
from stream_agents.compute.scopes import ALL, Scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import SILENT_WORKER_SECONDS, World


def statistics_ms(sketch: Sketch) -> dict[str, float | int | None]:
    """p50, p95, p99, average, minimum, maximum and count; None where there is nothing."""
    known = sketch.count > 0
    return {
        "p50": sketch.quantile(0.50),
        "p95": sketch.quantile(0.95),
        "p99": sketch.quantile(0.99),
        "avg": sketch.mean(),
        "min": sketch.minimum if known else None,
        "max": sketch.maximum if known else None,
        "count": sketch.count,
    }


def summary(
    world: World, now: float, *, window_seconds: int = 300, scope: Scope = ALL, rules: Iterable[Rule] = ()
) -> dict[str, Any]:
    """Everything about a scope: a window of the recent past, and the day so far. `rules` may hold budgets."""
    totals = world.windows.window(scope, window_seconds, now)
    covered = world.windows.covered_seconds(totals, window_seconds, now)
    return {
        "time_seconds": now,
        "scope": scope_key(scope),
        "window_seconds": window_seconds,
        "performance": performance(totals, covered),
        "cache": _cache(world, totals),
        "today": day_summary(world, world.today(now), scope, now=now, rules=rules),
        "queue": _queue(world, now),
        "scaling": world.decisions.now(now),
        "workers": _workers(world, now),
        # Once for each GPU, however many workers share it; always over the last five minutes, as each row says.
        "gpus": [asdict(row) for row in world.energy.rows(now)],
        # Not in a window that was published (they are booked all the same), and above the cap on scopes.
        "late_events": world.closer.late_events,
        "overflow_events": world.windows.overflow_events,
        "dropped_windows": world.closer.dropped_windows,
        "rejected_events": _rejected(world),
        # Counted in what forecasts know of past days, and in no day that is still shown.
        "old_events": sum(state.old_events for state in world.partitions.values()),
        "accepted_gaps": sum(state.accepted_gaps for state in world.partitions.values()),
    }


def performance(totals: Totals, covered_seconds: float | None) -> dict[str, Any]:
    return {
        "latency_ms": statistics_ms(totals.latency),
        "queue_wait_ms": statistics_ms(totals.queue_wait),
        "phase_seconds": dict(totals.phase_seconds),
        "phases": phase_rows(totals),
        "throughput_texts_per_s": None if covered_seconds is None else totals.texts / covered_seconds,
        "throughput_tokens_per_s": None if covered_seconds is None else totals.tokens_embedded / covered_seconds,
        "texts": totals.texts,
        "errors": totals.error_count,
        "cancelled_texts": totals.error_count - totals.failed_count,
        "errors_by_class": dict(sorted(totals.errors.items())),
        "error_rate_pct": totals.error_rate_pct(),
        "error_rate_pct_by_class": error_rates_pct(totals),
        "truncated_texts": totals.truncated_texts,
        "padding_waste_pct": totals.padding_waste_pct(),
        "covered_seconds": covered_seconds,
    }


def day_summary(
    world: World, day: str, scope: Scope = ALL, *, now: float | None = None, rules: Iterable[Rule] = ()
) -> dict[str, Any]:
    """One day of the ledger. USD here is for people; the exact integers stand beside it.

    Money of what has no price is None, never 0. Where a part has a price (`partial`), sums are that part's, and costs
    of a text or token are over the texts or tokens that have one. What the whole would have cost without the cache is
    known where both sums are, and the share of it that was saved where both are whole.

    Forecast and burn are of the day that contains `now` and None of others; budgets are those of `rules` that judge
    this scope.
    """
    totals = world.day(day, scope)
    priced_texts = totals.texts - totals.errors - totals.unpriced_texts
    # Of a cost of tokens that nobody has counted there is no price of a token.
    priced_tokens = 0 if totals.uncounted_texts else totals.tokens_embedded - totals.unpriced_tokens
    cost = known_nano_usd(totals.cost_nano_usd, totals.gaps)
    saved = known_nano_usd(totals.saved_nano_usd, totals.unpriced_saved_tokens)
    whole = not totals.gaps and not totals.unpriced_saved_tokens
    without_cache = None if cost is None or saved is None else cost + saved
    return {
        "day": day,
        "timezone": world.zone.key,
        **{name: getattr(totals, name) for name in DayTotals.__struct_fields__},
        "cost_nano_usd": cost,
        "saved_nano_usd": saved,
        "cost_state": money_state(totals.cost_nano_usd, totals.gaps),
        "saved_state": money_state(totals.saved_nano_usd, totals.unpriced_saved_tokens),
        # Like the cost, of what is known: null where nothing is.
        "wasted_nano_usd": (wasted := None if cost is None else totals.wasted_nano_usd),
        "wasted_usd": to_usd(wasted),
        "cost_usd": to_usd(cost),
        "saved_usd": to_usd(saved),
        # The guide divides the cost by one minus the hit rate, which fails at 100 %; savings here are measured.
        "cost_without_cache_usd": to_usd(without_cache),
        "savings_pct": 100.0 * totals.saved_nano_usd / without_cache if without_cache and whole else None,
        "cost_per_text_usd": _each(cost, priced_texts, NANO_USD_PER_USD),
        "cost_per_1000_texts_usd": _each(cost, priced_texts, NANO_USD_PER_USD / 1000),
        "cost_per_million_tokens_usd": _each(cost, priced_tokens, NANO_USD_PER_USD / 1_000_000),
        "late_cost_nano_usd": (late := known_nano_usd(totals.late_cost_nano_usd, totals.late_unpriced_tokens)),
        "late_cost_usd": to_usd(late),
        "last_correction_seconds": world.last_correction_seconds(day, scope),
        **machine_rows(world, day, scope, totals),
        **budget_rows(world, day, scope, totals, now, rules),
    }


def _each(nano_usd: int | None, count: int, unit_nano_usd: float) -> float | None:
    return None if nano_usd is None or count <= 0 else nano_usd / unit_nano_usd / count


def _cache(world: World, totals: Totals) -> dict[str, Any]:
    # All workers share one cache server: the freshest sample speaks for it.
    sample = max(world.caches.values(), key=lambda event: event.time_seconds, default=None)
    return {
        "hits": totals.cache_hits,
        "misses": totals.misses,
        "duplicates": totals.duplicates,
        "hit_rate_pct": totals.cache_hit_rate_pct(),
        "token_hit_rate_pct": totals.token_hit_rate_pct(),
        "errors": totals.cache_errors,
        "available": None if sample is None else sample.available,
        "reason": "no sample yet" if sample is None else sample.reason,
        "entries": None if sample is None else sample.entries,
        "memory_bytes": None if sample is None else sample.memory_bytes,
        "bytes_per_entry": None if sample is None else sample.bytes_per_entry,
        "evictions": None if sample is None else sample.evictions,
    }


def _queue(world: World, now: float) -> dict[str, Any]:
    queue = world.queue(now)
    return {
        "status": queue.status,
        "reason": queue.reason,
        "depth_texts": queue.depth_texts,
        "lag_messages": queue.lag_messages,
        "lag_seconds": queue.lag_seconds,
        "drain_seconds": queue.drain_seconds,
        "arrival_rate_per_s": queue.arrival_rate_per_s,
        "consume_rate_per_s": queue.consume_rate_per_s,
        "stalled_partitions": queue.stalled_partitions,
        "partitions": queue.partitions,
    }


def _workers(world: World, now: float) -> list[dict[str, Any]]:
    out = []
    for name, beat in sorted(world.workers.items()):
        silent = max(now - beat.time_seconds, 0.0)
        gpus = [{field: getattr(gpu, field) for field in gpu.__struct_fields__} for gpu in beat.gpus]
        out.append(
            {
                "worker": name,
                "model": beat.model,
                "state": "silent" if silent > SILENT_WORKER_SECONDS else beat.state,
                "role": beat.role,
                "silent_seconds": silent,
                "model_load_seconds": beat.model_load_seconds,
                "in_flight_texts": beat.in_flight_texts,
                "batch_budget_tokens": beat.batch_budget_tokens,
                "resident_bytes": beat.resident_bytes,
                "tokens_embedded": beat.tokens_embedded,
                "gpus": gpus,
            }
        )
    return out


def _rejected(world: World) -> dict[str, int]:
    out: dict[str, int] = {}
    for state in world.partitions.values():
        for reason, count in state.rejected.items():
            out[reason] = out.get(reason, 0) + count
    return out


def verdict_rows(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as the API shows them, breached ones first."""
    order = {"breached": 0, "no_data": 1, "inconclusive": 2, "ok": 3}
    rows = sorted(verdicts, key=lambda v: (order[v.judgement], v.alert_id))
    return [
        {
            "alert_id": v.alert_id,
            "type": v.alert_type,
            "severity": v.severity,
            "scope": v.scope,
            "judgement": v.judgement,
            "metric": v.metric,
            "value": v.value if v.value is None or math.isfinite(v.value) else None,
            "threshold": v.threshold,
            "comparison": v.comparison,
            "unit": v.unit,
            "window_seconds": v.window_seconds,
            "samples": v.samples,
            "reason": v.reason,
            "contributors": [
                {"kind": c.kind, "name": c.name, "value": c.value, "share_pct": c.share_pct} for c in v.contributors
            ],
        }
        for v in rows
    ]
