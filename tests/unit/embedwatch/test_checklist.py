"""The guide's checklist: every point over made answers, and all of it over the agents' own routes."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedwatch.agents_api import AgentsApi
from embedwatch.baselines import write
from embedwatch.checklist import CRITICAL, Checklist, Facts, Point, amount, evaluate
from embedwatch.checklist_facts import gather
from embedwatch.processes import free_port
from embedwatch.rules import default_rules
from embedwatch.settings import KafkaSettings, Settings
from tests.harness.agents_log import log_of, runtime_on
from tests.harness.agents_web import busy_runtime
from tests.harness.baselines import baseline

SUMMARY: dict[str, Any] = {
    "window_seconds": 3600,
    "performance": {
        "latency_ms": {"p50": 40.0, "p95": 90.0, "p99": 120.0, "avg": 45.0},
        "throughput_texts_per_s": 20.0,
        "texts": 1000,
        "error_rate_pct": 0.5,
    },
    "cache": {"hits": 600, "misses": 400, "hit_rate_pct": 60.0},
    "today": {
        "day": "2026-11-25", "timezone": "UTC", "texts": 1000, "cache_hits": 600, "misses": 400,
        "tokens_embedded": 50_000, "unpriced_tokens": 0, "cost_state": "known", "saved_state": "known",
        "cost_usd": 0.001, "saved_usd": 0.0015,
    },
    "queue": {"depth_texts": 12},
    "workers": [{"model_load_seconds": 4.0, "gpus": [{"utilization_pct": 80.0}, {"utilization_pct": None}]}],
}  # fmt: skip
VERDICTS = tuple(
    {
        "alert_id": f"{rule.name}|all", "type": rule.alert_type, "metric": rule.metric, "scope": {}, "judgement": "ok",
        "value": 1.0, "threshold": rule.threshold, "comparison": rule.comparison, "unit": rule.unit,
    }
    for rule in default_rules()
)  # fmt: skip
REGRESSION = {
    "alert_id": "slower|all", "type": "LATENCY_REGRESSION", "metric": "latency_regression_pct", "judgement": "ok"
}  # fmt: skip
FACTS = Facts(
    agents_url="http://agents:6066",
    summary=SUMMARY,
    verdicts=(*VERDICTS, REGRESSION),
    metrics_series=120,
    closed_windows=9,
    page_title="embedwatch",
    baselines=("before",),
    receivers={"slack": True},
    alerting_members=2,
    alerts_by_status={"firing": 1, "resolved": 4},
)


def point(found: Checklist, words: str) -> Point:
    (one,) = [each for each in found.points if words in each.name]
    return one


def changed(*path_and_value: Any) -> Facts:
    """With another value somewhere in the summary."""
    summary = copy.deepcopy(SUMMARY)
    *path, last, value = path_and_value
    at = summary
    for name in path:
        at = at[name]
    at[last] = value
    return replace(FACTS, summary=summary)


def test_a_whole_pipeline_ticks_all_and_each_tick_has_its_evidence() -> None:
    found = evaluate(FACTS)
    assert found.complete
    assert [each.fix for each in found.points] == [""] * 17
    assert all(re.search(r"\d", each.evidence) for each in found.points)
    assert point(found, "Latency").evidence == (
        "p50 / p95 / p99 40.0 / 90.0 / 120.0 ms over 1,000 texts (summary of the last 3600 s)"
    )
    assert "2 alerting processes in the group; states: 1 firing, 4 resolved" in point(found, "Alerting system").evidence


def test_the_points_are_those_of_the_guide_in_its_groups() -> None:
    found = evaluate(FACTS)
    groups = [each.group for each in found.points]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [5, 4, 4, 4]


@pytest.mark.parametrize(
    ("facts", "name", "state", "evidence", "fix"),
    [
        (changed("performance", "texts", 0), "Latency", "unknown", "no text", "embedwatch produce"),
        (changed("performance", "texts", 0), "Error rate", "unknown", "no text", "embedwatch worker"),
        (changed("performance", "texts", 0), "Percentile", "unknown", "no text", "embedwatch produce"),
        (changed("performance", "latency_ms", "p99", None), "Latency", "unknown", "no text got a vector", "dlq list"),
        (changed("performance", "throughput_texts_per_s", None), "Throughput", "unknown", "not looked", "10 s"),
        (changed("today", "texts", 0), "Cost tracking", "unknown", "booked today", "embedwatch produce"),
        (
            changed("today", "cost_state", "partial"), "Cost tracking", "not", "at no known price",
            "EMBEDWATCH_PRICING_GPU_USD_PER_HOUR",
        ),
        (changed("today", "saved_state", "unknown"), "Cost breakdown", "not", "not all known", "pricing."),
        (changed("today", "cost_usd", None), "Cost breakdown", "not", "not all known", "usd_per_million_tokens"),
        (changed("cache", "hit_rate_pct", None), "Cache hit rate", "unknown", "looked for in a cache", "produce"),
        (replace(FACTS, metrics_series=0), "storage", "not", "no series of ours", "--agents-url"),
        (replace(FACTS, metrics_series=None, reasons={"metrics": "status 403"}), "storage", "not", "status 403", ""),
        (replace(FACTS, receivers={}), "Alerting system", "unknown", "of its own settings", "embedwatch alerts"),
        (
            replace(FACTS, receivers={}, alerting_members=0), "Alerting system", "not", "only be printed",
            "SLACK_BOT_TOKEN",
        ),
        (replace(FACTS, receivers={"slack": False}), "Alerting system", "not", "slack did not answer", "alerts test"),
        (replace(FACTS, receivers=None), "Alerting system", "unknown", "could not be asked", "embedwatch check"),
        (replace(FACTS, alerting_members=0), "Alerting system", "not", "no member", "embedwatch alerts"),
        (
            replace(FACTS, alerting_members=None, reasons={"alerting": "no broker"}), "Alerting system", "unknown",
            "no broker", "embedwatch check",
        ),
        (replace(FACTS, page_title=None), "Dashboard", "unknown", "cannot be seen", "embedwatch report"),
        (replace(FACTS, baselines=()), "Baseline", "not", "no baseline in baselines", "embedwatch baseline save"),
        (replace(FACTS, verdicts=VERDICTS), "regression", "not", "no rule compares", "LATENCY_REGRESSION"),
    ],
)  # fmt: skip
def test_what_is_not_so_says_what_makes_it_so(facts: Facts, name: str, state: str, evidence: str, fix: str) -> None:
    found = evaluate(facts)
    one = point(found, name)
    assert one.state == state
    assert evidence in one.evidence
    assert fix in one.fix
    assert one.fix
    assert not found.complete


@pytest.mark.parametrize("metric", CRITICAL)
def test_without_a_rule_its_point_and_the_thresholds_are_not_ticked(metric: str) -> None:
    without = replace(FACTS, verdicts=tuple(row for row in FACTS.verdicts if row["metric"] != metric))
    gone = [each for each in evaluate(without).points if each.state == "not"]
    assert metric in point(evaluate(without), "Thresholds").evidence
    assert len(gone) == (1 if metric == "queue_depth" else 2)
    assert all("thresholds:" in each.fix for each in gone)


def test_agents_that_answer_nothing_of_what_is_looked_for_tick_nothing_and_break_nothing() -> None:
    found = evaluate(Facts("http://agents:6066", {}, ()))
    assert found.ticked == 0
    assert all(each.fix for each in found.points)
    assert {each.kept for each in found.targets} == {"unknown"}


def test_large_numbers_are_written_as_people_do() -> None:
    assert [amount(value) for value in (1_234_567.0, 12_346.0, 29.787, 0.5)] == ["1,234,567", "12,346", "29.79", "0.5"]


def test_targets_are_told_beside_what_is_measured_and_absence_is_no_number() -> None:
    found = {each.name: each for each in evaluate(FACTS).targets}
    assert {name: each.kept for name, each in found.items()} == {
        "latency p95, one text": "unknown", "latency p95, a batch (API)": "unknown", "latency p95, local": "unknown",
        "throughput (API)": "unknown", "throughput, local GPU": "unknown", "cache hit rate": "no", "error rate": "yes",
        "queue depth": "yes", "model load, the slowest worker": "yes", "GPU utilization, the mean": "yes",
    }  # fmt: skip
    assert found["latency p95, local"].absent == "not seen"
    without = {each.name: each for each in evaluate(changed("workers", [])).targets}
    assert without["GPU utilization, the mean"].kept == "unknown"


def of_model(p95: float, *, texts: int, batches: int, hits: int = 0, rate: float = 20.0, **more: Any) -> dict[str, Any]:
    """A summary of a model whose texts, but for the hits, came in so many batches."""
    spent = 1000.0
    return {
        "performance": {
            "latency_ms": {"p95": p95}, "texts": texts, "throughput_texts_per_s": rate,
            "phases": {"embed": {"per_batch_ms": spent / batches, "per_text_ms": spent / texts}},
        },
        "cache": {"hits": hits, "duplicates": 0}, **more,
    }  # fmt: skip


def judged(models: dict[str, Any], **more: Any) -> dict[str, tuple[float | None, str]]:
    found = evaluate(replace(FACTS, models=models, **more)).targets[:5]
    return {each.name: (each.value, each.kept) for each in found}


GPU_WORKER = {"model": "e5", "role": "worker", "gpus": [{"utilization_pct": 70.0}]}


def test_each_target_is_held_against_calls_of_its_own_kind() -> None:
    """Each p95 would break or keep another target than its own."""
    unseen = (None, "unknown")
    single = of_model(150.0, texts=40, batches=30, hits=10)
    batch = of_model(400.0, texts=640, batches=20, rate=10.0)
    local = of_model(60.0, texts=640, batches=20, rate=90.0, workers=[GPU_WORKER])
    assert judged({"text-embedding-3-small": single}) == {
        "latency p95, one text": (150.0, "no"), "latency p95, a batch (API)": unseen, "latency p95, local": unseen,
        "throughput (API)": (1200.0, "yes"), "throughput, local GPU": unseen,
    }  # fmt: skip
    assert judged({"text-embedding-3-small": single, "text-embedding-3-large": batch, "e5": local}) == {
        "latency p95, one text": (150.0, "no"), "latency p95, a batch (API)": (400.0, "yes"),
        "latency p95, local": (60.0, "no"), "throughput (API)": (1800.0, "yes"),
        "throughput, local GPU": (5400.0, "yes"),
    }  # fmt: skip
    # Paid by the hour and without a GPU: local, and not what the guide says of GPUs.
    by_hour = judged({"e5": {**of_model(40.0, texts=10, batches=10), "today": {"gpu_hour_nano_usd": 5}}})
    assert by_hour["latency p95, local"] == (40.0, "yes")
    assert by_hour["throughput, local GPU"] == by_hour["latency p95, one text"] == unseen
    # Neither local nor bought, as far as can be told: batches are held against nothing.
    assert judged({"ours": batch}) == dict.fromkeys(by_hour, unseen)


def test_models_that_were_not_asked_for_are_told_beside_what_was_not_seen() -> None:
    found = evaluate(replace(FACTS, models_unknown="only 20 of 31 models were looked at")).targets[0]
    assert found.where == "no such call in the summary of the last 3600 s; only 20 of 31 models were looked at"


# --- asked: the agents' own routes ---


@pytest.fixture
def nobody() -> Settings:
    """No broker."""
    return Settings(kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_seconds=0.3))


def test_it_is_asked_of_the_agents_and_what_cannot_be_asked_has_its_reason(
    serve: Any, nobody: Settings, tmp_path: Path
) -> None:
    write(baseline("v1"), tmp_path / "v1.json")
    (tmp_path / "other.json").write_text("{}")
    told: list[float] = []
    with AgentsApi(serve(busy_runtime())) as api:
        facts = gather(nobody, api, window_seconds=300, baselines=tmp_path, told=told.append)
    assert told == sorted(told)
    assert (told[0], len(told)) == (0.0, 8)
    assert told[-1] < 100
    assert facts.baselines == ("v1",)
    assert sorted(facts.models) == ["m", "slow"]
    assert facts.models_unknown == ""
    assert facts.metrics_series is not None
    assert facts.metrics_series > 50
    assert facts.receivers == {}
    assert facts.alerting_members is None
    assert "nothing listens there" in facts.reasons["alerting"]
    found = evaluate(facts)
    states = {each.name: each.state for each in found.points}
    assert [name for name, state in states.items() if state != "ticked"] == [
        "Alerting system configured", "Performance regression detection",
    ]  # fmt: skip
    assert "14 hits saved $0.000001" in point(found, "Cost breakdown").evidence


def test_the_command_says_it_in_words_and_as_json(run: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("EMBEDWATCH_KAFKA_CONNECT_TIMEOUT_SECONDS", "0.3")
    url = serve(busy_runtime())
    code, out, err = run("checklist", "--agents-url", url, "--window-seconds", "300")
    assert (code, err) == (1, "")
    assert "[x] Latency tracking (p50, p95, p99): p50 / p95 / p99 2,000.0" in out
    assert "[ ] Alerting system configured: receivers: by the settings given here alerts would only be printed" in out
    assert "      -> `embedwatch baseline save NAME`" in out
    assert "of 17 ticked" in out
    assert "cache hit rate: 29.79 %, target > 60 %: no" in out
    assert "latency p95, one text: not seen, target < 100 ms (no such call in the summary of the last 300 s)" in out
    assert re.search(r"latency p95, local: [\d.,]+ ms, target < 50 ms: \w+ \(m, summary of the last 300 s\)", out)
    code, out, err = run("checklist", "--agents-url", url, "--window-seconds", "300", "--json")
    assert (code, err) == (1, "")
    told = json.loads(out)
    assert (told["of"], len(told["points"])) == (17, 17)
    assert told["ticked"] == sum(each["state"] == "ticked" for each in told["points"])


def test_agents_that_have_seen_nothing_tick_no_measurement(serve: Any, nobody: Settings, tmp_path: Path) -> None:
    runtime = runtime_on(log_of())
    runtime.recover({}, {0})
    with AgentsApi(serve(runtime)) as api:
        found = evaluate(gather(nobody, api, window_seconds=300, baselines=tmp_path))
    assert {each.state for each in found.points[:5]} == {"unknown"}


def test_without_agents_it_is_exit_code_four(run: Any) -> None:
    code, out, err = run("checklist", "--agents-url", f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (4, "")
    assert "embedwatch agents" in err
