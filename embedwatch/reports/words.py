"""Names and numbers as people read them. Pure."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from zoneinfo import ZoneInfo

UNKNOWN = "not known"
NO_PRICE = "no price"


def plain(name: str) -> str:
    """A name that changes nothing around it: without control characters, and without those that turn the direction of
    writing or are seen by nobody. Names come from whoever sends events."""
    return "".join(
        "\ufffd" if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") else letter for letter in name
    )


def percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.1f} %"


def count(value: int) -> str:
    return f"{value:,}"


def duration(ms: float) -> str:
    """ "218 ms", "3.12 s"."""
    return f"{ms:,.0f} ms" if ms < 1000 else f"{ms / 1000:,.2f} s"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds:,.1f} s"


def moment(seconds: float, timezone: str) -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(timezone)):%Y-%m-%d %H:%M}"


def counted(number: int, name: str) -> str:
    """ "1 text", "2 texts"."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
