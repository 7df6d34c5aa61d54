"""The whole screen as lines: which parts there are at a size, and how lists share the rows that are left. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from rich.cells import cell_len

from console import panels
from console.lines import Line, Span, beside, line, plain, sized, width_of
from console.link import Link
from console.look import ListName, Look, alerts_in_order, workers_in_order
from console.model import Alert, View, scope_words
from console.words import UNKNOWN, amount, counted, fit, pad, pct, span, window, wrap
from embedwatch.report import usd

#: From this size on the whole form, below it the short one.
WHOLE_WIDTH, WHOLE_HEIGHT = 76, 24
#: Below this nothing can be told.
LEAST_WIDTH, LEAST_HEIGHT = 24, 5
GAP = 2
KEYS = (
    ("a", "ack"), ("s", "snooze"), ("f", "filter"), ("w", "window"), ("o", "order"), ("p", "pause"), ("?", "help"),
    ("q", "quit"),
)  # fmt: skip


def frame(
    view: View | None, agents_url: str, link: Link, look: Look, now: float, width: int, height: int | None
) -> list[Line]:
    """Lines of exactly `width` cells. With a `height` exactly so many, without as many as there are to tell.

    `now` is the clock that `link` goes by, in Unix seconds.
    """
    if width < LEAST_WIDTH or (height is not None and height < LEAST_HEIGHT):
        told = f"too small: {LEAST_WIDTH}x{LEAST_HEIGHT} is needed"
        rows = [line(part) for part in wrap(told, max(width, 1), height or 1)]
    elif view is None:
        rows = [_title(None, agents_url, look, link, now, width), *_trouble(None, link, look, now, width)]
    elif width >= WHOLE_WIDTH and (height is None or height >= WHOLE_HEIGHT):
        rows = _whole(view, link, look, now, width, height)
    else:
        rows = _short(view, link, look, now, width, height)
    if height is not None:
        rows = rows[:height]
        if look.interactive and height >= LEAST_HEIGHT and width >= LEAST_WIDTH:
            rows = [*rows[: height - 1], *[()] * (height - 1 - len(rows)), footer(look, width)]
        rows += [()] * (height - len(rows))
    return [sized(row, width) for row in rows]


def text(lines: list[Line]) -> str:
    return "\n".join(plain(row).rstrip() for row in lines)


def clock(view: View | None, now: float) -> str:
    """Time of day in the zone that the budget is counted in."""
    try:
        zone = ZoneInfo(view.money.timezone if view is not None and view.money.timezone else "UTC")
    except (KeyError, ValueError, OSError):
        zone = ZoneInfo("UTC")
    return f"{datetime.fromtimestamp(now, zone):%H:%M:%S %Z}"


def footer(look: Look, width: int) -> Line:
    if look.note:
        return line(Span(fit(look.note, width), "head"))
    out: Line = ()
    for key, word in KEYS:
        part = line(Span(key, "key"), Span(f" {word}"))
        gap = "  " if out else ""
        if width_of(out) + width_of(part) + len(gap) > width:
            out = line(Span("?", "key"), " help  ", Span("q", "key"), " quit")  # what tells of the others
            break
        out = (*out, Span(gap), *part)
    return out


def _title(view: View | None, agents_url: str, look: Look, link: Link, now: float, width: int) -> Line:
    told = clock(view, now)
    if look.paused:
        state = Span("PAUSED", "warn")
    elif link.lost_seconds is not None:
        state = Span("NO ANSWER", "bad")
    elif view is None:
        state = Span("connecting")
    else:
        state = Span("live", "good")
    ready: tuple[Span, ...] = ()
    if view is not None and link.lost_seconds is None:
        ready = (Span("  ready", "good") if view.ready else Span("  NOT READY", "bad"),)
    name = "embedwatch  "
    rest = (
        width - cell_len(told) - cell_len(name) - sum(cell_len(each.text) for each in ready) - cell_len(state.text) - 4
    )
    address = agents_url.removeprefix("http://")
    shown = f"{fit(address, rest)}  " if rest >= 12 else ""
    left = line(Span(name, "head"), shown, state, *ready)
    if width_of(left) + cell_len(told) + 2 > width:
        return left
    return (*sized(left, width - cell_len(told)), Span(told))


def _trouble(view: View | None, link: Link, look: Look, now: float, width: int) -> list[Line]:
    """What makes the numbers doubtful, where there is anything."""
    out = []
    age = span(link.age_seconds(now))
    if look.paused:
        out.append(line(Span(fit(f"Paused: the numbers are {age} old. p goes on.", width), "warn")))
    elif link.lost_seconds is not None:
        old = "there are no numbers yet" if link.got_seconds is None else f"the numbers are {age} old"
        wait = f"next try in {link.wait_seconds(now):.0f} s"
        out.append(line(Span(fit(f"No answer: {old}, {wait} ({link.trouble})", width), "bad")))
    if view is not None and not view.ready:
        why = "; ".join(view.not_ready_reasons) or "no reason given"
        out.append(line(Span(fit(f"Not ready, numbers may be partial: {why}", width), "bad")))
    return out


def _asked(view: View) -> str:
    return f"Scope {scope_words(view.scope)}, last {window(view.window_seconds)}"


def _whole(view: View, link: Link, look: Look, now: float, width: int, height: int | None) -> list[Line]:
    column = (width - GAP) // 2
    glyphs = look.glyphs
    measured = "" if view.texts is None else f", {counted(view.texts, 'text')}"
    day = view.money
    rows = [
        _title(view, view.agents_url, look, link, now, width),
        line(fit(_asked(view) + measured, width)),
        *_trouble(view, link, look, now, width),
    ]
    left = [panels.heading(f"Speed, last {window(view.window_seconds)} | last hour", column, glyphs)]
    left += panels.speed(view, column, glyphs)
    right = [panels.heading(f"Money on {day.day or UNKNOWN} ({day.timezone or UNKNOWN}), cache", column, glyphs)]
    right += panels.money(view, column, glyphs)
    rows += beside(left, right, width, GAP)
    left = [panels.heading("Queue", column, glyphs), *panels.queue(view, column)]
    right = [panels.heading("Number of workers", column, glyphs), *panels.scaling(view, column, 4)]
    rows += beside(left, right, width, GAP)
    fixed = len(rows) + 3 + (1 if look.interactive else 0)  # two headings and the head of a table
    wanted = (sum(max(len(row.gpus), 1) for row in view.workers), len(view.alerts))
    spare = sum(wanted) if height is None else max(height - fixed, 0)
    for_workers, for_alerts = _share(spare, max(wanted[0], 1), max(wanted[1], 1))
    return rows + _workers(view, look, width, for_workers) + _alerts(view, look, width, for_alerts)


def _share(spare: int, workers: int, alerts: int) -> tuple[int, int]:
    """Rows of both lists: half each, and what one does not need is the other's."""
    half = spare // 2
    for_workers = min(workers, max(half, spare - alerts))
    return for_workers, max(spare - for_workers, 0)


def _workers(view: View, look: Look, width: int, room: int) -> list[Line]:
    found = workers_in_order(view.workers, look.workers_order)
    names = [row.name for row in found]
    at = _at(view, look, "workers", names)
    blocks = [panels.worker_rows(row, width, look, number == at) for number, row in enumerate(found)]
    first = 0
    # From the first row on, but so far that the chosen one is seen.
    while at is not None and first < at and sum(len(block) for block in blocks[first : at + 1]) > room:
        first += 1
    shown: list[Line] = []
    last = first
    while last < len(blocks) and len(shown) < room:
        shown += blocks[last]
        last += 1
    title = panels.workers_title(view, look, (first, last))
    empty = [line(Span("  none was heard of", "dim"))] if not found else []
    return [panels.heading(title, width, look.glyphs), panels.worker_head(width), *(shown or empty)[:room]]


def _alerts(view: View, look: Look, width: int, room: int) -> list[Line]:
    found = alerts_in_order(view.alerts, look.alerts_order)
    at = _at(view, look, "alerts", [row.alert_id for row in found])
    first = 0 if at is None else max(at - room + 1, 0)
    last = min(first + room, len(found))
    shown = [
        panels.alert_row(found[number], view.time_seconds, width, look, number == at) for number in range(first, last)
    ]
    title, style = panels.alerts_title(view, look, (first, last))
    return [panels.heading(title, width, look.glyphs, style), *shown]


def _at(view: View, look: Look, name: ListName, names: list[str]) -> int | None:
    if not look.interactive or look.focus != name or not names:
        return None
    now = look.at(name, names)
    return None if now is None else names.index(now)


def _short(view: View, link: Link, look: Look, now: float, width: int, height: int | None) -> list[Line]:
    """One column, what matters most first."""
    found, latency, money = view.queue, view.latency_ms, view.money
    title, style = panels.alerts_title(view, look)
    millis = [_amount(value) for value in (latency.p50, latency.p95, latency.p99)]
    depth = UNKNOWN if found.depth_texts is None else counted(found.depth_texts, "text")
    texts, tokens = view.throughput_texts_per_s, view.throughput_tokens_per_s
    budget = money.budget
    share = (
        ""
        if budget is None or budget.spent_pct is None
        else f", {budget.spent_pct:.0f} % of {panels.whole_usd(budget.budget_usd)}"
    )
    errors = "".join(f", {name.replace('_', ' ')}" for name in view.errors.by_class_pct)
    numbers = [
        f"p50 {millis[0]}, p95 {millis[1]}, p99 {millis[2]} ms",
        f"{_amount(texts)} texts/s, {_amount(tokens)} tokens/s",
        f"Queue {found.status}, oldest {span(found.lag_seconds)}, {depth}",
        f"Errors {pct(view.errors.rate_pct)}{errors}",
        f"Spent {usd(money.spent_usd)}{share}",
        f"Workers {panels.workers_told(view)}",
        f"Hits {pct(view.cache.hit_rate_pct)} of texts",
        f"Drains in {span(found.drain_seconds)}",
        f"Saved {usd(money.saved_usd)}",
        f"Forecast {usd(money.forecast_usd)}",
    ]
    head = [
        _title(view, view.agents_url, look, link, now, width),
        *_trouble(view, link, look, now, width),
        line(fit(_asked(view), width)),
    ]
    told = [line(fit(each, width)) for each in numbers]
    told[2] = line(Span(told[2][0].text, panels.QUEUE_STYLES.get(found.status, "bad")))
    rows_of_alerts = len(view.alerts)
    if height is not None:
        spare = max(height - len(head) - 2, 0)  # the heading of alerts and the keys
        rows_of_alerts = min(len(view.alerts), max(spare - len(told), min(spare // 3, 3)))
        told = told[: spare - rows_of_alerts]
    alerts = alerts_in_order(view.alerts, look.alerts_order)
    at = _at(view, look, "alerts", [row.alert_id for row in alerts])
    first = 0 if at is None else max(at - rows_of_alerts + 1, 0)
    shown = [_short_alert(view, look, alerts[n], width, n == at) for n in range(first, first + rows_of_alerts)]
    return [*head, *told, line(Span(fit(title, width), style)), *shown]


def _amount(value: float | None) -> str:
    return UNKNOWN if value is None else amount(value)


def _short_alert(view: View, look: Look, row: Alert, width: int, chosen: bool) -> Line:
    mark = f"{look.glyphs.chosen} " if chosen else "  "
    status = row.status.upper() if row.status in ("firing", "breached") else row.status.replace("_", " ")
    told = mark + fit(f"{status} {row.severity}: {panels.alert_text(row)}", width - len(mark))
    return line(Span(pad(told, width), "chosen" if chosen else panels.alert_style(row)))
