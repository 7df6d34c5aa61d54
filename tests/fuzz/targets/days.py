"""Closed days as the topic keeps them, and the reports that are made of them."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from html.parser import HTMLParser

from embedwatch.errors import ConfigError, InputError
from embedwatch.reports.build import DailyBudget, Known, build
from embedwatch.reports.delimited import as_csv
from embedwatch.reports.kept import Kept
from embedwatch.reports.markdown import as_markdown
from embedwatch.reports.page import as_html
from embedwatch.reports.period import Kind, Period, resolve
from embedwatch.reports.text import as_text
from embedwatch.reports.writing import render
from embedwatch.scopes import asked_scope, parse_scope, scope_key, scope_option
from tests.fuzz.dice import Dice
from tests.fuzz.seeds import EVENTS
from tests.harness.agents_log import NOW

PERIOD = Period("month", "2027-01", date(2027, 1, 1), date(2027, 1, 31))
KEYS = (
    "agents|day|2027-01-13|0|0|0",
    "agents|day|2027-01-14|0|0|0",
    "agents|window|x",
    "agents|scaling|x",
    "other|day",
)
#: A name that opens a formula in a spreadsheet.
FORMULA = re.compile(r"[=+@\t\r-]")
KINDS: tuple[Kind, ...] = ("day", "week", "month")


def fuzz_days(data: bytes) -> None:
    """Records of the topic of days: a report in every form, or `InputError`; names of others are no HTML, no formula
    and nothing that a terminal obeys."""
    dice = Dice(data)
    kept = Kept("agents", "UTC", PERIOD.days)
    for _ in range(1 + dice.below(5)):
        kind = dice.pick(("day", "day", "day", "window", "scaling"))
        key = dice.pick(KEYS).encode() if dice.byte() % 8 else dice.raw()
        kept.take(key, dice.json(EVENTS[kind]), (NOW - 86_400 * 60, NOW + 86_400 * 30))
    known = Known(
        "UTC", dice.pick(("2027-01-15", "2027-02-01")), NOW, kept.closed_days(), list(kept.hours()), kept.changes(),
        budget=DailyBudget("daily_cost_usd", dice.pick((1, 10**9, 10**14))),
    )  # fmt: skip
    by = dice.pick(((), ("model",), ("tenant", "day"), ("model", "tenant", "day")))
    try:
        report = build(known, PERIOD, by, dice.pick(((), (("model", "m"),))))
    except InputError as error:
        assert len(str(error)) < 5000
        return
    json.loads(render(report, "json", 10), parse_constant=_no_constant)
    for row in csv.reader(io.StringIO(as_csv(report))):
        for cell in row:
            assert not FORMULA.match(cell) or _is_number(cell), cell
    page = _Page()
    page.feed(as_html(report, None))
    assert not page.foreign, page.foreign
    for text in (as_text(report), as_markdown(report)):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        assert len(text) < 200_000


def fuzz_periods(data: bytes) -> None:
    """Periods and scopes as people ask for them."""
    dice = Dice(data)
    kind, text = dice.pick(KINDS), dice.text() if dice.maybe() else dice.rest().decode("utf-8", "replace")
    try:
        period = resolve(kind, text, date(2027, 1, 15))
    except ConfigError as error:
        assert len(str(error)) < 500
    else:
        assert 1 <= len(period.days) <= 31
        assert period.before.last < period.first
        assert period.title
    try:
        scope = asked_scope(text)
    except ValueError as error:
        assert len(str(error)) < 500
    else:
        assert parse_scope(scope_key(scope)) == scope
    try:
        scope_option(text)
    except ConfigError as error:
        assert len(str(error)) < 500


class _Page(HTMLParser):
    """Elements and attributes that no page of ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object") or any(n.startswith("on") or n == "src" for n, _ in attrs):
            self.foreign.append(tag)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
