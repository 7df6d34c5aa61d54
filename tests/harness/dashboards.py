"""The dashboards of deploy/grafana, and what they ask Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
_VALUES = {"job": "embedwatch", "model": ".*", "tenant": ".*", "__rate_interval": "5m", "__interval": "15s"}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def filled(expr: str) -> str:
    """With values in place of the variables. Raises `KeyError` for a variable that nobody sets."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: _VALUES[found[1]], expr)


def targets() -> Iterator[tuple[str, str]]:
    """(whose, expression as written) of every panel and annotation."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']} {target['refId']}", target["expr"]
        for note in dashboard["annotations"]["list"]:
            if "expr" in note:
                yield f"{name}: {note['name']}", note["expr"]
