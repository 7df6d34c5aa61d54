"""A report as plain text of 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from embedwatch.reports.model import Report
from embedwatch.reports.sections import TOP, Table, sections, subtitle, title, warnings

WIDTH = 80
#: Names longer than this give way before columns are left out.
LONG_NAME = 36
_SECOND = "\x00"  # in no text: names are plain
_MARKS = {"act": "!", "look": "-", "fine": " "}


def as_text(report: Report, top: int = TOP) -> str:
    lines = ["=" * WIDTH, *_wrapped(title(report)), *_wrapped(subtitle(report)), "=" * WIDTH]
    for warning in warnings(report):
        lines += _wrapped(f"NOTE: {warning}", "      ")
    for section in sections(report, top):
        if section.plot and not (section.table or section.lines or section.facts):
            continue
        lines += ["", f"{section.title.upper()}"]
        for line in section.lines:
            lines += _wrapped(line, indent="  ")
        for name, value in section.facts:
            lines += _wrapped(f"{name + ':':<21}{value}", " " * 21, indent="  ")
        for severity, what, do in section.points:
            lines += _wrapped(f"{_MARKS[severity]} {what}", "  ", indent="  ")
            lines += _wrapped(f"-> {do}", "   ", indent="    ")
        if section.table is not None:
            lines += _table(section.table)
    return "\n".join([*lines, "=" * WIDTH]) + "\n"


def _wrapped(text: str, later: str = "", indent: str = "") -> list[str]:
    # A letter that takes two places counts as two.
    wide = "".join(letter + _SECOND * (cell_len(letter) - 1) for letter in text)
    lines = textwrap.wrap(
        wide, WIDTH, initial_indent=indent, subsequent_indent=indent + later, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_SECOND, "") for line in lines] or [""]


def _table(table: Table) -> list[str]:
    rows: list[Sequence[str]] = [table.head, *table.rows]
    columns = len(table.head)
    keep = columns
    while True:
        widths = [max(cell_len(row[n]) for row in rows) for n in range(keep)]
        others = sum(widths[1:]) + 2 * keep  # two spaces between, two before
        if others + min(widths[0], LONG_NAME) <= WIDTH or keep <= max(columns - table.spare, 2):
            break
        keep -= 1
    name = min(widths[0], max(WIDTH - others, 1))
    lines = []
    for number, row in enumerate(rows):
        if table.totals and number == len(rows) - 1:
            lines.append("  " + "-" * (name + others - 2))
        cells = [_clipped(row[0], name)]
        cells += [" " * (widths[n] - cell_len(row[n])) + row[n] for n in range(1, keep)]
        lines.append("  " + "  ".join(cells))
    return lines


def _clipped(text: str, width: int) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return text + " " * (width - cell_len(text))
