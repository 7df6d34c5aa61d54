"""deploy/prometheus against the code: names, labels, thresholds, words; and by Prometheus's own checker."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from alerting.phrases import ACTIONS, TITLES
from embedwatch import runbooks
from embedwatch.events import AlertType, Severity
from embedwatch.rules import BUDGET_STEPS_PCT, DEFAULT_THRESHOLDS, METRICS, load_rules
from stream_agents.compute.budget import FAST, SLOW
from tests.harness.promql import PROMETHEUS, mistakes, recorded, rules
from tests.harness.requirements import need_promtool

ALERTS = rules("alerts.yml")
RECORDS = rules("recording.yml")
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments: object) -> str:
    done = subprocess.run(
        [need_promtool(), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert "2 rule files found" in said
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted((PROMETHEUS / "rules").glob("*.yml")))
    for count in (len(ALERTS), len(RECORDS)):
        assert f"SUCCESS: {count} rules found" in said


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_the_kubernetes_example_is_right_too(tmp_path: Path) -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    _, found, example = text.partition("EMBEDWATCH_AGENTS_WEB_HOST=0.0.0.0.\n")
    assert found
    jobs = re.sub(r"^  # ?", "  ", example, flags=re.M)
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs:\n" + jobs, encoding="utf-8")
    (job,) = yaml.safe_load(config.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["job_name"] == "embedwatch"
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["embedwatch"]}}]
    # Debian builds its Prometheus without Kubernetes: the rest of the job is what it can check.
    config.write_text(yaml.safe_dump({"scrape_configs": [{**job, "static_configs": [{"targets": ["a:1"]}]}]}))
    promtool("check", "config", "--syntax-only", config)


@pytest.mark.parametrize("rule", [*RECORDS, *ALERTS], ids=lambda rule: rule.get("record") or rule["alert"])
def test_what_a_rule_asks_for_is_there(rule: dict[str, Any]) -> None:
    assert list(mistakes(rule["expr"])) == []


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("embedwatch_no_such_thing > 1", "exposed by nobody"),
        ('embedwatch_latency_seconds{percentile="0.95"}', "no label percentile"),
        ("sum by (job, colour) (embedwatch_workers)", "a label colour"),
        ("embedwatch_workers / embedwatch_desired_workers", "may be 0"),
        ("embedwatch_workers or vector(0)", "0 for what is not known"),
        ('embedwatch_latency_seconds{quantile="0.95"} > 0.5 and on (tenant) embedwatch_ready', "a label tenant"),
    ],
)
def test_a_wrong_expression_would_be_noticed(expr: str, says: str) -> None:
    assert any(says in mistake for mistake in mistakes(expr))


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_a_recorded_name_is_level_metric_operations(rule: dict[str, Any]) -> None:
    level, metric, operations = rule["record"].split(":")
    assert level.split("_")[0] == "job"
    assert metric.startswith("embedwatch_")
    assert operations
    # What the outermost aggregation leaves is what the name says.
    outer = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    assert outer is not None
    if "group_right" not in rule["expr"]:
        assert [label.strip() for label in outer[1].split(",")] == level.split("_")
    assert recorded()[rule["record"]] == set(level.split("_"))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_what_and_what_to_do(rule: dict[str, Any]) -> None:
    labels, words = rule["labels"], rule["annotations"]
    assert labels["severity"] in get_args(Severity)
    assert set(words) <= {"summary", "description", "action", "runbook_url"}
    assert words["summary"]
    assert "$value" in words["description"] or "$labels" in words["description"] or "No agents" in words["description"]
    kind = labels.get("alert_type")
    if kind is not None:
        assert kind in get_args(AlertType)
        assert words["action"] == ACTIONS[kind], "the same words as in a message of ours"
        if kind not in ("BUDGET_EXCEEDED", "NO_DATA"):
            assert words["summary"].lower() == TITLES[kind].lower()
    if "runbook_url" in words:
        assert runbooks.mistake(words["runbook_url"]) is None
    assert "for" in rule
    assert re.fullmatch(r"Embedwatch[A-Z]\w+", rule["alert"])


def limit(alert: str, name: str) -> float:
    """The number that a series is held against."""
    (rule,) = [rule for rule in ALERTS if rule["alert"] == alert]
    found = re.search(rf"{re.escape(name)}(?:{{[^}}]*}})?\)? [<>]=? ([\d.]+)", rule["expr"])
    assert found is not None, rule["expr"]
    return float(found[1])


def test_thresholds_are_those_of_the_rules_of_embedwatch(root: Path) -> None:
    default = DEFAULT_THRESHOLDS
    assert limit("EmbedwatchHighLatency", "embedwatch_latency_seconds:max") == default["latency_p95_ms"] / 1000
    assert limit("EmbedwatchHighErrorRate", "error_ratio:max") == default["error_rate_pct"] / 100
    assert limit("EmbedwatchLowCacheHitRate", "cache_hit_ratio:max") == default["cache_hit_rate_pct"] / 100
    assert limit("EmbedwatchHighQueueDepth", "queue_depth_texts:max") == default["queue_depth"]
    assert limit("EmbedwatchUnpricedTokens", "tokens_last_minute:max") == default["unpriced_tokens"]
    assert limit("EmbedwatchRejectedEvents", "last_900_seconds") == default["rejected_events"]
    assert limit("EmbedwatchWorkersSilent", "workers_silent_seconds:max") == default["workers_silent_seconds"]
    assert limit("EmbedwatchWorkerSilent", "worker_silent_seconds:max") == default["worker_silent_seconds"]
    steps = [limit(f"EmbedwatchBudget{name}", "spent:ratio") for name in ("HalfSpent", "NearlySpent", "Exceeded")]
    assert steps == [step / 100 for step in BUDGET_STEPS_PCT]
    (burn,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "EmbedwatchBudgetBurnRate"]
    for window in (FAST, SLOW):
        assert f'{{window="{window.name}"}} > {window.limit_pct / 100:g}' in burn
    for alert, series, metric in (
        ("EmbedwatchHighLatency", "texts_last_minute:max", "latency_p95_ms"),
        ("EmbedwatchHighErrorRate", "texts_last_minute:max", "error_rate_pct"),
        ("EmbedwatchLowCacheHitRate", "lookups_last_minute:max", "cache_hit_rate_pct"),
    ):
        assert limit(alert, series) == METRICS[metric].min_samples
    deployed = {rule.metric: rule for rule in load_rules(root / "deploy" / "rules.yaml")}
    assert limit("EmbedwatchQueueStalled", "stalled_partitions:max") == deployed["stalled_partitions"].threshold
    assert limit("EmbedwatchQueueFailing", "error_ratio:max") == deployed["queue_failing_pct"].threshold / 100
    assert limit("EmbedwatchQueueFailing", "texts_last_minute:max") == METRICS["queue_failing_pct"].min_samples
    for alert, series, metric in (
        ("EmbedwatchHighLag", "queue_lag_seconds:max", "lag_seconds"),
        ("EmbedwatchAtCapacity", "desired_workers:max", "workers_over_capacity"),
        ("EmbedwatchCacheUnavailable", "cache_errors_last_minute:max", "cache_errors"),
    ):
        assert limit(alert, series) == deployed[metric].threshold
        (rule,) = [rule for rule in ALERTS if rule["alert"] == alert]
        wait = {"s": 1, "m": 60}[rule["for"][-1]] * int(rule["for"][:-1])
        assert wait == deployed[metric].for_seconds
    assert {rule.alert_type for rule in deployed.values()} <= {rule["labels"].get("alert_type") for rule in ALERTS}


def test_every_alert_is_tested_to_fire_to_be_silent_about_the_unknown_and_to_end() -> None:
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    for rule in ALERTS:
        name = rule["alert"]
        mine = {case["name"]: case for case in cases if case["name"].split()[0] == name}
        (fires,) = [case for title, case in mine.items() if title.endswith("fires and ends")]
        seen = [bool(check["exp_alerts"]) for check in fires["alert_rule_test"]]
        assert seen == [False, True, False], name
        silent = [case for title, case in mine.items() if "is silent where" in title]
        assert len(silent) >= 2, name
        assert all(check["exp_alerts"] == [] for case in silent for check in case["alert_rule_test"])
        assert all({check["alertname"] for check in case["alert_rule_test"]} == {name} for case in mine.values())


def test_the_job_that_alerts_name_is_the_one_that_is_scraped() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    named = {name for rule in ALERTS for name in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert named == {job["job_name"]}
    assert job["static_configs"] == [{"targets": ["agents:6066"]}]
