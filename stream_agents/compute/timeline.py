"""Numbers over time: of one scope from its panes, and the day's spend from the ledger. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from embedwatch.events import NANO_USD_PER_USD, PHASES
from embedwatch.pricing import known_nano_usd, money_state, to_usd
from embedwatch.rules import PANE_SECONDS, Rule
from stream_agents.compute.budget import budgets_of
from stream_agents.compute.curve import BUCKET_SECONDS, add_curve, quarters
from stream_agents.compute.days import day_bounds
from stream_agents.compute.phases import phase_rows
from stream_agents.compute.scopes import Scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import World


def timeline(world: World, now: float, *, scope: Scope, seconds: int, step_seconds: int) -> Iterator[dict[str, Any]]:
    """Rows of `step_seconds` that begin at multiples of it, the oldest first; the last one is the present, and open.

    `seconds` and `step_seconds` are multiples of a pane. Costs as many merges as there are panes, for this scope alone:
    up to 0.1 s in all, so whoever has others to serve takes some rows at a time.
    """
    end = int(now // step_seconds) * step_seconds + step_seconds
    kept_from = int(now // PANE_SECONDS) * PANE_SECONDS - world.windows.keep_seconds + PANE_SECONDS
    first = end - -(-seconds // step_seconds) * step_seconds
    for start in range(first, end, step_seconds):
        totals = world.windows.between(scope, max(start, kept_from), start + step_seconds)
        # Of a row that this process did not see from its beginning, and whose first panes may be forgotten, a rate or
        # a zero would be a guess.
        whole = start >= kept_from and not world.closer.is_partial(start)
        yield _row(totals, start, step_seconds, now, whole)


def _row(totals: Totals, start: int, step_seconds: int, now: float, whole: bool) -> dict[str, Any]:
    covered = max(min(now, start + step_seconds) - start, 1.0)
    known = whole or totals.events > 0
    # Of a row that has hardly begun a rate would be a multiple of the truth.
    rated = whole and covered >= min(step_seconds, PANE_SECONDS)
    phases = phase_rows(totals)
    return {
        "start_seconds": float(start),
        "end_seconds": float(start + step_seconds),
        "open": start + step_seconds > now,
        "partial": not whole,
        "texts": totals.texts if known else None,
        "errors": totals.error_count if known else None,
        "error_rate_pct": totals.error_rate_pct(),
        "cache_hit_rate_pct": totals.cache_hit_rate_pct(),
        "token_hit_rate_pct": totals.token_hit_rate_pct(),
        "throughput_texts_per_s": totals.texts / covered if rated else None,
        "throughput_tokens_per_s": totals.tokens_embedded / covered if rated else None,
        "latency_ms": {
            "p50": totals.latency.quantile(0.50),
            "p95": totals.latency.quantile(0.95),
            "p99": totals.latency.quantile(0.99),
            "avg": totals.latency.mean(),
        },
        "queue_wait_ms": {"avg": totals.queue_wait.mean(), "p95": totals.queue_wait.quantile(0.95)},
        "phase_seconds": {phase: totals.phase_seconds[phase] if totals.events else None for phase in PHASES},
        "phase_ms_per_batch": {phase: phases[phase]["per_batch_ms"] for phase in PHASES},
        "phase_ms_per_text": {phase: phases[phase]["per_text_ms"] for phase in PHASES},
        "tokens_embedded": totals.tokens_embedded if known else None,
        "tokens_saved": totals.tokens_saved if known else None,
        "cost_nano_usd": known_nano_usd(totals.cost_nano_usd, totals.gaps) if known else None,
        "saved_nano_usd": known_nano_usd(totals.saved_nano_usd, totals.unpriced_saved_tokens) if known else None,
        "unpriced_tokens": totals.unpriced_tokens if known else None,
        "unpriced_saved_tokens": totals.unpriced_saved_tokens if known else None,
    }


def spend_today(world: World, now: float, *, scope: Scope, rules: Iterable[Rule]) -> dict[str, Any]:
    """The day's spend so far as running sums by quarters of an hour, its budgets and what is expected of it.

    A point tells what was spent up to its time; the last one is now. `untimed_nano_usd` is in all of them: an older
    version booked it without a time of day.
    """
    day = world.today(now)
    begin, end = day_bounds(day, world.zone)
    totals = world.day(day, scope)
    curve: list[int] = []
    untimed = 0
    for state in world.partitions.values():
        booked = state.days.get(day, {}).get(scope_key(scope))
        if booked is not None:
            add_curve(curve, quarters(booked.spend_nano_usd, booked.bucket_seconds))
            untimed += booked.untimed_nano_usd
    spent = known_nano_usd(totals.cost_nano_usd, totals.gaps)
    running = int((now - begin) // BUCKET_SECONDS)
    curve = (curve + [0] * (running + 1 - len(curve)))[: running + 1]  # a clock that ran ahead counts at the end
    sums = list(accumulate(curve, initial=untimed))
    points = [{"time_seconds": begin + n * BUCKET_SECONDS, "cost_nano_usd": sums[n]} for n in range(running + 1)]
    points.append({"time_seconds": now, "cost_nano_usd": totals.cost_nano_usd})
    expected = world.forecast(now, scope)
    return {
        "time_seconds": now,
        "scope": scope_key(scope),
        "day": day,
        "timezone": world.zone.key,
        "day_start_seconds": begin,
        "day_end_seconds": end,
        "points": [] if spent is None else points,
        "cost_nano_usd": spent,
        "cost_state": money_state(totals.cost_nano_usd, totals.gaps),
        "unpriced_tokens": totals.unpriced_tokens,
        "untimed_nano_usd": untimed,
        "forecast_nano_usd": None if expected.nano_usd is None else round(expected.nano_usd),
        "forecast_usd": expected.usd,
        "forecast_basis": expected.basis,
        "forecast_reason": expected.reason,
        "budgets": [
            {
                "rule": rule.name,
                "budget_usd": rule.threshold,
                "budget_nano_usd": round(rule.threshold * NANO_USD_PER_USD),
                "spent_usd": to_usd(spent),
            }
            for rule in budgets_of(rules, scope)
        ],
    }
