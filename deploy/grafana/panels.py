"""Grafana's JSON of a dashboard, from the little that differs between panels. Pure.

What is not known is absent in Prometheus, so it must not be drawn: lines have gaps, a number asks for this moment alone
(the last one that was known may be hours old) and says "not known".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from embedwatch.metric_families import every
from stream_agents.web.families import FAMILIES

SCHEMA_VERSION = 39
TAG = "embedwatch"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NOT_KNOWN = "not known"
_TEXTS = {family.name: family for family in every(FAMILIES)}

Query = tuple[str, str]  # expression and legend
Step = tuple[float | None, str]  # from this value on, this colour; the first is from None


@dataclass(frozen=True)
class Panel:
    kind: str
    title: str
    queries: tuple[Query, ...]
    unit: str
    description: str
    width: int
    height: int
    steps: tuple[Step, ...] = ((None, "green"),)
    decimals: int | None = None
    least: float | None = 0
    most: float | None = None
    stacked: bool = False


def _describe(about: str, more: str) -> str:
    """What the reference says of the metric, and what to do."""
    family = _TEXTS[about]
    advice = "" if family.bad == "Nothing by itself." else f" {family.bad}"
    return f"{family.text}{advice}{' ' + more if more else ''}"


def line(
    title: str, queries: Iterable[Query], unit: str, about: str, *, more: str = "", width: int = 12, height: int = 8,
    steps: tuple[Step, ...] = ((None, "green"),), most: float | None = None, least: float | None = 0,
    stacked: bool = False,
) -> Panel:  # fmt: skip
    return Panel(
        "timeseries", title, tuple(queries), unit, _describe(about, more), width, height, steps, None, least, most,
        stacked,
    )  # fmt: skip


def number(
    title: str, expr: str, unit: str, about: str, *, more: str = "", width: int = 3,
    steps: tuple[Step, ...] = ((None, "blue"),), decimals: int | None = None,
) -> Panel:  # fmt: skip
    return Panel("stat", title, ((expr, ""),), unit, _describe(about, more), width, 4, steps, decimals, None)


def bars(title: str, expr: str, legend: str, unit: str, about: str, *, width: int = 12, height: int = 8,
         steps: tuple[Step, ...] = ((None, "blue"),), most: float | None = None) -> Panel:  # fmt: skip
    return Panel("bargauge", title, ((expr, legend),), unit, _describe(about, ""), width, height, steps, None, 0, most)


def states(title: str, expr: str, legend: str, about: str, *, width: int = 24, height: int = 8) -> Panel:
    """1 is bad."""
    return Panel(
        "state-timeline", title, ((expr, legend),), "short", _describe(about, ""), width, height,
        ((None, "green"), (1, "red")),
    )  # fmt: skip


def above(limit: float, colour: str = "red") -> tuple[Step, ...]:
    return ((None, "green"), (limit, colour))


def below(limit: float) -> tuple[Step, ...]:
    return ((None, "red"), (limit, "green"))


def dashboard(uid: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> dict[str, Any]:
    """Rows with a heading; panels flow from left to right."""
    out: list[dict[str, Any]] = []
    y = 0
    for heading, panels in rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        out.append(
            {"id": len(out) + 1, "type": "row", "title": heading, "collapsed": False, "gridPos": place, "panels": []}
        )
        y, x, tallest = y + 1, 0, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            out.append(_panel(panel, len(out) + 1, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": uid, "title": title, "description": about, "tags": [TAG], "schemaVersion": SCHEMA_VERSION, "version": 1,
        "editable": False, "graphTooltip": 1, "refresh": "15s", "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{
            "type": "dashboards", "title": "embedwatch", "tags": [TAG], "asDropdown": True, "includeVars": True,
            "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
        }],
        "annotations": {"list": _annotations()},
        "templating": {"list": _variables()},
        "panels": out,
    }  # fmt: skip


def _panel(panel: Panel, number_: int, place: dict[str, int]) -> dict[str, Any]:
    now = panel.kind in ("stat", "bargauge")
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "noValue": NOT_KNOWN,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": colour} for at, colour in panel.steps]},
        "mappings": [],
        "custom": {},
    }
    bounds = {"decimals": panel.decimals, "min": panel.least, "max": panel.most}
    defaults.update({name: value for name, value in bounds.items() if value is not None})
    options: dict[str, Any]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 20 if panel.stacked else 5, "spanNulls": False,
            "insertNulls": False, "showPoints": "auto",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(panel.steps) > 1 else "off"},
        }  # fmt: skip
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0, "spanNulls": False, "insertNulls": False}
        defaults["mappings"] = [
            {"type": "value", "options": {"0": {"text": "no", "color": "green", "index": 0},
                                          "1": {"text": "yes", "color": "red", "index": 1}}}
        ]  # fmt: skip
        options = {
            "mergeValues": True, "showValue": "never", "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        }  # fmt: skip
    else:
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "auto",
            "textMode": "auto", "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        }  # fmt: skip
        if panel.kind == "bargauge":
            options = {
                "reduceOptions": options["reduceOptions"], "orientation": "horizontal", "displayMode": "basic",
                "valueMode": "color", "showUnfilled": True,
            }  # fmt: skip
    return {
        "id": number_, "type": panel.kind, "title": panel.title, "description": panel.description, "gridPos": place,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index), "datasource": SOURCE, "editorMode": "code", "expr": expr,
                "legendFormat": legend or "__auto", "instant": now, "range": not now,
            }
            for index, (expr, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }  # fmt: skip


def _annotations() -> list[dict[str, Any]]:
    def note(name: str, expr: str, title: str, colour: str, *, shown: bool = True) -> dict[str, Any]:
        return {
            "name": name, "enable": shown, "hide": False, "iconColor": colour, "datasource": SOURCE, "expr": expr,
            "titleFormat": title, "textFormat": "", "tagKeys": "severity,scope", "step": "60s",
            "useValueForTime": False,
        }  # fmt: skip

    asked_for = 'job:embedwatch_desired_workers:max{job="$job"}'
    return [
        {
            "name": "Annotations", "builtIn": 1, "enable": True, "hide": True, "iconColor": "rgba(0, 211, 255, 1)",
            "type": "dashboard", "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        },
        note("Alerts of Prometheus", 'ALERTS{job="$job", alertstate="firing"}', "{{alertname}}", "red"),
        note(
            "Rules of embedwatch that are breached",
            'max by (rule, severity, scope) (embedwatch_rule_breached{job="$job"}) == 1', "{{rule}}", "orange",
            shown=False,
        ),
        note(
            "Another number of workers was asked for", f"{asked_for} != {asked_for} offset 1m", "workers asked for",
            "blue",
        ),
    ]  # fmt: skip


def _variables() -> list[dict[str, Any]]:
    def asks(name: str, label: str, query: str, *, many: bool) -> dict[str, Any]:
        every_one = {"text": ["All"], "value": ["$__all"]} if many else {}
        return {
            "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "regex": "", "hide": 0,
            "multi": many, "includeAll": many, "allValue": ".*" if many else None, "current": every_one, "options": [],
        }  # fmt: skip

    return [
        {
            "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "regex": "",
            "refresh": 1, "hide": 0, "multi": False, "includeAll": False, "current": {}, "options": [],
        },
        asks("job", "Pipeline", "label_values(embedwatch_ready, job)", many=False),
        asks("model", "Model", 'label_values(embedwatch_texts_total{job="$job"}, model)', many=True),
        asks("tenant", "Tenant", 'label_values(embedwatch_texts_total{job="$job"}, tenant)', many=True),
    ]  # fmt: skip
