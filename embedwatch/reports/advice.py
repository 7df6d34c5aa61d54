"""Rules that turn the numbers of a report into what to do next. Pure; each names the number it goes by.

The limits are round numbers of experience, not measurements: a rule says where to look, and stays silent where a number
is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from embedwatch.events import CANCELLED
from embedwatch.reports.model import Advice, Report
from embedwatch.reports.money import rounded, shown
from embedwatch.reports.words import counted

LOW_HIT_RATE_PCT = 40.0
MANY_COPIES_PCT = 2.0
PADDING_PCT = 15.0
#: Of the cost, by one tenant or model where there are others.
DOMINANT_PCT = 80.0
#: Without an error rate nobody is sure of a handful.
MIN_TEXTS = 100
ERROR_RATE_PCT = 1.0
LATE_COST_PCT = 1.0
BUSY_PCT = 25.0
MIN_WAIT_MS = 1000.0
#: A phase that is not the model's, of the working time.
PHASE_PCT = 30.0
BUDGET_PCT = 80.0
TRUNCATED_PCT = 1.0
_ORDER = {"act": 0, "look": 1, "fine": 2}

_PHASES = {
    "cache_lookup": "Look at the cache server: its load, its distance, the size of its values.",
    "tokenise": "Tokenising holds up the model: see that the fast tokeniser is used, and give the worker more cores.",
    "cache_write": "Look at the cache server: its load and its distance.",
    "publish": "Look at the broker: acknowledgements are slow, or vectors are large (dtype float16 halves them).",
}
_ERRORS = {
    "rate_limited": "ask the provider for a higher limit, or lower the concurrency",
    "timeout": "raise the timeout, or look at what answers",
    "connection": "look at the endpoint and the network",
    "text_too_large": "split long texts before they are sent",
    "out_of_memory": "lower the token budget of a batch",
    "unknown_model": "a producer asks for a model that no worker has",
    "empty_text": "a producer sends empty texts",
    "invalid_utf8": "a producer sends what is no text",
    "malformed_message": "a producer sends what no worker can read",
}


def of(report: Report) -> list[Advice]:
    """The most urgent first; where nothing stands out, one that says so."""
    found = sorted(_all(report), key=lambda one: _ORDER[one.severity])
    return found or [
        Advice("nothing", "fine", "Nothing stands out.", "Nothing to do.", float(report.total.texts), "texts")
    ]


def _all(report: Report) -> Iterator[Advice]:
    yield from _money(report)
    yield from _dominant(report)
    yield from _cache(report)
    yield from _errors(report)
    yield from _work(report)
    yield from _alerts(report)


def _usd(nano_usd: int) -> str:
    return shown(rounded(nano_usd, 2))


def _money(report: Report) -> Iterator[Advice]:
    total = report.total
    if total.unpriced_tokens:
        share = 100.0 * total.unpriced_tokens / total.tokens_embedded if total.tokens_embedded else 0.0
        worst = max(report.groups, key=lambda row: row.unpriced_tokens, default=total)
        where = "" if worst is total or worst.label == "everything" else f", most of them of {worst.label}"
        yield Advice(
            "unpriced_tokens", "act",
            f"{total.unpriced_tokens:,} tokens ({share:.1f} % of those embedded) have no price{where}: the cost shown "
            "is too low.",
            "Set their price (pricing.overrides, or pricing.gpu_usd_per_hour for models of your own).",
            float(total.unpriced_tokens), "tokens", 0.0,
        )  # fmt: skip
    budget, forecast = report.budget, report.forecast
    if budget is not None:
        if budget.spent_pct > 100.0:
            yield Advice(
                "budget_exceeded", "act",
                f"{budget.spent_pct:.0f} % of the budget of {_usd(budget.period_nano_usd)} is spent.",
                "Look at the largest group below, or set another daily_cost_usd.", budget.spent_pct, "%", 100.0,
            )  # fmt: skip
        elif budget.forecast_pct is not None and budget.forecast_pct > 100.0 and forecast is not None:
            yield Advice(
                "budget_forecast", "act",
                f"At this rate the period comes to {budget.forecast_pct:.0f} % of its budget.",
                "Look at the largest group below while there is time.", budget.forecast_pct, "%", 100.0,
            )  # fmt: skip
        elif budget.spent_pct > BUDGET_PCT:
            yield Advice(
                "budget_near", "look",
                f"{budget.spent_pct:.0f} % of the budget of {_usd(budget.period_nano_usd)} is spent.",
                "Expect the rest of it to be tight.", budget.spent_pct, "%", BUDGET_PCT,
            )  # fmt: skip
        if budget.days_over and budget.spent_pct <= 100.0:
            yield Advice(
                "days_over_budget", "look",
                f"{counted(len(budget.days_over), 'day')} went above the daily budget of "
                f"{_usd(budget.daily_nano_usd)}: {', '.join(budget.days_over[:5])}"
                f"{' ...' if len(budget.days_over) > 5 else ''}.",
                "See which group grew on them: --by day,model.", float(len(budget.days_over)), "days", 0.0,
            )  # fmt: skip
    if total.cost_nano_usd and 100.0 * total.late_cost_nano_usd > LATE_COST_PCT * total.cost_nano_usd:
        share = 100.0 * total.late_cost_nano_usd / total.cost_nano_usd
        yield Advice(
            "late_cost", "look", f"{share:.1f} % of the cost was booked after its day was closed.",
            "A worker's clock is wrong, or events wait for hours: compare with the queue's lag.",
            share, "%", LATE_COST_PCT,
        )  # fmt: skip


def _dominant(report: Report) -> Iterator[Advice]:
    for dimension in ("tenant", "model"):
        if dimension not in report.by or "day" in report.by:
            continue
        sums: dict[str | None, int] = {}
        for row in report.groups:
            name = row.tenant if dimension == "tenant" else row.model
            sums[name] = sums.get(name, 0) + (row.cost_nano_usd or 0)
        whole = sum(sums.values())
        name, most = max(sums.items(), key=lambda item: item[1], default=(None, 0))
        if whole and name is not None and len(sums) > 1 and 100 * most >= DOMINANT_PCT * whole:
            share = 100.0 * most / whole
            yield Advice(
                f"dominant_{dimension}", "look", f"The {dimension} {name} is {share:.0f} % of the cost.",
                f"Saving starts there; a rule of its own (scope: {{{dimension}: ...}}) watches it.", share, "%",
                DOMINANT_PCT,
            )  # fmt: skip


def _cache(report: Report) -> Iterator[Advice]:
    total = report.total
    rate = total.hit_rate_pct
    if rate is None or total.texts < MIN_TEXTS:
        return
    copies = 100.0 * total.duplicates / total.texts
    if rate < LOW_HIT_RATE_PCT and copies >= MANY_COPIES_PCT:
        yield Advice(
            "low_hit_rate", "act" if not total.cache_hits else "look",
            f"The cache knew {rate:.1f} % of the texts, and {copies:.1f} % were copies of another text of their batch: "
            "texts come again.",
            "Give the workers a cache (--cache-url)." if not total.cache_hits
            else "Give the cache more memory or a longer life of its entries, and see whether it evicts.",
            rate, "%", LOW_HIT_RATE_PCT,
        )  # fmt: skip
    if report.measured is not None and report.measured.cache_errors:
        yield Advice(
            "cache_errors", "look", f"{report.measured.cache_errors:,} times the cache could not be used.",
            "What it knew was paid for again: look at the cache server.",
            float(report.measured.cache_errors), "errors", 0.0,
        )  # fmt: skip


def _errors(report: Report) -> Iterator[Advice]:
    total = report.total
    if total.error_rate_pct is None or total.error_rate_pct < ERROR_RATE_PCT or total.texts < MIN_TEXTS:
        return
    classes = {} if report.measured is None else report.measured.errors_by_class
    worst = next((name for name in classes if name != CANCELLED), None)
    known = "" if worst is None else f", most of them {worst} ({classes[worst]:,})"
    do = _ERRORS.get(worst or "", "look at the dead letters: embedwatch dlq list")
    yield Advice(
        "errors", "act", f"{total.error_rate_pct:.1f} % of the texts failed{known}.",
        f"{do[0].upper()}{do[1:]}.", total.error_rate_pct, "%", ERROR_RATE_PCT,
    )  # fmt: skip


def _work(report: Report) -> Iterator[Advice]:
    found = report.measured
    if found is None or found.texts < MIN_TEXTS:
        return
    if found.padding_pct is not None and found.padding_pct > PADDING_PCT:
        yield Advice(
            "padding", "look", f"{found.padding_pct:.0f} % of what the model computed was padding.",
            "Larger polls let the worker sort more texts by length; some models run without padding.",
            found.padding_pct, "%", PADDING_PCT,
        )  # fmt: skip
    mean = None if found.latency is None else found.latency.mean_ms
    wait = found.wait_mean_ms
    if wait is not None and mean is not None and wait > max(mean, MIN_WAIT_MS):
        yield Advice(
            "queue_wait", "look",
            f"A text waited {wait / 1000:,.1f} s in the queue on average, and was worked on for {mean / 1000:,.2f} s.",
            "More workers help, a faster model hardly: see embedwatch autoscale.", wait / 1000.0, "s", mean / 1000.0,
        )  # fmt: skip
    slowest = next((row for row in found.phases if row.phase != "embed"), None)
    if slowest is not None and slowest.share_pct > PHASE_PCT:
        yield Advice(
            f"slow_{slowest.phase}", "look",
            f"{slowest.phase.replace('_', ' ').capitalize()} took {slowest.share_pct:.0f} % of the workers' time.",
            _PHASES[slowest.phase], slowest.share_pct, "%", PHASE_PCT,
        )  # fmt: skip
    allocated = sum(report.allocated_seconds_by_model.values())
    if report.scope == "all" and allocated > 3600.0 and found.texts >= 0.9 * found.of_texts:
        busy = 100.0 * found.busy_seconds / allocated
        if busy < BUSY_PCT:
            yield Advice(
                "idle_workers", "look",
                f"Workers computed {busy:.0f} % of the {allocated / 3600:,.1f} hours that they were there.",
                "Fewer would do: let embedwatch autoscale decide.", busy, "%", BUSY_PCT,
            )  # fmt: skip
    if found.truncated_texts > TRUNCATED_PCT / 100.0 * found.texts:
        share = 100.0 * found.truncated_texts / found.texts
        yield Advice(
            "truncated", "look", f"{share:.1f} % of the texts are longer than the model reads.",
            "What is beyond is in no vector: split them before they are sent.", share, "%", TRUNCATED_PCT,
        )  # fmt: skip
    if report.scaling is not None and report.scaling.at_capacity:
        count = report.scaling.at_capacity
        yield Advice(
            "at_capacity", "look", f"{counted(count, 'decision')} wanted more workers than may be had.",
            "Raise the limit that counts (max_workers, partitions, budget), or accept the wait.", float(count),
            "decisions", 0.0,
        )  # fmt: skip


def _alerts(report: Report) -> Iterator[Advice]:
    active = [row for row in report.alerts.rows or () if row.active]
    if active:
        yield Advice(
            "active_alerts", "act",
            f"{counted(len(active), 'alert')} not over: {', '.join(row.title for row in active[:3])}.",
            "See embedwatch alerts list.", float(len(active)), "alerts", 0.0,
        )  # fmt: skip
