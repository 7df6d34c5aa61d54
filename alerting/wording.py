"""Numbers, spans of time and other people's text, made fit to read. Pure."""

from __future__ import annotations

import math
import unicodedata

_ELLIPSIS = "…"
#: Joiners that shape emoji and letters; every other invisible format character is dropped.
_JOINERS = "\u200c\u200d"
_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


def clean(text: str, limit: int) -> str:
    """Text of others on one line, at most `limit` characters, with nothing that acts on what stands around it.

    Control characters (a terminal obeys some) and direction overrides are dropped; text with right-to-left letters is
    isolated, so that it does not turn around the words beside it.
    """
    kept: list[str] = []
    length = 0
    for char in text[: 4 * limit + 100]:
        if char.isspace():
            char = " "
            if kept and kept[-1] == " ":
                continue
        elif unicodedata.category(char) in ("Cc", "Cs", "Cf") and char not in _JOINERS:
            continue
        kept.append(char)
        length += 1
        if length > limit:
            break
    short = "".join(kept).strip()
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in short):
        return _ISOLATE + clip(short, max(1, limit - 2)) + _POP_ISOLATE
    return clip(short, limit)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, with … where something was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + _ELLIPSIS


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """A value with its unit: `1,240 ms`, `$52.10`, `0.42 %`, `2 h 5 min`; "unknown" where there is none."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if unit == "USD":
        return _dollars(value, digits)
    if unit == "ms" and abs(value) >= 10_000:
        value, unit = value / 1000, "s"
    if unit == "s" and abs(value) >= 120:
        return duration(value)
    number = _number(value, digits)
    if not unit:
        return number
    if number == "1" and unit.isalpha() and unit.endswith("s") and len(unit) > 2:
        unit = unit[:-1]
    return f"{number} {unit}"


def pair(value: float | None, limit: float, unit: str) -> tuple[str, str]:
    """Value and limit, with as many digits as it takes to tell them apart: "limit 500 ms, is 500 ms" helps nobody."""
    digits = 3
    while digits < 9:
        shown = quantity(value, unit, digits), quantity(limit, unit, digits)
        if shown[0] != shown[1] or value == limit:
            return shown
        digits += 1
    return shown


def duration(seconds: float) -> str:
    """The two largest units: `4 min 10 s`, `2 d 3 h`; never negative."""
    if not math.isfinite(seconds):
        return "unknown"
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{_number(seconds, 2)} s"
    total = round(seconds)
    sizes = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    while total < sizes[0][0]:
        sizes.pop(0)
    parts = []
    for size, name in sizes[:2]:
        count, total = divmod(total, size)
        parts.append(f"{count} {name}" if count else "")
    return " ".join(part for part in parts if part)


def _number(value: float, digits: int) -> str:
    """At least `digits` significant digits, thousands separated, no trailing zeros after the point."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _dollars(value: float, digits: int) -> str:
    sign = "-" if value < 0 else ""
    amount = abs(value)
    if amount == 0 or amount >= 1:
        return f"{sign}${amount:,.{2 if digits <= 3 else digits}f}"
    return f"{sign}${_number(amount, digits)}"
