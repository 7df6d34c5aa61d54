"""The pictures of a report as SVG, drawn by matplotlib (extra `plot`).

Colours are placeholders that become variables of the page's style, so that a picture follows light and dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

from embedwatch.reports.model import Report
from embedwatch.reports.words import plain

INK, FAINT, BAR, SECOND, LIMIT = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_VARIABLES = {INK: "--ink", FAINT: "--line", BAR: "--bar", SECOND: "--second", LIMIT: "--bad"}
MAX_BARS = 12
MAX_NAME = 42
#: Of points on an axis, so that their names do not run into each other.
MAX_TICKS = 8
_TITLES = {"days": "Spend by day", "groups": "Spend by group", "latency": "Latency over time"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "xtick.major.size": 0, "xtick.major.pad": 6, "ytick.major.size": 0,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.6, "axes.titlesize": 10,
    "legend.frameon": False,
}  # fmt: skip


def available() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def pictures(report: Report) -> dict[str, str]:
    """SVG elements by name: `days`, `groups`, `latency`; those that there is anything to draw for."""
    out = {}
    for name, (wanted, draw, size) in _PICTURES.items():
        if wanted(report):
            out[name] = _svg(name, report, draw, size(report))
    return out


def _svg(name: str, report: Report, draw: Callable[[Any, Report], None], size: tuple[float, float]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    # A letter that no font here has is drawn by the reader's browser, which has others.
    with warnings.catch_warnings(), rc_context({**_STYLE, "svg.hashsalt": name}):
        warnings.simplefilter("ignore")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0.0)
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.patch.set_alpha(0.0)
        draw(axes, report)
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _inline(out.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """The element alone: without declarations and metadata, which name addresses that nobody needs."""
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")
    text = head.sub(rf'<svg class="plot" viewBox="\1" role="img" aria-label="{_TITLES[name]}">', text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("xlink:href", "href").strip()


def _days(axes: Any, report: Report) -> None:
    rows = report.days
    costs = [(row.cost_nano_usd or 0) / 1e9 for row in rows]
    running = {one.day for one in report.missing if one.state == "running"}
    bars = axes.bar(range(len(rows)), costs, color=BAR, width=0.75)
    for bar, row in zip(bars, rows, strict=True):
        if row.day in running:
            bar.set_alpha(0.45)
    axes.set_xlim(-0.6, max(len(rows), 7) - 0.4)
    axes.set_ylabel("USD a day")
    axes.grid(visible=False, axis="x")
    step = max(len(rows) // MAX_TICKS, 1)
    axes.set_xticks(range(0, len(rows), step), [(row.day or "")[5:] for row in rows[::step]])
    budget = report.budget
    # A limit far above would press all bars to the ground.
    if budget is not None and budget.daily_nano_usd / 1e9 <= 4 * max([*costs, 1e-9]):
        axes.axhline(budget.daily_nano_usd / 1e9, color=LIMIT, linewidth=1.2, linestyle="--", label="daily budget")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _groups(axes: Any, report: Report) -> None:
    rows = [row for row in report.groups if row.cost_nano_usd][:MAX_BARS][::-1]
    axes.barh(range(len(rows)), [(row.cost_nano_usd or 0) / 1e9 for row in rows], color=BAR, height=0.7, label="spent")
    saved = [(row.saved_nano_usd or 0) / 1e9 for row in rows]
    if any(saved):
        left = [(row.cost_nano_usd or 0) / 1e9 for row in rows]
        axes.barh(range(len(rows)), saved, left=left, color=SECOND, height=0.7, label="saved by the cache")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
    axes.set_xlabel("USD")
    axes.grid(visible=False, axis="y")


def _latency(axes: Any, report: Report) -> None:
    rows = report.measured.latency_over_time if report.measured else []
    places = range(len(rows))
    axes.plot(places, [row.p95_ms for row in rows], color=BAR, linewidth=1.8, marker="o", markersize=3, label="p95")
    axes.plot(places, [row.p50_ms for row in rows], color=SECOND, linewidth=1.8, marker="o", markersize=3, label="p50")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms a text")
    axes.grid(visible=False, axis="x")
    step = max(len(rows) // MAX_TICKS, 1)
    axes.set_xticks(places[::step], [row.label if ":" in row.label else row.label[5:] for row in rows[::step]])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)


def _short(name: str) -> str:
    text = plain(name)
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _priced(report: Report) -> int:
    return sum(bool(row.cost_nano_usd) for row in report.groups)


#: By name: whether there is anything to draw, how, and how large, in inches.
_PICTURES: dict[
    str, tuple[Callable[[Report], bool], Callable[[Any, Report], None], Callable[[Report], tuple[float, float]]]
] = {
    "days": (lambda report: len(report.days) > 1, _days, lambda _: (9.2, 2.8)),
    "groups": (
        lambda report: _priced(report) > 1 and "day" not in report.by,
        _groups,
        lambda report: (9.2, 0.9 + 0.28 * min(_priced(report), MAX_BARS)),
    ),
    "latency": (
        lambda report: report.measured is not None and len(report.measured.latency_over_time) > 1,
        _latency,
        lambda _: (9.2, 2.6),
    ),
}
