"""The schemas of the files that people write: what is shipped and shown fits, and what the loader refuses does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from embedwatch.errors import ConfigError
from embedwatch.rules import METRICS, parse_rules
from embedwatch.settings import Settings, load
from embedwatch.yamlfile import YamlFile

ROOT = Path(__file__).parents[3]


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "reference" / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


CONFIG, RULES = validator("config.schema.json"), validator("rules.schema.json")


def examples() -> list[Any]:
    """YAML of the pages that holds settings or rules."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, block in enumerate(re.findall(r"```ya?ml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            data = yaml.safe_load(block)
            if isinstance(data, dict) and (
                set(data) <= {"thresholds", "rules"} or set(data) <= set(Settings.model_fields)
            ):
                found.append(pytest.param(data, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("data", examples())
def test_what_the_pages_show_fits(data: dict[str, Any]) -> None:
    schema = RULES if set(data) <= {"thresholds", "rules"} else CONFIG
    assert [error.message for error in schema.iter_errors(data)] == []


def test_the_pages_show_some() -> None:
    assert len(examples()) >= 3


@pytest.mark.parametrize(("name", "schema"), [("embedwatch.yaml", CONFIG), ("rules.yaml", RULES)])
def test_what_is_shipped_fits_and_names_its_schema(name: str, schema: Draft202012Validator) -> None:
    path = ROOT / "deploy" / name
    text = path.read_text(encoding="utf-8")
    assert [error.message for error in schema.iter_errors(yaml.safe_load(text))] == []
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named is not None
    wanted = f"{schema.schema['$id'].removeprefix('urn:embedwatch:')}.schema.json"
    assert (path.parent / named[1]).resolve() == ROOT / "docs" / "reference" / wanted


def test_the_shipped_settings_are_read() -> None:
    settings = load(ROOT / "deploy" / "embedwatch.yaml", None, {})
    assert settings.kafka.partitions == 24
    assert len(settings.alerts.routes) == 2


# --- settings ---

FIELDS = [
    pytest.param(section, field, id=f"{section}.{field}")
    for section, info in Settings.model_fields.items()
    for field in (info.annotation.model_fields if info.annotation else ())
]


def refused(data: Any, tmp_path: Path) -> bool:
    path = tmp_path / "embedwatch.yaml"
    path.write_text(yaml.safe_dump(data))
    try:
        load(path, None, {})
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize(("section", "field"), FIELDS)
def test_of_each_setting_the_schema_knows_the_type_and_the_default_and_says_what_it_means(
    section: str, field: str, tmp_path: Path
) -> None:
    model = Settings.model_fields[section].annotation
    assert model is not None
    one = CONFIG.schema["$defs"][model.__name__]["properties"][field]
    assert f"EMBEDWATCH_{section}_{field}".upper() in one["description"]
    default = json.loads(json.dumps(model.model_fields[field].get_default(call_default_factory=True), default=str))
    assert CONFIG.is_valid({section: {field: default}}) or default is None
    assert one.get("default") == default or field == "usd_per_million_tokens"
    wrong = {section: {field: [{"x": [1]}]}}
    assert refused(wrong, tmp_path)
    assert not CONFIG.is_valid(wrong)


@pytest.mark.parametrize(
    "data",
    [
        {"kafak": {}}, {"kafka": None}, {"kafka": 5}, [], "text", {"kafka": {"partition": 3}},
        {"kafka": {"partitions": 0}}, {"kafka": {"partitions": 10_001}}, {"kafka": {"bootstrap_servers": "broker"}},
        {"kafka": {"bootstrap_servers": "a:1,,b:2"}}, {"kafka": {"security_protocol": "TLS"}},
        {"worker": {"device": "gpu"}}, {"worker": {"api_base_url": "ftp://x"}}, {"agents": {"window_seconds": "55"}},
        {"alerts": {"digest_at": "nine"}}, {"alerts": {"routes": [{"match": {"severity": []}}]}},
        {"alerts": {"routes": [{"mach": {}}]}}, {"alerts": {"agents_url": "agents:6066"}},
        {"cache": {"url": "http://cache:6379"}}, {"scaling": {"utilization_pct": 101}},
    ],
)  # fmt: skip
def test_what_the_loader_refuses_of_settings_the_schema_refuses(data: Any, tmp_path: Path) -> None:
    assert refused(data, tmp_path)
    assert not CONFIG.is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        None, {}, {"alerts": {"digest_at": False}}, {"alerts": {"digest_at": "off"}}, {"alerts": {"digest_at": "7:05"}},
        {"alerts": {"routes": [{"to": "slack"}]}}, {"pricing": {"usd_per_million_tokens": {"m": 0.02, "n": "0.1"}}},
        {"cache": {"url": "redis://cache:6379/0"}}, {"cache": {"url": "unix:///run/x"}},
        {"agents": {"window_seconds": "60, 300"}}, {"kafka": {"bootstrap_servers": "a:1, [::1]:2"}},
    ],
)  # fmt: skip
def test_what_the_loader_takes_of_settings_fits(data: Any, tmp_path: Path) -> None:
    assert not refused(data, tmp_path)
    assert [error.message for error in CONFIG.iter_errors(data)] == []


def test_a_secret_has_no_default_and_no_example() -> None:
    text = json.dumps(CONFIG.schema)
    assert "examples" not in text
    secrets = [
        one
        for each in CONFIG.schema["$defs"].values()
        for one in each.get("properties", {}).values()
        if "writeOnly" in json.dumps(one)
    ]
    assert len(secrets) >= 8
    assert {one["default"] for one in secrets} == {None}


# --- rules ---


def no_rules(data: Any) -> bool:
    try:
        parse_rules(YamlFile("rules file", yaml.safe_dump(data)))
    except ConfigError:
        return True
    return False


P95 = {"metric": "latency_p95_ms", "threshold": 300}


@pytest.mark.parametrize(
    "data",
    [
        {}, None, [], {"thresholds": {}}, {"rules": []}, {"treshold": {"latency_p95_ms": 1}},
        {"thresholds": {"latency_p95": 1}}, {"thresholds": {"latency_p95_ms": "fast"}},
        {"thresholds": {"latency_p95_ms": None}}, {"thresholds": {"latency_p95_ms": -1}},
        {"thresholds": {"error_rate_pct": 101}}, {"thresholds": {"latency_regression_pct": 10}}, {"rules": [5]},
        {"rules": [{"threshold": 3}]}, {"rules": [{"metric": "latency_p95_ms"}]}, {"rules": [{**P95, "windw": "1m"}]},
        {"rules": [{**P95, "window": "1 fortnight"}]}, {"rules": [{**P95, "for": -3}]},
        {"rules": [{**P95, "severity": "bad"}]}, {"rules": [{**P95, "scope": {"colour": "red"}}]},
        {"rules": [{**P95, "scope": ["model"]}]}, {"rules": [{**P95, "by": ["colour"]}]},
        {"rules": [{**P95, "name": "a|b"}]}, {"rules": [{**P95, "min_samples": 0}]},
        {"rules": [{**P95, "min_samples": 1.5}]}, {"rules": [{**P95, "steps_pct": [50]}]},
        {"rules": [{**P95, "baseline": "v1"}]}, {"rules": [{**P95, "runbook": "wiki"}]},
        {"rules": [{**P95, "text": ""}]}, {"rules": [{"type": "NOISE", "threshold": 1}]},
        {"rules": [{"metric": "queue_depth", "threshold": 1, "window": "1m"}]},
        {"rules": [{"metric": "queue_depth", "threshold": 1, "by": "model"}]},
        {"rules": [{"metric": "daily_cost_usd", "threshold": 1, "steps_pct": [0]}]},
        {"rules": [{"metric": "latency_regression_pct"}]},
    ],
)  # fmt: skip
def test_what_the_loader_refuses_of_rules_the_schema_refuses(data: Any) -> None:
    assert no_rules(data)
    assert not RULES.is_valid(data)


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "latency_regression_pct"])
@pytest.mark.parametrize("form", ["short", "long"])
def test_each_metric_fits_in_both_forms(metric: str, form: str) -> None:
    short = {"thresholds": {metric: 10}}
    data = short if form == "short" else {"rules": [{"metric": metric, "threshold": 10, "for": "1h30m", "name": 7}]}
    assert not no_rules(data)
    assert [error.message for error in RULES.iter_errors(data)] == []


@pytest.mark.parametrize(
    "more",
    [
        {"window": 60}, {"window": "60"}, {"window": "1m 30s"}, {"for": "500ms"}, {"by": "model"}, {"by": None},
        {"scope": None}, {"scope": {"tenant": 7}}, {"severity": "info"}, {"min_samples": 20.0}, {"text": "a\nb"},
        {"runbook": "https://wiki.example/x"}, {"steps_pct": None}, {"type": "HIGH_LATENCY"},
    ],
)  # fmt: skip
def test_what_the_loader_takes_of_rules_fits(more: dict[str, Any]) -> None:
    data = {"rules": [{**P95, **more}]}
    assert not no_rules(data)
    assert [error.message for error in RULES.iter_errors(data)] == []
