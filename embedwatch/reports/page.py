"""A report as one HTML file: it asks for nothing from anywhere, follows light and dark, and prints. Pure.

Whatever comes from outside is escaped; and the page forbids itself scripts and requests, should that ever fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from embedwatch.reports.model import Report
from embedwatch.reports.sections import TOP, Section, Table, sections, subtitle, title, warnings

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_WORDS = {"act": "Act", "look": "Look", "fine": "Fine"}
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --tint: #f5f7f9;
  --bar: #2f6fb3; --second: #8fbf9a; --bad: #b3341f; --warn: #8a5a00; --good: #2c7a4b; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e6eaef; --soft: #9aa6b4; --line: #2e363f;
  --tint: #1b2127; --bar: #6ea8e5; --second: #4f8a63; --bad: #ef7d68; --warn: #e0b050; --good: #6fc08f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.5rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.note { margin: .8rem 0 0; padding: .5rem .8rem; border-left: 3px solid var(--warn); background: var(--tint); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.4rem 0 0; }
.card { padding: .8rem 1rem; background: var(--tint); border: 1px solid var(--line); border-radius: .4rem; }
.card b { display: block; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1.2rem; margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .4rem 0;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .45rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } tbody th { color: var(--ink); font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
th:last-child, td:last-child { padding-right: 0; }
tr.total td, tr.total th { font-weight: 700; border-top: 2px solid var(--ink); border-bottom: 0; }
ul { list-style: none; margin: .4rem 0; padding: 0; }
li { margin: .5rem 0; padding-left: 4.2rem; position: relative; overflow-wrap: anywhere; }
li b.tag { position: absolute; left: 0; width: 3.4rem; text-align: center; font-size: .75rem; line-height: 1.6;
  border: 1px solid currentColor; border-radius: .3rem; }
.act { color: var(--bad); } .look { color: var(--warn); } .fine { color: var(--good); }
svg.plot { width: 100%; height: auto; display: block; margin: .6rem 0; }
svg.plot text { font-family: inherit !important; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #fff;
  --bar: #2f6fb3; --second: #8fbf9a; --bad: #b3341f; --warn: #8a5a00; --good: #2c7a4b; }
  main { max-width: none; padding: 0; } body { font-size: 10pt; } h2 { break-after: avoid; }
  tr, li, svg, .card, dl { break-inside: avoid; } thead { display: table-header-group; } .scroll { overflow: visible; }
  @page { margin: 1.6cm; } }
"""


def as_html(report: Report, plots: Mapping[str, str] | None, top: int = TOP) -> str:
    """`plots`: SVG by name; None where matplotlib is not installed."""
    heading = escape(title(report))
    out = [
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{heading}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>", "<main>", "<header>",
        f"<h1>{heading}</h1>", f'<p class="soft">{escape(subtitle(report))}</p>',
    ]  # fmt: skip
    out += [f'<p class="note">{escape(warning)}</p>' for warning in warnings(report)]
    if plots is None:
        out.append(
            '<p class="note">Without pictures: matplotlib is not installed here '
            "(<code>pip install 'embedwatch[plot]'</code>).</p>"
        )
    out += ["</header>", _cards(report)]
    for section in sections(report, top):
        picture = (plots or {}).get(section.plot or "", "")
        if section.plot and not (picture or section.table or section.lines or section.facts):
            continue
        out.append(_section(section, picture))
    out += ["<footer>Made by embedwatch.</footer>", "</main>", "</body>", "</html>"]
    return "\n".join(out) + "\n"


def _cards(report: Report) -> str:
    from embedwatch.reports.sections import money
    from embedwatch.reports.words import count, percent

    total, budget = report.total, report.budget
    cards = [(money(total.cost_nano_usd), "spent")]
    if budget is not None:
        cards.append((percent(budget.spent_pct), f"of the budget of {money(budget.period_nano_usd)}"))
    cards += [(money(total.saved_nano_usd), "saved by the cache"), (count(total.texts), "texts")]
    inner = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in cards
    )
    return f'<div class="cards">{inner}</div>'


def _section(section: Section, picture: str) -> str:
    out = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    out += [f'<p class="soft">{escape(line)}</p>' for line in section.lines]
    if section.facts:
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in section.facts)
        out.append(f"<dl>{pairs}</dl>")
    if section.points:
        items = "".join(
            f'<li><b class="tag {severity}">{_WORDS[severity]}</b>{escape(what)} '
            f'<span class="soft">{escape(do)}</span></li>'
            for severity, what, do in section.points
        )
        out.append(f"<ul>{items}</ul>")
    if picture:
        out.append(picture)
    if section.table is not None:
        out.append(_table(section.table))
    return "\n".join([*out, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    body = []
    for number, row in enumerate(table.rows):
        total = ' class="total"' if table.totals and number == len(table.rows) - 1 else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        body.append(f'<tr{total}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    rows = "\n".join(body)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
