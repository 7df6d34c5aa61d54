"""Lines of styled text, and how they are put beside each other. Pure.

A style is a word; the screen decides what it looks like, and without colours each thing is still told by its text.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from rich.cells import cell_len, set_cell_size

Style = Literal["", "dim", "head", "good", "info", "warn", "bad", "key", "chosen"]


class Span(NamedTuple):
    text: str
    style: Style = ""


Line = tuple[Span, ...]


def line(*parts: Span | str) -> Line:
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def width_of(found: Line) -> int:
    return sum(cell_len(span.text) for span in found)


def sized(found: Line, width: int) -> Line:
    """Exactly so many cells: filled with blanks, or cut. What may be too long is cut between words before."""
    out: list[Span] = []
    left = width
    for text, style in found:
        size = cell_len(text)
        if size > left:
            text, size = set_cell_size(text, left), left
        if text:
            out.append(Span(text, style))
        left -= size
    return (*out, Span(" " * left)) if left else tuple(out)


def painted(found: Line, style: Style) -> Line:
    """All of it in one style."""
    return (Span("".join(span.text for span in found), style),)


def beside(left: list[Line], right: list[Line], width: int, gap: int) -> list[Line]:
    """Two columns of the same width, as long as the longer one."""
    column = (width - gap) // 2
    rest = width - gap - column
    blank: Line = ()
    out = []
    for number in range(max(len(left), len(right))):
        one = left[number] if number < len(left) else blank
        two = right[number] if number < len(right) else blank
        out.append((*sized(one, column), Span(" " * gap), *sized(two, rest)))
    return out


def plain(found: Line) -> str:
    return "".join(span.text for span in found)
