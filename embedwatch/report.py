"""The text dashboard: a summary of the stream agents as lines for people. Pure.

Its four parts are those of the guide (performance, cache, cost, overall), with the queue beside them. What is not known
is said so; it is never shown as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.errors import ConfigError, InputError
from embedwatch.events import WORKING_PHASES

WIDTH = 64
_UNKNOWN = "unknown"
_PARTLY = " of what has a price"


def dashboard(summary: dict[str, Any]) -> str:
    """The whole report of one scope. `summary` is what `/api/v1/summary` answers."""
    parts = (
        (f"PERFORMANCE (last {_window(summary)})", _performance(summary)),
        ("CACHE", _cache(summary)),
        (f"COST (today, {summary['today']['day']} in {summary['today']['timezone']})", _cost(summary)),
        ("QUEUE", _queue(summary)),
        *([("SCALING", _scaling(summary["scaling"], summary["today"]["timezone"]))] if "scaling" in summary else []),
        ("OVERALL", _overall(summary)),
    )
    return _page("EMBEDDING PIPELINE DASHBOARD", summary["scope"], parts)


def day_page(row: dict[str, Any]) -> str:
    """One day of the ledger. `row` is what `/api/v1/ledger` answers for a day and scope."""
    parts = (("COST", _cost({"today": row})), ("TEXTS", _texts(row)))
    return _page(f"LEDGER OF {row['day']} ({row['timezone']})", row["scope"], parts)


def ledger_row(ledger: dict[str, Any], day: str, timezone: str | None) -> dict[str, Any]:
    """The row of a day: `today`, `yesterday` or an ISO date, in the zone of the ledger.

    Raises `InputError` for a day that is not kept, and `ConfigError` for a zone that is not the ledger's: a day of
    another zone lies on two of its days.
    """
    check_day(day)
    zone, today = ledger["timezone"], ledger.get("today")
    if today is None:
        raise InputError("the agents are of an older version, which does not say what day it is for them; update them")
    if timezone is not None and timezone != zone:
        raise ConfigError(
            f"the agents book by days of {zone}, not of {timezone!r:.60}: leave out --tz, or start them with "
            "another EMBEDWATCH_BUDGET_TIMEZONE"
        )
    named = {"today": today, "yesterday": (date.fromisoformat(today) - timedelta(days=1)).isoformat()}
    wanted = named.get(day) or date.fromisoformat(day).isoformat()
    found: dict[str, Any] | None = next((row for row in ledger["rows"] if row["day"] == wanted), None)
    if found is None:
        kept = ", ".join(ledger["days"]) or "no day"
        raise InputError(f"nothing was booked on {wanted} (in {zone}), or it is no longer kept; kept: {kept}")
    return found


def holds_texts(found: dict[str, Any]) -> bool:
    """Whether a summary, or a row of the ledger, has any text in it."""
    if "today" in found:
        return bool(found["performance"]["texts"] or found["today"]["texts"])
    return bool(found["texts"])


def check_day(day: str) -> None:
    """Raises `ConfigError` for what names no day."""
    try:
        if day not in ("today", "yesterday"):
            date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"--day is today, yesterday or a date such as 2026-07-14, not {day!r:.60}") from None


def check_zone(timezone: str) -> None:
    """Raises `ConfigError` for what names no time zone."""
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f"--tz: {timezone!r:.60} is not an IANA time zone such as Europe/Berlin") from None


def _page(title: str, scope: str, parts: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    lines = ["=" * WIDTH, title if scope == "all" else f"{title}: {scope}", "=" * WIDTH]
    for heading, rows in parts:
        lines += ["", f"{heading}:"]
        lines += [f"  {name + ':':<20} {value}" for name, value in rows]
    return "\n".join([*lines, "=" * WIDTH])


def _texts(day: dict[str, Any]) -> Iterable[tuple[str, str]]:
    looked_up = day["cache_hits"] + day["misses"] - day.get("uncached_texts", 0)  # older agents do not tell
    yield "Total texts", f"{day['texts']:,}, {day['errors']:,} without a vector"
    yield "Hit rate", percent(100.0 * day["cache_hits"] / looked_up if looked_up else None)
    yield "Copies in a batch", f"{day['duplicates']:,}"


def _performance(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    found = summary["performance"]
    latency = found["latency_ms"]
    yield "Throughput", _rate(found["throughput_texts_per_s"], "texts/s", found["throughput_tokens_per_s"], "tokens/s")
    yield "Latency (avg)", milliseconds(latency["avg"])
    yield "Latency (p50)", milliseconds(latency["p50"])
    yield "Latency (p95)", milliseconds(latency["p95"])
    yield "Latency (p99)", milliseconds(latency["p99"])
    yield "Error rate", percent(found["error_rate_pct"]) + _by_class(found["errors_by_class"])
    if found["truncated_texts"]:
        yield (
            "Truncated",
            f"{counted(found['truncated_texts'], 'text')} longer than the model reads; what is beyond is not embedded",
        )
    yield "Padding waste", percent(found["padding_waste_pct"])
    phases = {name: found["phase_seconds"].get(name, 0.0) for name in WORKING_PHASES}
    whole = sum(phases.values())
    if whole:
        slowest = sorted(phases.items(), key=lambda item: -item[1])[:3]
        shares = (f"{name.replace('_', ' ')} {100 * spent / whole:.0f} %" for name, spent in slowest if spent)
        yield "Time goes to", ", ".join(shares)
    waits = found["queue_wait_ms"]
    # Between the record's time and the start of its batch; the latency begins there.
    yield "Wait in the queue", _waits(waits) if waits["p50"] is not None else _UNKNOWN


def _cache(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    found = summary["cache"]
    tokens = found["token_hit_rate_pct"]
    yield (
        "Hit rate",
        percent(found["hit_rate_pct"]) + ("" if tokens is None else f" of texts, {tokens:.2f} % of tokens"),
    )
    yield "Total hits", f"{found['hits']:,}"
    yield "Total misses", f"{found['misses']:,}"
    yield "Copies in a batch", f"{found['duplicates']:,}"
    if found["available"] is None:
        yield "Cache server", f"{_UNKNOWN} ({found['reason']})"
    elif not found["available"]:
        yield "Cache server", f"NOT AVAILABLE ({found['reason']})"
    else:
        each = found["bytes_per_entry"]
        entries, memory, evictions = found["entries"], found["memory_bytes"], found["evictions"]
        of_each = "" if each is None else f" of {each:,.0f} bytes each"
        yield "Entries", _UNKNOWN if entries is None else f"{entries:,}{of_each}"
        used = _UNKNOWN if memory is None else f"{memory / 1024 / 1024:,.1f} MiB"
        yield "Memory", f"{used}, evictions {_UNKNOWN if evictions is None else f'{evictions:,}'}"


def _cost(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    day = summary["today"]
    unpriced = day["unpriced_tokens"]
    yield "Total cost", _money(day["cost_usd"], unpriced)
    if day.get("wasted_nano_usd"):
        yield "Wasted", f"{usd(day['wasted_usd'])} of it at least, on texts that got no vector"
    if day.get("unsettled_texts"):  # agents of an older version do not tell
        yield "Not settled", f"{counted(day['unsettled_texts'], 'text')} of failed calls may have been billed"
    yield from _budget(day)
    yield "Total tokens", f"{day['tokens_received']:,} received, {day['tokens_embedded']:,} embedded"
    # Agents of an older version do not tell how many texts have no price, and divide by all of them.
    partly = _PARTLY if unpriced else ""
    each = None if unpriced and "unpriced_texts" not in day else day["cost_per_text_usd"]
    yield "Avg cost/text", usd(each) + ("" if each is None else partly)
    per_million = day["cost_per_million_tokens_usd"]
    yield "Cost/1M tokens", usd(per_million) + ("" if per_million is None else partly)
    gpus = summary.get("gpus")  # agents of an older version do not tell
    if gpus:
        shown = ", ".join(_energy(gpu) for gpu in gpus[:5])
        yield "Energy/1M tokens", shown + (f" and {len(gpus) - 5} more GPUs" if len(gpus) > 5 else "")
    if each is not None and day.get("cost_per_1000_texts_usd") is not None:
        yield "Cost/1,000 texts", usd(day["cost_per_1000_texts_usd"]) + partly
    if day.get("allocated_cost_usd") is not None:
        yield "Machines", f"{usd(day['busy_cost_usd'])} busy of {usd(day['allocated_cost_usd'])} for the time they ran"
    share = day["savings_pct"]
    saved = _money(day["saved_usd"], day.get("unpriced_saved_tokens", 0))
    yield "Saved by the cache", saved + ("" if share is None else f" ({share:.1f} % of the whole)")


def _budget(day: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Forecast, what is left, and what was booked late. Agents of an older version do not tell."""
    if day.get("late_events"):
        last = datetime.fromtimestamp(day["last_correction_seconds"], ZoneInfo(day["timezone"]))
        events = counted(day["late_events"], "event")
        # Agents that did not count texts yet have booked some of the events.
        texts = f"{counted(day['late_texts'], 'text')} in " if day.get("late_texts") else ""
        yield (
            "Corrected",
            f"after its close by {usd(day['late_cost_usd'])}, {texts}{events}, the last one at "
            f"{last:%Y-%m-%d %H:%M:%S}",
        )
    if day.get("burn"):
        expected = day["forecast_usd"]
        yield "Forecast", _UNKNOWN + f" ({day['forecast_reason']})" if expected is None else usd(expected) + " today"
    for budget in day.get("budgets", ())[:5]:
        left = budget["remaining_usd"]
        if left is None:
            text = f"{_UNKNOWN} what is left"
        else:
            text = f"{usd(left)} left" if left >= 0 else f"{usd(-left)} OVER"
        fast, slow = budget["burn_fast_pct"], budget["burn_slow_pct"]
        if fast is not None and slow is not None:
            text += f"; {number(fast)} % spent in 15 min, {number(slow)} % in 2 h"
        yield "Budget", f"{text}, of {usd(budget['budget_usd'])} ({budget['rule']})"


def _queue(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    queue = summary["queue"]
    yield "Status", queue["status"] + (f" ({queue['reason']})" if queue["reason"] else "")
    yield "Depth", _UNKNOWN if queue["depth_texts"] is None else f"{queue['depth_texts']:,} texts"
    yield "Oldest waits", seconds(queue["lag_seconds"])
    yield "Time to drain", seconds(queue["drain_seconds"])


_LIMITS = {
    "min_workers": "scaling.min_workers",
    "max_workers": "scaling.max_workers",
    "partitions": "the topic's partitions",
    "slots": "scaling.slots",
    "budget": "scaling.max_usd_per_hour",
}


def _scaling(found: dict[str, Any], timezone: str) -> Iterable[tuple[str, str]]:
    """Agents of an older version do not tell."""
    desired, wanted, running = found["desired_workers"], found["wanted_workers"], found["running_workers"]
    if desired is None:
        yield "Workers", f"nothing is decided ({found['desired_workers_reason']})"
    else:
        there = _UNKNOWN if running is None else f"{running:,}"
        yield "Workers", f"{counted(desired, 'worker')} asked for, {there} running: {found['desired_workers_reason']}"
        if found["limited_by"] is not None:
            limit = _LIMITS.get(found["limited_by"], found["limited_by"])
            cost = found["wanted_cost_usd_per_hour"]
            more = "" if cost is None else f", which would cost {usd(cost)} an hour"
            yield "Limited", f"{wanted:,} wanted{more}; limited by {limit}"
        if found["cost_usd_per_hour"] is not None:
            yield "Their cost", f"{usd(found['cost_usd_per_hour'])} an hour"
    if found["decision_seconds"] is not None:
        at = datetime.fromtimestamp(found["decision_seconds"], ZoneInfo(timezone))
        changes = found["changes_today"]
        count = "" if changes is None else f", {counted(changes, 'change')} today"
        yield "Last decision", f"{at:%Y-%m-%d %H:%M:%S}{count}"


def _overall(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    day = summary["today"]
    yield "Total texts", f"{day['texts']:,} today, {day['errors']:,} without a vector"
    workers = summary["workers"]
    yield (
        "Workers",
        ", ".join(_worker(worker) for worker in workers[:5])
        + (f" and {len(workers) - 5} more" if len(workers) > 5 else "")
        if workers
        else "none heard of",
    )
    breached = summary.get("breached")
    if breached is not None:
        yield "Over a limit", "; ".join(breach(row) for row in breached[:5]) or "nothing"
    rejected = sum(summary["rejected_events"].values())
    if rejected or summary["late_events"]:
        yield "Events", f"{rejected:,} not readable (kept as dead letters), {summary['late_events']:,} too late"
    covered = summary["performance"]["covered_seconds"]
    yield "Elapsed time", _UNKNOWN if covered is None else f"{covered:.2f} s looked at"


def breach(row: dict[str, Any]) -> str:
    """One breached verdict in a few words."""
    scope = ",".join(f"{name}={value}" for name, value in row["scope"].items())
    value = _UNKNOWN if row["value"] is None else number(row["value"])
    where = f" of {scope}" if scope else ""
    return f"{row['type']}{where}: {value} {row['comparison']} {number(row['threshold'])} {row['unit']}"


def number(value: float) -> str:
    """At most two decimals, none where they say nothing."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def counted(count: int, name: str) -> str:
    """ "1 text", "2 texts"."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _money(amount: float | None, unpriced_tokens: int) -> str:
    """A sum, and the tokens that are not in it because they have no price."""
    if not unpriced_tokens:
        return usd(amount)
    return f"{usd(amount)} {'for' if amount is None else 'and'} {unpriced_tokens:,} tokens WITHOUT A PRICE"


def usd(amount: float | None) -> str:
    """Small sums keep four digits that mean something: a text costs fractions of a cent."""
    if amount is None:
        return _UNKNOWN
    if amount and abs(amount) < 0.01:
        return f"${amount:.4g}" if abs(amount) >= 0.0001 else f"${amount:.10f}".rstrip("0")
    return f"${amount:,.4f}"


def milliseconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.2f} ms"


def percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f} %"


def seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f} s"


def _rate(texts: float | None, unit: str, tokens: float | None, token_unit: str) -> str:
    if texts is None or tokens is None:
        return _UNKNOWN
    return f"{texts:,.2f} {unit}, {tokens:,.0f} {token_unit}"


def _waits(waits: dict[str, float | None]) -> str:
    return f"{milliseconds(waits['p50'])} (p50), {milliseconds(waits['p95'])} (p95) before the latency begins"


def _by_class(errors: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count:,}' for name, count in errors.items())})" if errors else ""


def _worker(worker: dict[str, Any]) -> str:
    return f"{worker['worker']} ({worker['state']}, {worker['model']})"


def _energy(gpu: dict[str, Any]) -> str:
    joules = gpu["joules_per_million_tokens"]
    where = f"{gpu['name'] or 'GPU'} {gpu['uuid'][:12]}"
    return f"{where}: {_UNKNOWN} ({gpu['reason']})" if joules is None else f"{where}: {number(joules)} J"


def _window(summary: dict[str, Any]) -> str:
    length = summary["window_seconds"]
    return f"{length // 60} min" if length % 60 == 0 else f"{length} s"
