"""A report as headings, sentences and tables: what text, Markdown and HTML show alike. Pure.

Cells are plain (`words.plain`) and not escaped: each format does that. Printed amounts of a column add up (`money`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from embedwatch.reports import words
from embedwatch.reports.model import Measured, Report, Row
from embedwatch.reports.money import decimals_for, printed, rounded, shown
from embedwatch.reports.words import count, counted, duration, percent, plain

#: Rows of a table that are printed one by one, without --top.
TOP = 20


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is text, the others are numbers. `spare` columns may be left out where there is no room, the
    last first. The last row is a total where `totals`."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    totals: bool = False
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: list[str] = field(default_factory=list)
    table: Table | None = None
    plot: str | None = None  # which picture belongs here, where there are pictures
    facts: list[tuple[str, str]] = field(default_factory=list)
    points: list[tuple[str, str, str]] = field(default_factory=list)  # severity, what, what to do


def title(report: Report) -> str:
    scope = "" if report.scope == "all" else f" of {plain(report.scope)}"
    return f"Embedding costs{scope}: {report.period.title}"


def subtitle(report: Report) -> str:
    period = report.period
    span = period.first if period.first == period.last else f"{period.first} to {period.last}"
    at = words.moment(report.generated_seconds, period.timezone)
    return f"{span}, days of {period.timezone}. Made on {at}."


def warnings(report: Report) -> list[str]:
    """Why the sums are not the whole truth, if they are not."""
    out = []
    states = {
        "running": "not over yet, its sums are those so far",
        "to_come": "still to come",
        "partly_known": "known in part only",
        "unknown": "not known, and not in any sum",
    }
    for state, text in states.items():
        days = [one for one in report.missing if one.state == state]
        if days:
            span = days[0].day if len(days) == 1 else f"{days[0].day} to {days[-1].day} ({len(days)} days)"
            reason = "" if state in ("running", "to_come") else f": {days[0].reason}"
            out.append(f"{span}: {text if len(days) == 1 else text.replace('its sums', 'their sums')}{reason}.")
    if report.total.unpriced_tokens:
        out.append(
            f"{counted(report.total.unpriced_tokens, 'token')} have no price: the cost is that of the others, and the "
            "true one is higher."
        )
    if report.total.unsettled_texts:
        out.append(
            f"{counted(report.total.unsettled_texts, 'text')} of failed calls may have been billed, nobody here knows "
            "what: it is in no sum, and on the provider's bill."
        )
    return out


def sections(report: Report, top: int = TOP) -> list[Section]:
    return [section for section in _all(report, top) if section is not None]


def _all(report: Report, top: int) -> Iterator[Section | None]:
    yield Section("Summary", facts=list(_summary(report)))
    yield Section("What to do next", points=[(one.severity, plain(one.what), plain(one.do)) for one in report.advice])
    if report.by:
        title = f"By {' and '.join(report.by)}"
        yield Section(title, table=_rows(report.groups, report, top, title="Group"), plot="groups")
    if report.period.kind != "day" and report.by != ["day"]:
        yield Section("By day", table=_rows(report.days, report, len(report.days), title="Day"), plot="days")
    elif report.by == ["day"]:
        yield Section("Spend by day", plot="days")
    yield _cache(report)
    yield from _measured(report)
    yield _alerts(report)
    yield _scaling(report)
    yield Section("About these numbers", lines=[*_about(report), *map(plain, report.notes)])


def money(nano_usd: int | None, decimals: int | None = None) -> str:
    if nano_usd is None:
        return words.NO_PRICE
    return shown(rounded(nano_usd, decimals_for(nano_usd) if decimals is None else decimals))


def _summary(report: Report) -> Iterator[tuple[str, str]]:
    total, budget, before = report.total, report.budget, report.comparison
    yield "Total cost", money(total.cost_nano_usd)
    if budget is not None:
        source = (
            "the built-in limit; set daily_cost_usd to your own" if budget.built_in else f"rule {plain(budget.rule)}"
        )
        left = budget.remaining_nano_usd
        state = f"{money(left)} left" if left >= 0 else f"{money(-left)} OVER"
        days = counted(report.period.days, "day")
        yield (
            "Against budget",
            f"{percent(budget.spent_pct)} of {money(budget.period_nano_usd)}, {state} ({days} at "
            f"{money(budget.daily_nano_usd)}, {source})",
        )
    if report.forecast is not None:
        found = report.forecast
        share = (
            "" if budget is None or budget.forecast_pct is None else f", {percent(budget.forecast_pct)} of the budget"
        )
        yield "Forecast", (
            f"{words.UNKNOWN} ({found.basis})" if found.nano_usd is None
            else f"{money(found.nano_usd)}{share} ({found.basis})"
        )  # fmt: skip
    if before is not None:
        change = "" if before.cost_change_pct is None else f"{before.cost_change_pct:+,.1f} %, "
        yield f"Against {before.name}", f"{change}it was {money(before.cost_nano_usd)} for {count(before.texts)} texts"
    yield "Saved by the cache", money(total.saved_nano_usd) + _saved_share(report)
    failed = f"{count(total.errors - total.cancelled_texts)} failed ({percent(total.error_rate_pct)})"
    given_up = f", {count(total.cancelled_texts)} given up by their callers" if total.cancelled_texts else ""
    if total.wasted_nano_usd:
        share = percent(100.0 * total.wasted_nano_usd / total.cost_nano_usd) if total.cost_nano_usd else "-"
        yield "Wasted", f"{money(total.wasted_nano_usd)} ({share} of the cost) at least, on texts that got no vector"
    yield "Texts", f"{count(total.texts)}, {failed}{given_up}"
    yield "Tokens", f"{count(total.tokens_embedded)} embedded, {count(total.tokens_saved)} not needed"
    yield (
        "Cost/1M tokens",
        words.UNKNOWN
        if total.cost_per_million_tokens_nano_usd is None
        else money(total.cost_per_million_tokens_nano_usd),
    )
    if total.unpriced_tokens:
        yield "Without a price", f"{count(total.unpriced_tokens)} tokens of {count(total.unpriced_texts)} texts"
    if total.late_texts:
        yield (
            "Corrected later",
            f"{money(total.late_cost_nano_usd)} of it was booked after the close of its day, {count(total.late_texts)} "
            "texts",
        )


def _saved_share(report: Report) -> str:
    total = report.total
    if total.cost_nano_usd is None or not total.saved_nano_usd or total.unpriced_tokens or total.unpriced_saved_tokens:
        return ""
    return f" ({percent(100.0 * total.saved_nano_usd / (total.cost_nano_usd + total.saved_nano_usd))} of the whole)"


def _rows(rows: Sequence[Row], report: Report, top: int, title: str) -> Table:
    """The rows, those beyond `top` as one, and the total: amounts are such that they add up."""
    first, rest = list(rows[:top]), rows[top:]
    names = [plain(row.label) for row in first]
    total = report.total
    costs = [row.cost_nano_usd or 0 for row in first]
    saved = [row.saved_nano_usd or 0 for row in first]
    cost_decimals, saved_decimals = decimals_for(sum_of(rows, "cost")), decimals_for(sum_of(rows, "saved"))
    if rest:
        costs.append(sum_of(rest, "cost"))
        saved.append(sum_of(rest, "saved"))
    cost_cells = [shown(amount) for amount in printed(costs, cost_decimals)]
    saved_cells = [shown(amount) for amount in printed(saved, saved_decimals)]
    unpriced = bool(total.unpriced_tokens)
    out = []
    for number, row in enumerate(first):
        out.append(
            _line(
                names[number], row, words.NO_PRICE if row.cost_nano_usd is None else cost_cells[number],
                words.NO_PRICE if row.saved_nano_usd is None else saved_cells[number], unpriced,
            )
        )  # fmt: skip
    if rest:
        out.append(_rest(rest, report, cost_cells[-1], saved_cells[-1], unpriced))
    out.append(
        _line(
            "Total", total, money(total.cost_nano_usd, cost_decimals), money(total.saved_nano_usd, saved_decimals),
            unpriced,
        )
    )  # fmt: skip
    head = (
        title,
        "Cost",
        "Share",
        *(("Unpriced",) if unpriced else ()),
        "Saved",
        "Texts",
        "Hit rate",
        "Errors",
        "Tokens",
    )
    return Table(head, out, totals=True, spare=3)


def sum_of(rows: Sequence[Row], what: str) -> int:
    return sum((row.cost_nano_usd if what == "cost" else row.saved_nano_usd) or 0 for row in rows)


def _line(name: str, row: Row, cost: str, saved: str, unpriced: bool) -> tuple[str, ...]:
    return (
        name, cost, "-" if row.cost_share_pct is None else percent(row.cost_share_pct),
        *((count(row.unpriced_tokens),) if unpriced else ()),
        saved, count(row.texts), "-" if row.hit_rate_pct is None else percent(row.hit_rate_pct), count(row.errors),
        count(row.tokens_embedded),
    )  # fmt: skip


def _rest(rest: Sequence[Row], report: Report, cost: str, saved: str, unpriced: bool) -> tuple[str, ...]:
    hits = sum(row.cache_hits for row in rest)
    looked_up = sum(row.looked_up for row in rest)
    spent = report.total.cost_nano_usd
    return (
        f"({len(rest):,} more)", cost, percent(100.0 * sum_of(rest, "cost") / spent) if spent else "-",
        *((count(sum(row.unpriced_tokens for row in rest)),) if unpriced else ()),
        saved, count(sum(row.texts for row in rest)), percent(100.0 * hits / looked_up) if looked_up else "-",
        count(sum(row.errors for row in rest)), count(sum(row.tokens_embedded for row in rest)),
    )  # fmt: skip


def _cache(report: Report) -> Section:
    total = report.total
    facts = [
        ("Saved", money(total.saved_nano_usd) + _saved_share(report)),
        ("Hits", f"{count(total.cache_hits)} of {count(total.looked_up)} texts looked up, "
                 f"{percent(total.hit_rate_pct)}"),
        ("Copies in a batch", count(total.duplicates)),
        ("Tokens not embedded", count(total.tokens_saved)),
    ]  # fmt: skip
    if total.unpriced_saved_tokens:
        facts.append(("Without a price", f"{count(total.unpriced_saved_tokens)} of these tokens"))
    line = "Measured: every entry carries its count of tokens, so a hit knows what it saved."
    return Section("What the cache saved", [line], facts=facts)


def _measured(report: Report) -> Iterator[Section]:
    found = report.measured
    if found is None:
        reason = (
            "Not kept by tenant: time by phase and latency are kept of everything, of models and of the 20 tenants "
            "with the most texts of each hour, of which this is none."
            if "tenant" in report.scope
            else "No hour of this period is closed and kept, so latency and time by phase are not known."
        )
        yield Section("Where the time went", [reason])
        return
    share = 100.0 * found.texts / found.of_texts if found.of_texts else 100.0
    covers = f"Of {count(found.texts)} texts in closed hours, {percent(min(share, 100.0))} of the period's."
    yield Section(
        "Where the time went", [covers],
        Table(
            ("Phase", "Time", "Share", "A text"),
            [
                (row.phase.replace("_", " "), words.hours(row.seconds), percent(row.share_pct),
                 "-" if row.per_text_ms is None else f"{row.per_text_ms:,.2f} ms")
                for row in found.phases
            ],
        ),
        facts=_time_facts(report),
    )  # fmt: skip
    rows = [*([found.latency] if found.latency is not None else []), *found.latency_by_model[:TOP]]
    if rows:
        yield Section(
            "How long a text took",
            ["From the moment a worker began with it until its vector was delivered. Percentiles are within 0.5 %."],
            Table(
                ("Model", "p50", "p95", "p99", "Mean", "Longest", "Texts"),
                [
                    (plain(row.label) if number else "All", duration(row.p50_ms), duration(row.p95_ms),
                     duration(row.p99_ms), duration(row.mean_ms), duration(row.max_ms), count(row.texts))
                    for number, row in enumerate(rows)
                ],
                spare=3,
            ),
            plot="latency",
        )  # fmt: skip
    if "tenant" in report.by:
        yield _latency_by_tenant(found)
    if found.errors_by_class:
        whole = sum(found.errors_by_class.values())
        yield Section(
            "Errors by class", [],
            Table(
                ("Class", "Texts", "Share"),
                [
                    (name.replace("_", " "), count(number), percent(100.0 * number / whole))
                    for name, number in found.errors_by_class.items()
                ],
            ),
        )  # fmt: skip


def _latency_by_tenant(found: Measured) -> Section:
    title = "How long a text took, by tenant"
    rows = found.latency_by_tenant
    if not rows:
        return Section(title, ["Not kept by tenant: no hour of a tenant is kept of this period."])
    more = f" The slowest {TOP} of {count(len(rows))} are shown." if len(rows) > TOP else ""
    line = f"Kept of the 20 tenants with the most texts of each hour; of other hours and tenants it is not known.{more}"
    return Section(
        title, [line],
        Table(
            ("Tenant", "p50", "p95", "p99", "Longest", "Texts"),
            [
                (plain(row.label), duration(row.p50_ms), duration(row.p95_ms), duration(row.p99_ms),
                 duration(row.max_ms), count(row.texts))
                for row in rows[:TOP]
            ],
            spare=2,
        ),
    )  # fmt: skip


def _time_facts(report: Report) -> list[tuple[str, str]]:
    found = report.measured
    assert found is not None  # noqa: S101 (callers have looked)
    facts = []
    if found.wait_mean_ms is not None and found.wait_p95_ms is not None:
        facts.append(
            ("Wait in the queue", f"{duration(found.wait_mean_ms)} on average, {duration(found.wait_p95_ms)} (p95)")
        )
    if found.padding_pct is not None:
        facts.append(("Padding", f"{percent(found.padding_pct)} of what the model computed"))
    allocated = sum(report.allocated_seconds_by_model.values())
    if allocated:
        facts.append(
            ("Workers", f"there for {words.hours(allocated)}, computing for {words.hours(found.busy_seconds)}")
        )
    return facts


def _alerts(report: Report) -> Section:
    found = report.alerts
    if found.rows is None:
        return Section("Alerts", [f"Not known: {plain(found.reason or words.UNKNOWN)}."])
    if not found.rows:
        return Section("Alerts", ["None fired in this period."])
    zone, active = report.period.timezone, sum(row.active for row in found.rows)
    return Section(
        "Alerts",
        [f"{counted(len(found.rows), 'alert')} fired, {active:,} of them not over. Of each, its latest 20 changes are "
         "kept."],
        Table(
            ("Alert", "Severity", "Fired", "First", "Last change", "Now"),
            [
                (plain(f"{row.title}{'' if not row.scope else f' ({row.scope})'}"), row.severity, count(row.fired),
                 words.moment(row.first_seconds, zone), words.moment(row.last_seconds, zone),
                 "active" if row.active else "over")
                for row in found.rows[:TOP]
            ],
            spare=2,
        ),
    )  # fmt: skip


def _scaling(report: Report) -> Section | None:
    found = report.scaling
    if found is None:
        return None
    causes = ", ".join(f"{name} {number:,}" for name, number in found.causes.items())
    capacity = f", {found.at_capacity:,} of them at a limit" if found.at_capacity else ""
    return Section(
        "Workers asked for",
        [f"Between {found.fewest_workers:,} and {found.most_workers:,}, in {counted(found.changes, 'decision')}"
         f"{capacity} ({causes})."],
    )  # fmt: skip


def _about(report: Report) -> list[str]:
    lines = [
        "Sums are exact to a billionth of a dollar; the JSON and CSV forms have them so. Printed amounts are rounded "
        "such that each column adds up to its total, which moves a row by less than its last digit.",
    ]
    if report.complete:
        lines.append("Every day of the period is closed and whole.")
    if any(row.model is None and row.tenant is None for row in report.groups) and set(report.by) - {"day"}:
        lines.append("A row in brackets is what has no name of that kind.")
    return lines
