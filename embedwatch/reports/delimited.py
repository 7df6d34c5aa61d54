"""A report as one CSV table (RFC 4180): a row a group, exact. Pure.

A spreadsheet takes a cell that begins with = + - @ or a tab for a formula; a name that does gets an apostrophe before
it. Numbers are ours, and are left alone. What is not known is an empty cell, never 0.
"""

from __future__ import annotations

import csv
import io

from embedwatch.reports.model import Report, Row
from embedwatch.reports.money import exact
from embedwatch.reports.words import plain

#: Column and what it holds: the documentation of the table.
COLUMNS: tuple[tuple[str, str], ...] = (
    ("period", "as asked for: 2026-11-25, 2026-W47 or 2026-11"),
    ("first_day", "of the period, ISO date"),
    ("last_day", "of the period, ISO date"),
    ("timezone", "in which a day begins"),
    ("complete", "true where every day of the period is known, closed and whole; else false"),
    ("scope", "whose numbers: all, or what --scope named"),
    ("day", "ISO date, with --by day; else empty"),
    ("model", "with --by model; empty: none of those that have a name"),
    ("tenant", "with --by tenant; empty: texts without a tenant"),
    ("cost_nano_usd", "exact; empty where nothing has a price"),
    ("cost_usd", "the same in USD, all nine decimals"),
    ("saved_nano_usd", "what the cache saved, exact; empty where nothing of it has a price"),
    ("saved_usd", "the same in USD, all nine decimals"),
    ("unpriced_tokens", "embedded, and in no cost"),
    ("unpriced_saved_tokens", "not embedded, and in no saving"),
    ("late_cost_nano_usd", "of the cost, booked after the close of its day"),
    ("texts", ""),
    ("errors", "texts without a vector"),
    ("cache_hits", ""),
    ("misses", "texts that the model embedded"),
    ("duplicates", "copies of another text of their batch"),
    ("tokens_received", ""),
    ("tokens_embedded", ""),
    ("tokens_saved", ""),
    ("cancelled_texts", "of the errors, those whose callers gave up"),
    ("unsettled_texts", "of failed calls that may have been billed; in no cost"),
    ("wasted_nano_usd", "of the cost, paid for texts that got no vector, as far as it is known"),
    ("uncounted_texts", "that have a cost, and are in no sum of tokens"),
    ("uncached_texts", "of the misses, those for which no cache was asked; in no hit rate"),
)
#: What a formula begins with, the wide forms that some spreadsheets take for it, and those of old exchange formats.
_FORMULA = "=+-@|%＝＋－＠"
_COUNTS = tuple(name for name, _ in COLUMNS[13:])


def as_csv(report: Report) -> str:
    """The rows add up to the total, which is no row: a sum over a column is right."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([name for name, _ in COLUMNS])
    for row in report.groups:
        writer.writerow(_cells(report, row))
    return out.getvalue()


def neutral(name: str | None) -> str:
    """A name that no spreadsheet computes."""
    text = plain(name or "")
    first = text.lstrip(" \u00a0\ufffd")[:1]
    return f"'{text}" if first and first in _FORMULA else text


def _cells(report: Report, row: Row) -> list[object]:
    period = report.period
    cost, saved = row.cost_nano_usd, row.saved_nano_usd
    return [
        period.name, period.first, period.last, neutral(period.timezone), "true" if report.complete else "false",
        neutral(report.scope), row.day or "", neutral(row.model), neutral(row.tenant),
        "" if cost is None else cost, "" if cost is None else exact(cost),
        "" if saved is None else saved, "" if saved is None else exact(saved),
        *(getattr(row, name) for name in _COUNTS),
    ]  # fmt: skip
