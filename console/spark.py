"""Small pictures made of characters: a line of the last hour, a bar. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What pictures and rules are drawn with."""

    levels: str  # lowest first
    full: str
    empty: str
    rule: str
    chosen: str


BLOCKS = Glyphs("▁▂▃▄▅▆▇█", "█", "░", "─", "▸")
#: For terminals and fonts that have no blocks.
ASCII = Glyphs("_.-=+*#@", "#", ".", "-", ">")


def spark(values: Sequence[float | None], width: int, glyphs: Glyphs = BLOCKS) -> str:
    """The newest at the right, exactly `width` characters; the highest of several that share one. From zero up, so
    that a small change looks small. A blank is a time of which nothing is known."""
    if width <= 0:
        return ""
    columns = _columns(values, width)
    top = max((value for value in columns if value is not None), default=0.0)
    out = []
    for value in columns:
        if value is None:
            out.append(" ")
        else:
            share = value / top if top > 0 else 0.0
            out.append(glyphs.levels[min(int(share * len(glyphs.levels)), len(glyphs.levels) - 1)])
    return "".join(out).rjust(width)


def _columns(values: Sequence[float | None], width: int) -> list[float | None]:
    known = [value if value is not None and math.isfinite(value) and value >= 0 else None for value in values]
    if len(known) <= width:
        return known
    out: list[float | None] = []
    for column in range(width):
        part = known[column * len(known) // width : (column + 1) * len(known) // width]
        out.append(max((value for value in part if value is not None), default=None))
    return out


def bar(share_pct: float | None, width: int, glyphs: Glyphs = BLOCKS) -> str:
    """Exactly `width` characters. Anything above zero shows, and full is only what is full."""
    if width <= 0:
        return ""
    if share_pct is None or not math.isfinite(share_pct):
        return " " * width
    filled = int(max(share_pct, 0.0) / 100.0 * width)
    if share_pct > 0:
        filled = max(filled, 1)
    filled = min(filled, width)
    return glyphs.full * filled + glyphs.empty * (width - filled)
