"""JSON Schemas of the two files that people write: settings and rules. An editor shows mistakes while they are typed.

From the models that read the files. What a schema cannot say (of two settings that do not go together) the loader still
refuses; a test holds both against each other. Secrets have no default and no example.
"""

from __future__ import annotations

from typing import Any, get_args

from embedwatch.events import AlertType
from embedwatch.rules import (
    DAILY_METRICS,
    DIMENSIONS,
    MAX_RULES,
    METRICS,
    SEVERITIES,
)
from embedwatch.runbooks import MAX_RUNBOOK_CHARS
from embedwatch.settings import Settings, env_name

_HEAD = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
_ADDRESS = r"^https?://[\x21-\x7e]+$"
#: What validators look at beyond the types, as far as a pattern can say it.
_PATTERNS = {
    ("kafka", "bootstrap_servers"): r"^\s*[^,:\s][^,\s]*:\d{1,5}\s*(,\s*[^,:\s][^,\s]*:\d{1,5}\s*)*$",
    ("cache", "url"): r"^\s*(rediss?://[^/]|unix:)",
    ("worker", "api_base_url"): _ADDRESS,
    ("agents", "window_seconds"): r"^\s*\d{1,3}0\s*(,\s*\d{1,3}0\s*)*$",
    ("alerts", "slack_api_url"): _ADDRESS,
    ("alerts", "agents_url"): _ADDRESS,
    ("alerts", "pagerduty_url"): _ADDRESS,
    ("alerts", "dashboard_url"): _ADDRESS,
}


def config_schema() -> dict[str, Any]:
    """Of the file that `--config` names."""
    made = Settings.model_json_schema(by_alias=True)
    definitions = {name: _plain(each) for name, each in made["$defs"].items()}
    sections = {}
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert model is not None  # noqa: S101 (a section is a class)
        definition = definitions[model.__name__]
        definition.pop("description", None)
        for field, one in definition["properties"].items():
            one["description"] = f"{one.get('description', '')} ({env_name(section, field)})".strip()
            pattern = _PATTERNS.get((section, field))
            if pattern is not None:
                next(each for each in one.get("anyOf", [one]) if each.get("type") == "string")["pattern"] = pattern
        sections[section] = {"$ref": f"#/$defs/{model.__name__}"}
    at = definitions["AlertSettings"]["properties"]["digest_at"]
    # Without quotes YAML takes `off` for false, and some readers 09:30 for a number.
    at["anyOf"] = [
        {"type": "string", "pattern": r"^\s*(\d{1,2}:\d{2}(:\d{2})?|[oO][fF][fF]|[nN][oO][nN][eE]|)\s*$"},
        {"const": False}, {"type": "integer", "minimum": 0}, {"type": "null"},
    ]  # fmt: skip
    names = definitions["RouteSettings"]["properties"]
    for field in ("to", "mention"):
        names[field]["anyOf"].insert(0, {"type": "string"})
    several = names["match"]["additionalProperties"]
    names["match"]["additionalProperties"] = {"anyOf": [{"type": "string"}, several]}
    return {
        **_HEAD,
        "$id": "urn:embedwatch:config",
        "title": "embedwatch: settings",
        "description": "The file that --config or EMBEDWATCH_CONFIG names. Made by `make reference` from "
        "embedwatch/settings.py. Do not edit.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": sections,
        "$defs": definitions,
    }


def _plain(schema: Any) -> Any:
    """Without pydantic's titles, which repeat the names; bounds of a list are called as JSON Schema calls them."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _plain(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if out.get("type") == "array":
        for wrong, right in (("minLength", "minItems"), ("maxLength", "maxItems")):
            if wrong in out:
                out[right] = out.pop(wrong)
    return out


_UNIT = r"(ms|s|sec|m|min|h|d)"
_SPAN = r"\d{1,12}(\.\d{1,9})?"
DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*({_SPAN}|{_SPAN} ?{_UNIT}( ?{_SPAN} ?{_UNIT})*)\s*$"},
    ]
}


def rules_schema() -> dict[str, Any]:
    """Of the file that `--rules` names."""
    return {
        **_HEAD,
        "$id": "urn:embedwatch:rules",
        "title": "embedwatch: rules",
        "description": "The file that --rules or EMBEDWATCH_AGENTS_RULES names. Made by `make reference` from "
        "embedwatch/rules.py. Do not edit.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "thresholds": {
                "description": "the short form: a metric and its limit, for the whole pipeline",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    name: _threshold(name) | {"description": _about(name)}
                    for name, metric in METRICS.items()
                    if name != "latency_regression_pct"  # it needs a baseline: long form only
                },
            },
            "rules": {
                "description": "the long form: any number of rules a metric",
                "type": ["array", "null"],
                "maxItems": MAX_RULES,
                "items": _rule(),
            },
        },
        "anyOf": [
            {"required": ["thresholds"], "properties": {"thresholds": {"type": "object", "minProperties": 1}}},
            {"required": ["rules"], "properties": {"rules": {"type": "array", "minItems": 1}}},
        ],
    }


def _about(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.what}: {metric.alert_type} where {metric.comparison} this, in {metric.unit}"


def _threshold(name: str) -> dict[str, Any]:
    percent = {"maximum": 100} if name.endswith("_pct") and name not in DAILY_METRICS else {}
    kind: Any = "number" if METRICS[name].default_threshold is None else ["number", "null"]
    return {"type": kind, "minimum": 0, **percent}


def _text(longest: int, description: str, **more: Any) -> dict[str, Any]:
    """A name may look like a number."""
    one = {"type": "string", "minLength": 1, "maxLength": longest, **more}
    return {"anyOf": [one, {"type": "number"}, {"type": "null"}], "description": description}


def _rule() -> dict[str, Any]:
    def those(wanted: list[str], then: dict[str, Any]) -> dict[str, Any]:
        return {"if": {"required": ["metric"], "properties": {"metric": {"enum": wanted}}}, "then": then}

    def without(*fields: str) -> dict[str, Any]:
        return {"properties": {field: {"type": "null"} for field in fields}}

    names = list(METRICS)
    of = METRICS.items()
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": _text(100, "begins the alert's id; the metric's name without it", pattern=r"^[^|]*$"),
            "type": {"enum": [*sorted(get_args(AlertType)), None], "description": "in place of metric: its usual one"},
            "metric": {"enum": [*names, None], "description": "what is judged"},
            "threshold": {"type": ["number", "null"], "minimum": 0, "description": "the limit, in the metric's unit"},
            "window": {**DURATION, "description": "how far back: a multiple of 10 s, up to 1h"},
            "scope": {
                "type": ["object", "null"], "additionalProperties": False,
                "properties": {
                    each: {"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]} for each in DIMENSIONS
                },
                "description": "only this model, tenant or both",
            },
            "by": {
                "anyOf": [
                    {"enum": [*DIMENSIONS, None, ""]}, {"type": "array", "items": {"enum": list(DIMENSIONS)}},
                ],
                "description": "one alert for each model, tenant or both",
            },
            "for": {**DURATION, "description": "breached for so long before it fires"},
            "keep_firing_for": {**DURATION, "description": "fine for so long before it is over"},
            "severity": {"enum": list(SEVERITIES)},
            "min_samples": {"type": ["integer", "null"], "minimum": 1, "description": "with fewer nothing is judged"},
            "steps_pct": {
                "anyOf": [
                    {
                        "type": "array", "minItems": 1,
                        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
                    },
                    {"type": "null"},
                ],
                "description": "daily_cost_usd: shares of the budget at which it speaks",
            },
            "route": _text(100, "a word that alerts.routes may ask for"),
            "text": _text(2000, "shown with the alert"),
            "runbook": {
                "type": ["string", "null"], "maxLength": MAX_RUNBOOK_CHARS, "pattern": "^[hH][tT][tT][pP][sS]?://",
                "description": "an address, linked in the alert",
            },
            "baseline": {
                "type": ["string", "null"], "minLength": 1, "description": "`embedwatch baseline save` makes one"
            },
        },
        "anyOf": [
            {"required": ["metric"], "properties": {"metric": {"type": "string"}}},
            {"required": ["type"], "properties": {"type": {"type": "string"}}},
        ],
        "allOf": [
            those(
                [name for name, metric in of if metric.default_threshold is None],
                {"required": ["threshold"], "properties": {"threshold": {"type": "number"}}},
            ),
            those(
                [name for name in names if name.endswith("_pct") and name not in DAILY_METRICS],
                {"properties": {"threshold": {"maximum": 100}}},
            ),
            those([name for name, metric in of if not metric.windowed], {"not": {"required": ["window"]}}),
            those([name for name, metric in of if not metric.scoped], without("scope", "by")),
            those([name for name in names if name != "daily_cost_usd"], without("steps_pct")),
            those([name for name in names if name != "latency_regression_pct"], without("baseline")),
            those(
                ["latency_regression_pct"],
                {"required": ["baseline"], "properties": {"baseline": {"type": "string"}}},
            ),
        ],
    }  # fmt: skip
