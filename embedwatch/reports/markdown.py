"""A report as GitHub's Markdown. Pure."""

from __future__ import annotations

import re

from embedwatch.reports.model import Report
from embedwatch.reports.sections import TOP, Table, sections, subtitle, title, warnings

#: What GitHub's Markdown, or the HTML in it, may read as more than a letter in the midst of a line. An underscore
#: within a word is one.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&@#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "@": "&#64;", ":": "&#58;", ".": "&#46;"}
_MARKS = {"act": "**Act:** ", "look": "**Look:** ", "fine": ""}


def as_markdown(report: Report, top: int = TOP) -> str:
    lines = [f"# {escaped(title(report))}", "", escaped(subtitle(report)), ""]
    for warning in warnings(report):
        lines += [f"> **Note:** {escaped(warning)}", ""]
    for section in sections(report, top):
        if section.plot and not (section.table or section.lines or section.facts):
            continue
        lines += [f"## {escaped(section.title)}", ""]
        for line in section.lines:
            lines += [escaped(line), ""]
        if section.facts:
            lines += ["| | |", "| --- | --- |"]
            lines += [f"| {escaped(name)} | {escaped(value)} |" for name, value in section.facts] + [""]
        if section.points:
            lines += [f"- {_MARKS[severity]}{escaped(what)} {escaped(do)}" for severity, what, do in section.points] + [
                ""
            ]
        if section.table is not None:
            lines += [*_table(section.table), ""]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text in which Markdown sees letters only: no link, no emphasis, no HTML, no mention, no cell, no formula."""
    out = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), " ".join(text.split()))
    return out.replace("$", "\\$") if out.count("$") > 1 else out


def _table(table: Table) -> list[str]:
    lines = [
        "| " + " | ".join(escaped(cell) for cell in table.head) + " |",
        "| --- |" + " ---: |" * (len(table.head) - 1),
    ]
    for number, row in enumerate(table.rows):
        cells = [escaped(cell) for cell in row]
        if table.totals and number == len(table.rows) - 1:
            cells = [f"**{cell}**" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
