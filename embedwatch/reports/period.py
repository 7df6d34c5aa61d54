"""Which days a report is about. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from embedwatch.errors import ConfigError

Kind = Literal["day", "week", "month"]
MIN_YEAR, MAX_YEAR = 1971, 9998

_WEEK = re.compile(r"(\d{4})-W(\d{2})")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_EXAMPLES = {
    "day": "today, yesterday or a date such as 2026-07-14",
    "week": "this-week, last-week or an ISO week such as 2026-W47",
    "month": "this-month, last-month or a month such as 2026-11",
}


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days from `first` to `last`, both included."""

    kind: Kind
    name: str
    first: date
    last: date

    @property
    def days(self) -> list[str]:
        """ISO dates, in order."""
        return [(self.first + timedelta(days=n)).isoformat() for n in range((self.last - self.first).days + 1)]

    @property
    def title(self) -> str:
        """For people: "November 2026"."""
        if self.kind == "month":
            return f"{self.first:%B %Y}"
        if self.kind == "week":
            return f"Week {self.name[-2:]} of {self.name[:4]} ({self.first:%d %b} to {self.last:%d %b %Y})"
        return f"{self.first:%A, %d %B %Y}"

    @property
    def before(self) -> Period:
        """The period of the same kind before it."""
        return _of(self.kind, self.first - timedelta(days=1))


def check_period(kind: Kind, text: str) -> None:
    """Raises `ConfigError` for what names no period of that kind."""
    resolve(kind, text, date(2000, 1, 5))


def resolve(kind: Kind, text: str, today: date) -> Period:
    """`text` is a name relative to `today`, or an ISO date, week or month. Raises `ConfigError`."""
    named = {"day": ("today", "yesterday"), "week": ("this-week", "last-week"), "month": ("this-month", "last-month")}
    this, last = named[kind]
    present = _around(kind, today)
    if text in (this, this.partition("-")[0]) and text:
        return present
    if text == last or (kind != "day" and text == "last"):
        return present.before
    try:
        if kind == "day":
            return _around(kind, date.fromisoformat(text))
        if kind == "week" and (found := _WEEK.fullmatch(text)):
            return _around(kind, date.fromisocalendar(int(found[1]), int(found[2]), 1))
        if kind == "month" and (found := _MONTH.fullmatch(text)):
            return _around(kind, date(int(found[1]), int(found[2]), 1))
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"--{kind} is {_EXAMPLES[kind]}, not {text!r:.60}")


def _around(kind: Kind, day: date) -> Period:
    """The period that holds a day."""
    # So that there are days before and after it, and moments of them.
    if not MIN_YEAR <= day.year <= MAX_YEAR:
        raise ConfigError(f"--{kind}: {day} is not between {MIN_YEAR} and {MAX_YEAR}")
    return _of(kind, day)


def _of(kind: Kind, day: date) -> Period:
    if kind == "day":
        return Period(kind, day.isoformat(), day, day)
    if kind == "week":
        year, week, weekday = day.isocalendar()
        first = day - timedelta(days=weekday - 1)
        return Period(kind, f"{year}-W{week:02d}", first, first + timedelta(days=6))
    first = day.replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    return Period(kind, f"{first:%Y-%m}", first, after - timedelta(days=1))
