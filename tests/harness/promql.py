"""What a PromQL expression asks for: names, labels it selects by, labels it groups and matches by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from embedwatch.metric_families import every
from stream_agents.web.families import FAMILIES

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
#: Labels that Prometheus adds to what it scrapes.
TARGET = frozenset({"job", "instance"})
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w:])([a-zA-Z_][\w:]*)(?![\w:]*\s*\()")
_WORDS = frozenset(
    (
        "and",
        "or",
        "unless",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "offset",
        "bool",
        "inf",
        "nan",
    )
)


@dataclass
class Asked:
    """`selected` by name of the series."""

    names: set[str] = field(default_factory=set)
    selected: dict[str, set[str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)


def asked(expr: str) -> Asked:
    found = Asked()
    bare = _TEXT.sub('""', expr)
    for name, inside in _SELECTOR.findall(bare):
        found.names.add(name)
        found.selected.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
    for inside in _GROUPING.findall(bare):
        found.grouped |= {label.strip() for label in inside.split(",") if label.strip()}
    rest = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub(" ", re.sub(r"\{[^}]*\}", "", bare)))
    found.names |= {name for name in _NAME.findall(rest) if name.lower() not in _WORDS}
    return found


def exposed() -> dict[str, set[str]]:
    """Labels by series, as Prometheus has them of the agents."""
    known = {name: {*family.labels, *TARGET} for family in every(FAMILIES) for name in family.series}
    return {**known, "up": set(TARGET)}


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file of deploy/prometheus/rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules" / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> dict[str, set[str]]:
    """Labels by series that the recording rules make, by their level."""
    names = [rule["record"] for rule in rules("recording.yml")]
    return {name: set(name.partition(":")[0].split("_")) for name in names}


def mistakes(expr: str) -> Iterator[str]:
    """What an expression asks for and nobody gives; what it divides by that may be 0; what it makes 0 of unknown."""
    known, found = {**exposed(), **recorded()}, asked(expr)
    # Alerts are series of Prometheus itself.
    known["ALERTS"] = {"alertname", "alertstate", "severity", "job"}
    for name in sorted(found.names - set(known)):
        yield f"{name} is exposed by nobody"
    for name, labels in found.selected.items():
        for label in sorted(labels - known.get(name, labels)):
            yield f"{name} has no label {label}"
    of_all = set().union(*(known.get(name, set()) for name in found.names))
    for label in sorted(found.grouped - of_all):
        yield f"none of {sorted(found.names)} has a label {label}"
    if "/" in _TEXT.sub('""', expr) and "> 0" not in expr:
        yield "what it divides by may be 0"
    if re.search(r"\bvector\s*\(", expr) or re.search(r"\bor\s+0\b(?!\s*\*)", expr):
        yield "it shows 0 for what is not known"
