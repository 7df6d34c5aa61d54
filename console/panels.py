"""Each part of the view as lines of a given width. Pure."""

from __future__ import annotations

from rich.cells import cell_len

from console.lines import Line, Span, Style, line, painted, sized
from console.look import ListName, Look, alerts_in_order, workers_in_order
from console.model import Alert, Gpu, Money, View, Worker
from console.spark import Glyphs, bar, spark
from console.words import NONE, UNKNOWN, ago, amount, clean, counted, fit, memory, pad, pct, short, span, wrap
from embedwatch.report import usd

LABEL = 10
VALUE = 12

QUEUE_STYLES: dict[str, Style] = {"OK": "good", "UNKNOWN": "warn"}
_ALERT_STYLES: dict[str, Style] = {
    "acknowledged": "info", "snoozed": "info", "pending": "dim", "resolved": "good", "no_data": "warn",
}  # fmt: skip
#: Of the columns that a worker's GPU has.
_GPU_USE, _GPU_MEMORY, _GPU_POWER = 6, 13, 6


def heading(text: str, width: int, glyphs: Glyphs, style: Style = "head") -> Line:
    shown = fit(text, max(width - 4, 1))
    rest = max(width - cell_len(shown) - 1, 0)
    return (Span(f"{shown} ", style), Span(glyphs.rule * rest, "dim"))


def _row(label: str, *parts: Span | str) -> Line:
    return line(Span(pad(label, LABEL), "dim"), *parts)


def speed(view: View, width: int, glyphs: Glyphs) -> list[Line]:
    """Latency, throughput and errors; with an hour of each number where there is room."""
    found, points = view.latency_ms, view.history
    rows = (
        ("p50", found.p50, "ms", [point.p50_ms for point in points]),
        ("p95", found.p95, "ms", [point.p95_ms for point in points]),
        ("p99", found.p99, "ms", [point.p99_ms for point in points]),
        ("Texts", view.throughput_texts_per_s, "/s", [point.texts_per_s for point in points]),
        ("Tokens", view.throughput_tokens_per_s, "/s", [point.tokens_per_s for point in points]),
    )
    drawn = max(width - LABEL - VALUE - 1, 0)
    out = []
    for label, value, unit, values in rows:
        told = UNKNOWN if value is None else f"{amount(value)} {unit}"
        style: Style = "dim" if value is None else ""
        out.append(
            _row(label, Span(pad(told, VALUE, right=True), style), " ", Span(spark(values, drawn, glyphs), "info"))
        )
    return out + _errors(view, width)


def _errors(view: View, width: int) -> list[Line]:
    found = view.errors
    rate = found.rate_pct
    told = UNKNOWN if rate is None else f"{rate:.2f} %"
    style: Style = "dim" if rate is None else "bad" if rate > 0 else ""
    classes = ", ".join(f"{name.replace('_', ' ')} {share:.2f} %" for name, share in found.by_class_pct.items())
    room = width - LABEL - VALUE - 1
    return [_row("Errors", Span(pad(told, VALUE, right=True), style), " ", Span(fit(classes, room), "warn"))]


def money(view: View, width: int, glyphs: Glyphs) -> list[Line]:
    """Spent, budget, forecast, saved; and what the cache does, which is why something is saved."""
    found, cache = view.money, view.cache
    room = max(width - LABEL, 1)
    forecast = usd(found.forecast_usd) if found.forecast_usd is not None else _why(UNKNOWN, found.forecast_reason)
    share = "" if found.savings_pct is None else f" ({found.savings_pct:.1f} %)"
    tokens = "" if cache.token_hit_rate_pct is None else f", {cache.token_hit_rate_pct:.1f} % tokens"
    hits = UNKNOWN if cache.hit_rate_pct is None else f"{pct(cache.hit_rate_pct)} texts{tokens}"
    server: Span = Span("available", "good")
    if cache.available is None:
        server = Span(fit(_why(UNKNOWN, cache.reason), room), "dim")
    elif not cache.available:
        server = Span(fit(_why("NOT AVAILABLE", cache.reason), room), "bad")
    return [
        _row("Spent", *_spent(found, room)),
        _row("Budget", *_budget(found, room, glyphs)),
        _row("Forecast", Span(fit(forecast, room), _unless(found.forecast_usd))),
        _row("Saved", Span(fit(usd(found.saved_usd) + share, room), _unless(found.saved_usd))),
        _row("Hits", Span(fit(hits, room), _unless(cache.hit_rate_pct))),
        _row("Cache", server),
    ]


def _spent(found: Money, room: int) -> tuple[Span, ...]:
    told = Span(usd(found.spent_usd), _unless(found.spent_usd))
    if not found.unpriced_tokens:
        return (told,)
    link = ": " if found.spent_usd is None else " and "
    more = f"{found.unpriced_tokens:,} tokens unpriced"
    return (told, Span(link, "warn"), Span(fit(more, max(room - cell_len(told.text) - len(link), 1)), "warn"))


def _budget(found: Money, room: int, glyphs: Glyphs) -> tuple[Span, ...]:
    budget = found.budget
    if budget is None:
        return (Span("none is set", "dim"),)
    share = budget.spent_pct
    told = f"{UNKNOWN if share is None else f'{share:.0f} %'} of {whole_usd(budget.budget_usd)}"
    style: Style = "" if share is None or share < 80 else "warn" if share < 100 else "bad"
    drawn = min(max(room - cell_len(told) - 1, 0), 24)
    over = "OVER " if share is not None and share > 100 else ""
    drawn -= len(over)
    picture = f"{bar(share, drawn, glyphs)} " if share is not None and drawn >= 4 else ""
    return (Span(picture, style or "good"), Span(fit(over + told, room - len(picture)), style or _unless(share)))


def whole_usd(amount: float | None) -> str:
    """Budgets are round: without decimals that say nothing."""
    return usd(amount).removesuffix(".0000")


def queue(view: View, width: int) -> list[Line]:
    found = view.queue
    depth = UNKNOWN if found.depth_texts is None else counted(found.depth_texts, "text")
    drains = Span(f", drains in {span(found.drain_seconds)}", _unless(found.drain_seconds))
    return [
        _row("Status", Span(found.status, QUEUE_STYLES.get(found.status, "bad"))),
        _row("Oldest", Span(f"waits {span(found.lag_seconds)}", _unless(found.lag_seconds))),
        _row("Depth", Span(depth, _unless(found.depth_texts)), drains),
        line(Span(fit(found.reason, width), "dim")),
    ]


def scaling(view: View, width: int, lines: int) -> list[Line]:
    """How many workers there are and should be, and why, in so many lines."""
    told = fit(workers_told(view), width)
    style: Style = "dim" if view.scaling.desired_workers is None else ""
    limit = view.scaling.limited_by
    why = view.scaling.reason or UNKNOWN
    if limit is not None:
        why = f"limited by {limit}: {why}"
    return [line(Span(told, style)), *(line(Span(part, "dim")) for part in wrap(why, width, lines - 1))]


def workers_told(view: View) -> str:
    found = view.scaling
    now = "unknown how many now" if found.running_workers is None else f"{found.running_workers:,} now"
    if found.desired_workers is None:
        return f"{now}, nothing decided"
    wanted = found.wanted_workers
    more = "" if wanted is None or wanted == found.desired_workers else f", {wanted:,} without limits"
    return f"{now}, {found.desired_workers:,} wanted{more}"


def alert_names(view: View, look: Look) -> list[str]:
    return [row.alert_id for row in alerts_in_order(view.alerts, look.alerts_order)]


def worker_names(view: View, look: Look) -> list[str]:
    return [row.name for row in workers_in_order(view.workers, look.workers_order)]


def alerts_title(view: View, look: Look, shown: tuple[int, int] | None = None) -> tuple[str, Style]:
    """The heading: how many there are by status."""
    rows = view.alerts
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(r.status for r in rows)}
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items()) or "none"
    loud = any(row.status in ("firing", "breached") for row in rows)
    text = f"Alerts: {told}"
    if not view.alert_states_known:
        text += f" (states not known: {view.alert_states_reason})"
    return _listed(text, look, "alerts", len(rows), shown), "bad" if loud else "head"


def workers_title(view: View, look: Look, shown: tuple[int, int] | None = None) -> str:
    return _listed(f"Workers: {len(view.workers):,}", look, "workers", len(view.workers), shown)


def _listed(text: str, look: Look, name: ListName, count: int, shown: tuple[int, int] | None) -> str:
    if shown is not None and shown[1] - shown[0] < count:
        text += f", {shown[0] + 1}-{shown[1]} of {count:,} shown"
    return f"{text}, {look.order(name)}" if count > 1 and look.interactive else text


def alert_row(row: Alert, now: float | None, width: int, look: Look, chosen: bool) -> Line:
    """Mark, status, severity, since when, what; who took it on."""
    since = None if now is None or row.since_seconds is None else max(now - row.since_seconds, 0.0)
    status = row.status.upper() if row.status in ("firing", "breached") else row.status.replace("_", " ")
    style = alert_style(row)
    head = f"{_mark(look, chosen)}{pad(status, 12)} {pad(row.severity, 8)} {pad(ago(since), 7, right=True)}  "
    room = max(width - cell_len(head), 1)
    return _chosen(line(Span(head, style), Span(fit(alert_text(row), room))), width, chosen)


def alert_style(row: Alert) -> Style:
    return _ALERT_STYLES.get(row.status) or ("bad" if row.severity == "critical" else "warn")


def alert_text(row: Alert) -> str:
    where = f", {row.scope}" if row.scope else ""
    unit = f" {row.unit}" if row.unit else ""
    value = UNKNOWN if row.value is None else f"{short(row.value)}{unit}"
    limit = "" if row.threshold is None else f", limit {short(row.threshold)}"
    return f"{row.title}{where}: {value}{limit}" + (f" (by {row.who})" if row.who else "") + _quiet(row)


def _quiet(row: Alert) -> str:
    return f" (not told: {row.quiet})" if row.quiet else ""


def worker_head(width: int) -> Line:
    name, model = _worker_columns(width)
    cells = (pad("", 2), pad("name", name), *((pad("model", model),) if model else ()), pad("state", 8),
             pad("heard", 6, right=True), pad("texts", 7, right=True), pad("GPU", _GPU_USE, right=True),
             pad("memory", _GPU_MEMORY, right=True), pad("power", _GPU_POWER, right=True))  # fmt: skip
    return line(Span(" ".join((cells[0] + cells[1], *cells[2:])), "dim"))


def _worker_columns(width: int) -> tuple[int, int]:
    """Cells of the name, and of the model where there is room for it."""
    fixed = 2 + 9 + 7 + 8 + 1 + _GPU_USE + 1 + _GPU_MEMORY + 1 + _GPU_POWER
    spare = width - fixed
    if spare < 50:
        return max(min(spare - 2, 24), 8), 0
    return 24, min(spare - 25, 28)


def worker_rows(row: Worker, width: int, look: Look, chosen: bool) -> list[Line]:
    """One for each of its GPUs, one where it has none."""
    name, model = _worker_columns(width)
    silent = "now" if row.silent_seconds is not None and row.silent_seconds < 15 else ago(row.silent_seconds)
    head = _mark(look, chosen) + pad(fit(row.name, name), name)
    if model:
        head += f" {pad(fit(row.model, model), model)}"
    texts = NONE if row.in_flight_texts is None else f"{row.in_flight_texts:,}"
    head += f" {pad(fit(row.state, 8), 8)} {pad(silent, 6, right=True)} {pad(texts, 7, right=True)} "
    room = max(width - cell_len(head), 1)
    out = []
    for number, gpu in enumerate(row.gpus or [None]):
        begin = head if number == 0 else " " * cell_len(head)
        out.append(_chosen(line(begin, *_gpu_cells(gpu, room)), width, chosen))
    return out


def _gpu_cells(gpu: Gpu | None, room: int) -> tuple[Span, ...]:
    if gpu is None:
        return (Span(fit("not known: the worker names no GPU", room), "dim"),)
    if gpu.utilization_pct is None and gpu.memory_used_bytes is None and gpu.power_watts is None:
        return (Span(fit(f"not known: {gpu.missing or 'no reason given'}", room), "dim"),)
    use = NONE if gpu.utilization_pct is None else f"{gpu.utilization_pct:.0f} %"
    power = NONE if gpu.power_watts is None else f"{gpu.power_watts:.0f} W"
    held = memory(gpu.memory_used_bytes, gpu.memory_total_bytes)
    cells = (
        f"{pad(use, _GPU_USE, right=True)} {pad(held, _GPU_MEMORY, right=True)} {pad(power, _GPU_POWER, right=True)}"
    )
    # A name that a column has no room for is left out: what is known of it stands in the details.
    more = gpu.missing or gpu.label
    left = room - cell_len(cells) - 2
    return (Span(cells), Span(f"  {fit(more, left)}" if more and left > 8 else "", "dim"))


def details(view: View, look: Look, now: float | None) -> list[str]:
    """Everything that is known of the row that is chosen, uncut."""
    if look.focus == "workers":
        worker = next((row for row in view.workers if row.name == chosen_name(view, look)), None)
        return _worker_details(worker) if worker is not None else ["no worker was heard of"]
    alert = next((row for row in view.alerts if row.alert_id == chosen_name(view, look)), None)
    return _alert_details(alert, now) if alert is not None else ["there is no alert"]


def chosen_name(view: View, look: Look) -> str | None:
    names = alert_names(view, look) if look.focus == "alerts" else worker_names(view, look)
    return look.at(look.focus, names)


def _alert_details(row: Alert, now: float | None) -> list[str]:
    since = None if now is None or row.since_seconds is None else now - row.since_seconds
    told = [row.summary or alert_text(row), f"status: {row.status}", f"severity: {row.severity}"]
    told += [f"since: {UNKNOWN if since is None else f'{span(since)} ago'}"]
    if row.who:
        told.append(f"by: {row.who}")
    if row.until_seconds is not None and now is not None:
        told.append(f"for another {span(row.until_seconds - now)}")
    if row.quiet:
        told.append(f"nobody is told of it: {row.quiet}")
    return [*told, f"id: {clean(row.alert_id)}"]


def _worker_details(row: Worker) -> list[str]:
    told = f"silent for {span(row.silent_seconds)}" if row.state == "silent" else row.state
    out = [f"{row.name}: {told}", f"model: {row.model}", f"heard of: {span(row.silent_seconds)} ago"]
    out.append(f"texts in flight: {UNKNOWN if row.in_flight_texts is None else f'{row.in_flight_texts:,}'}")
    for gpu in row.gpus:
        use = pct(gpu.utilization_pct)
        power = UNKNOWN if gpu.power_watts is None else f"{gpu.power_watts:.0f} W"
        held = UNKNOWN if gpu.memory_used_bytes is None else memory(gpu.memory_used_bytes, gpu.memory_total_bytes)
        why = f" (not known: {gpu.missing})" if gpu.missing else ""
        out.append(f"GPU {gpu.label}: use {use}, memory {held}, power {power}{why}")
    return out if row.gpus else [*out, "GPU: not known, the worker names none"]


def _mark(look: Look, chosen: bool) -> str:
    return f"{look.glyphs.chosen} " if chosen else "  "


def _chosen(found: Line, width: int, chosen: bool) -> Line:
    return painted(sized(found, width), "chosen") if chosen else found


def _why(word: str, reason: str) -> str:
    return f"{word}: {reason}" if reason else word


def _unless(value: float | None) -> Style:
    return "dim" if value is None else ""
