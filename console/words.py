"""Numbers and names as text of a set width, so that nothing on the screen jumps. What is not known is said. Pure."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

UNKNOWN = "unknown"
#: In tables, where the head of the column says what is missing.
NONE = "–"
#: In front of what was left out.
MORE = "…"

_MIB = 1024.0 * 1024.0


def clean(text: str) -> str:
    """Without what a terminal would obey: names come from whoever sends events."""
    return "".join(char if char.isprintable() else "?" for char in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """Exactly so many cells; a wide character has two."""
    spare = width - cell_len(text)
    if spare < 0:
        return set_cell_size(text, width)
    return " " * spare + text if right else text + " " * spare


def fit(text: str, width: int) -> str:
    """At most so many cells. A sentence is cut between two words; of a single word the middle goes, since names differ
    at their ends."""
    if cell_len(text) <= width:
        return text
    if width < 2:
        return MORE[:width]
    if " " not in text:
        return middle(text, width)
    kept = ""
    for word in text.split(" "):
        longer = f"{kept} {word}" if kept else word
        if cell_len(longer) > width - 2:
            break
        kept = longer
    if not kept:
        return middle(text.split(" ")[0], width - 2) + " " + MORE if width > 8 else middle(text, width)
    return f"{kept} {MORE}"


def middle(text: str, width: int) -> str:
    """At most so many cells, with the beginning and the end of the text."""
    if cell_len(text) <= width:
        return text
    head = width // 2
    tail = width - 1 - head
    end = text[-tail:] if tail else ""
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, head) + MORE + end


def wrap(text: str, width: int, lines: int) -> list[str]:
    """At most so many lines, broken between words; the last one is cut as `fit` does."""
    out: list[str] = []
    left = text
    while left and len(out) < lines - 1 and cell_len(left) > width:
        kept, words = "", left.split(" ")
        while words and cell_len(f"{kept} {words[0]}".strip()) <= width:
            kept = f"{kept} {words.pop(0)}".strip()
        if not kept:  # one word that is wider than the line
            break
        out.append(kept)
        left = " ".join(words)
    return [*out, fit(left, width)] if left else out


def amount(value: float) -> str:
    """At most nine characters for what occurs: fewer decimals where there are more digits."""
    if abs(value) < 1000:
        return f"{value:,.1f}"
    return f"{value:,.0f}" if abs(value) < 10_000_000 else f"{value:.3g}"


def short(value: float) -> str:
    """At most two decimals, none where they say nothing."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def pct(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f} %"


def span(seconds: float | None) -> str:
    """A length of time in one or two units: "45 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(seconds: float | None) -> str:
    """A length of time in one unit and at most six characters, for tables."""
    if seconds is None:
        return NONE
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds / size):,} {unit}"
    return f"{int(max(seconds, 0))} s"


def memory(used_bytes: float | None, total_bytes: float | None) -> str:
    """In GiB, as "12.3/24.0 GiB"."""
    if used_bytes is None:
        return NONE
    gib = 1024.0 * _MIB
    return f"{used_bytes / gib:.1f}" + ("" if total_bytes is None else f"/{total_bytes / gib:.1f}") + " GiB"


def window(seconds: int) -> str:
    """ "5 min", "1 h" or "30 s"."""
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def counted(count: int, name: str) -> str:
    """ "1 text", "2 texts"."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"
