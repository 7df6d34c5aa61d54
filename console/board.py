"""The lines of a frame as a widget: of what is new only the cells that changed are sent to the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from console.lines import Line, Style, plain

#: The terminal's own sixteen colours, which fit its background, light or dark.
STYLES: dict[Style, RichStyle] = {
    "": RichStyle(),
    "dim": RichStyle(dim=True),
    "head": RichStyle(bold=True),
    "good": RichStyle(color="green"),
    "info": RichStyle(color="cyan"),
    "warn": RichStyle(color="yellow"),
    "bad": RichStyle(color="red", bold=True),
    "key": RichStyle(bold=True, reverse=True),
    "chosen": RichStyle(reverse=True),
}


class Board(Widget):
    """Fills its place. `on_size` is called when that has another size: new lines are due."""

    DEFAULT_CSS = "Board { width: 1fr; height: 1fr; background: transparent; }"

    def __init__(self, on_size: Callable[[], None]) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self._on_size = on_size

    def on_resize(self) -> None:
        self._on_size()

    def put(self, lines: list[Line]) -> None:
        """Show these instead."""
        before, self.lines = self.lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        width = self.size.width
        dirty = [
            Region(first, number, min(last, width) - first, 1)
            for number, (old, new) in enumerate(zip(before, lines, strict=True))
            if (found := changed(old, new, width)) is not None
            for first, last in [found]
        ]
        if dirty:
            self.refresh(*dirty)

    def render_line(self, y: int) -> Strip:
        if y >= len(self.lines):
            return Strip.blank(self.size.width)
        strip = Strip([Segment(span.text, STYLES[span.style]) for span in self.lines[y] if span.text])
        return strip.adjust_cell_length(self.size.width)


def changed(old: Line, new: Line, width: int) -> tuple[int, int] | None:
    """First cell that differs and the one behind the last; None: they are the same.

    Where wide characters are about, cells are not characters: then it is the whole line.
    """
    if old == new:
        return None
    one, two = _cells(old), _cells(new)
    if len(one) != len(two) or (not (plain(old) + plain(new)).isascii() and not _narrow(plain(old) + plain(new))):
        return 0, width
    differ = [number for number, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    return (differ[0], differ[-1] + 1) if differ else None


def _cells(found: Line) -> list[tuple[str, Style]]:
    return [(char, span.style) for span in found for char in span.text]


def _narrow(text: str) -> bool:
    from rich.cells import cell_len

    return cell_len(text) == len(text)
