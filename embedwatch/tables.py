"""Tables for people, of which no value is lost: on any terminal, in a pipe and in a file.

A pipe has no width, so that a table there is as wide as its cells. On a terminal it is folded between words; where that
is too narrow for the longest words, each row is a block of lines instead, as cells that are folded within their words
can neither be read nor copied.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: As wide as a pipe may be asked to be: wider than any row, whose values are bounded.
PIPE_COLUMNS = 10_000


def width() -> int:
    """Columns that there are for a table."""
    console = Console()
    return console.width if console.is_terminal else PIPE_COLUMNS


def show(table: Table, console: Console | None = None) -> None:
    """Print it on standard output, or on `console`. Cells are text or markup, and the box is rich's usual one."""
    console = console or Console()
    columns = [[_lines(console, cell) for cell in (column.header, *column.cells)] for column in table.columns]
    whole = [max((cell_len(line) for cell in cells for line in cell), default=0) for cells in columns]
    least = [
        max(
            (
                cell_len(word)
                for cell in cells
                for line in cell
                for word in ([line] if column.no_wrap else line.split())
            ),
            default=0,
        )
        for column, cells in zip(table.columns, columns, strict=True)
    ]
    frame = 3 * len(columns) + 1  # a space at each side, and the lines between
    if not console.is_terminal:
        console.width = max(sum(whole) + frame, 1)
    room = console.width - frame
    if sum(least) > room:
        _blocks(table, console)
        return
    for column, width in zip(table.columns, _shared(room, least, whole), strict=True):
        column.width, column.overflow = width, "fold"
    console.print(table)


def _shared(room: int, least: list[int], whole: list[int]) -> list[int]:
    """Widths of columns: what there is beyond the longest words goes to those that lack most."""
    widths, left = list(least), room - sum(least)
    while left > 0 and (lacking := [n for n, width in enumerate(widths) if width < whole[n]]):
        widths[max(lacking, key=lambda n: whole[n] - widths[n])] += 1
        left -= 1
    return widths


def _blocks(table: Table, console: Console) -> None:
    """Each row as lines of a name and its value; what is empty is left out."""
    if table.title:
        console.print(table.title, style="italic")
    names = [_text(console, column.header) for column in table.columns]
    label = max((len(name.plain) for name in names), default=0)
    for number, row in enumerate(zip(*(list(column.cells) for column in table.columns), strict=True)):
        if number:
            console.print()
        for name, cell in zip(names, row, strict=True):
            value = _text(console, cell)
            if value.plain:
                console.print(
                    Text.assemble((f"{name.plain:<{label}}  ", "bold"), value), soft_wrap=True, highlight=False
                )


def _lines(console: Console, cell: object) -> list[str]:
    return (cell if isinstance(cell, Text) else console.render_str(str(cell), highlight=False)).plain.split("\n")


def _text(console: Console, cell: object) -> Text:
    found = cell if isinstance(cell, Text) else console.render_str(str(cell), highlight=False)
    return Text(" ").join(found.split("\n"))
