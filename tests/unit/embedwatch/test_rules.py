"""The rules file: what it may say, and that every mistake is shown where it stands, with what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.baselines import Baseline, write
from embedwatch.errors import ConfigError
from embedwatch.events import AlertType
from embedwatch.rules import (
    BUDGET_STEPS_PCT,
    DEFAULT_THRESHOLDS,
    MAX_RULES,
    MAX_WINDOW_SECONDS,
    METRICS,
    Rule,
    default_rules,
    duration,
    load_rules,
    parse_rules,
)
from embedwatch.yamlfile import YamlFile
from tests.harness.baselines import baseline


def parsed(text: str) -> tuple[Rule, ...]:
    return parse_rules(YamlFile("r.yaml", text))


def one(fields: str) -> Rule:
    (rule,) = parsed(f"rules:\n  - {{{fields}}}\n")
    return rule


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return str(caught.value).splitlines()


def mistake(fields: str) -> str:
    """The one mistake of a rule that stands in line 2."""
    (found,) = mistakes(f"rules:\n  - {{{fields}}}\n")
    assert found.startswith("r.yaml, line 2: ")
    return found.removeprefix("r.yaml, line 2: ")


def test_the_short_form_is_the_guides() -> None:
    text = "thresholds:\n" + "".join(f"  {metric}: {number}\n" for metric, number in DEFAULT_THRESHOLDS.items())
    rules = parsed(text)
    assert rules == default_rules() == load_rules(None)
    assert {rule.name: (rule.metric, rule.threshold, rule.severity) for rule in rules} == {
        metric: (metric, number, METRICS[metric].default_severity) for metric, number in DEFAULT_THRESHOLDS.items()
    }
    latency = rules[0]
    assert latency == Rule(
        "latency_p95_ms", "latency_p95_ms", 500.0, "HIGH_LATENCY", ">", "ms", window_seconds=60, min_samples=20
    )
    budget = next(rule for rule in rules if rule.metric == "daily_cost_usd")
    assert (budget.steps_pct, budget.window_seconds) == (BUDGET_STEPS_PCT, 0)


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"latency_regression_pct"}))
def test_every_metric_has_a_short_form(metric: str) -> None:
    (rule,) = parsed(f"thresholds: {{{metric}: 7}}")
    spec = METRICS[metric]
    assert (rule.alert_type, rule.comparison, rule.unit) == (spec.alert_type, spec.comparison, spec.unit)
    assert rule.window_seconds == (spec.default_window_seconds if spec.windowed else 0)


def test_every_alert_type_has_a_metric_or_is_said_to_come() -> None:
    # Two are of alerting itself: no rule finds them.
    assert {spec.alert_type for spec in METRICS.values()} == set(get_args(AlertType)) - {
        "ALERTING_BEHIND", "RECEIVER_FAILING",
    }  # fmt: skip


def test_the_long_form_says_everything() -> None:
    text = """
rules:
  - name: search-latency
    type: HIGH_LATENCY
    metric: latency_p99_ms
    threshold: 300.5
    window: 5m
    scope: {tenant: acme}
    by: [model]
    for: 30s
    keep_firing_for: 1m30s
    severity: critical
    min_samples: 7
    route: search
    text: "Look at <the> dashboard"
    runbook: https://wiki.example/search?a=1#b
"""
    (rule,) = parsed(text)
    assert rule == Rule(
        "search-latency", "latency_p99_ms", 300.5, "HIGH_LATENCY", ">", "ms", 300, "critical",
        scope=(("tenant", "acme"),), by=("model",), for_seconds=30, keep_firing_for_seconds=90, min_samples=7,
        route="search", text="Look at <the> dashboard", runbook="https://wiki.example/search?a=1#b",
    )  # fmt: skip


def test_both_forms_may_stand_in_one_file() -> None:
    rules = parsed("thresholds: {error_rate_pct: 1}\nrules:\n  - {name: x, metric: error_rate_pct, threshold: 5}\n")
    assert [rule.name for rule in rules] == ["error_rate_pct", "x"]


def test_a_type_alone_is_judged_by_its_usual_metric() -> None:
    assert one("type: HIGH_LATENCY, threshold: 1").metric == "latency_p95_ms"
    assert one("type: LOW_THROUGHPUT, threshold: 1").metric == "throughput_texts_per_s"


def test_scopes_and_dimensions_are_in_one_order() -> None:
    assert one("metric: error_rate_pct, threshold: 1, scope: {tenant: b, model: 3}").scope == (
        ("model", "3"), ("tenant", "b"),
    )  # fmt: skip
    assert one("metric: error_rate_pct, threshold: 1, by: [tenant, model, tenant]").by == ("model", "tenant")
    assert one("metric: error_rate_pct, threshold: 1, by: tenant").by == ("tenant",)


def test_a_regression_rule_has_its_baseline_read_and_a_limit_of_its_own() -> None:
    kept = baseline("v1")
    asked: list[str] = []

    def reading(name: str) -> Baseline:
        asked.append(name)
        return kept

    text = "rules: [{type: LATENCY_REGRESSION, baseline: v1, by: model}]"
    (rule,) = parse_rules(YamlFile("r.yaml", text), reading)
    assert rule.baseline is kept
    assert asked == ["v1"]
    assert (rule.metric, rule.threshold, rule.min_samples, rule.window_seconds, rule.by, rule.unit) == (
        "latency_regression_pct", 10.0, 200, 60, ("model",), "%",
    )  # fmt: skip


def test_a_baseline_is_found_beside_the_rules_file_and_its_mistakes_are_shown_at_its_line(tmp_path: Path) -> None:
    write(baseline("v1"), tmp_path / "baselines" / "v1.json")
    write(baseline("old"), tmp_path / "kept" / "old.json")
    path = tmp_path / "rules.yaml"
    for name in ("v1", "kept/old.json", str(tmp_path / "kept" / "old.json")):
        path.write_text(f"rules:\n  - metric: latency_regression_pct\n    baseline: {name}\n")
        (rule,) = load_rules(path)
        assert rule.baseline is not None
        assert rule.baseline.scopes["all"].latency.count == 1000
    (tmp_path / "baselines" / "broken.json").write_text("{}")
    for name, words in (
        ("broken", "is JSON, but no baseline"),
        ("none", "there is no baseline"),
        ("a b", "looked for"),
    ):
        path.write_text(f"rules:\n  - metric: latency_regression_pct\n    threshold: 20\n    baseline: {name}\n")
        with pytest.raises(ConfigError) as caught:
            load_rules(path)
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"rules file {path}, line 4: ")
        assert words in line


def test_steps_of_a_budget() -> None:
    assert one("metric: daily_cost_usd, threshold: 9, steps_pct: [100, 25.5, 100]").steps_pct == (25.5, 100.0)


def test_a_forecast_and_a_burn_rate_take_a_budget_in_usd_and_only_where_they_are_written() -> None:
    assert [rule.metric for rule in parsed("thresholds: {daily_cost_usd: 500}")] == ["daily_cost_usd"]
    forecast, burn = parsed("thresholds: {daily_forecast_usd: 500, budget_burn_pct: 500}")
    assert (forecast.alert_type, forecast.threshold, forecast.unit) == ("BUDGET_FORECAST", 500, "USD")
    assert (burn.alert_type, burn.threshold, burn.unit) == ("BUDGET_BURN_RATE", 500, "%")
    assert (forecast.steps_pct, burn.steps_pct) == ((), ())
    assert one("type: BUDGET_BURN_RATE, threshold: 20, by: [tenant]").metric == "budget_burn_pct"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("metric: daily_forecast_usd, threshold: 9, steps_pct: [50]", "steps_pct goes with daily_cost_usd only"),
        ("metric: budget_burn_pct, threshold: 9, window: 15m", "budget_burn_pct has no window"),
        ("metric: latency_p95, threshold: 1", "unknown metric 'latency_p95'; did you mean latency_p95_ms?"),
        ("metric: zzz, threshold: 1", "unknown metric 'zzz'; known are: "),
        ("metric: 3, threshold: 1", "unknown metric 3; known are: "),
        ("metric: [a], threshold: 1", "metric is a name, not a list"),
        ("type: {a: b}, threshold: 1", "type is a name, not a map"),
        ("type: HIGH_LATENCI, threshold: 1", "unknown type 'HIGH_LATENCI'; did you mean HIGH_LATENCY?"),
        ("type: high_latency, threshold: 1", "unknown type 'high_latency'; known are: "),
        ("type: LATENCY_REGRESSION, threshold: 1", "`baseline:` with a name or path"),
        ("type: HIGH_LATENCY, metric: queue_depth, threshold: 1", "queue_depth does not belong to HIGH_LATENCY"),
        ("threshold: 1", "a rule needs `metric:` or `type:`"),
        ("metric: queue_depth", "threshold is missing: a number in the metric's unit"),
        ("metric: queue_depth, threshold: lots", "threshold must be a number, is 'lots'"),
        ("metric: queue_depth, threshold: yes", "threshold must be a number, is True"),
        ("metric: queue_depth, threshold: .nan", "threshold must be a number, is nan"),
        ("metric: queue_depth, threshold: .inf", "threshold must be a number, is inf"),
        ("metric: queue_depth, threshold: [1]", "threshold must be a number, is [1]"),
        ("metric: queue_depth, threshold: -1", "threshold of queue_depth must be 0 or more, is -1"),
        ("metric: error_rate_pct, threshold: 101", "is a percentage between 0 and 100, is 101"),
        ("metric: queue_depth, threshold: 1, window: 10s", "queue_depth has no window: it is texts waiting"),
        ("metric: error_rate_pct, threshold: 1, window: 15s", "is a multiple of 10 s up to 1 h, is '15s'"),
        ("metric: error_rate_pct, threshold: 1, window: 10.5", "is a multiple of 10 s up to 1 h, is 10.5"),
        ("metric: error_rate_pct, threshold: 1, window: 0", "is a multiple of 10 s up to 1 h, is 0"),
        ("metric: error_rate_pct, threshold: 1, window: 2h", "is a multiple of 10 s up to 1 h, is '2h'"),
        ("metric: error_rate_pct, threshold: 1, window: soon", "window is a duration such as 30s, 5m or 1h"),
        ("metric: error_rate_pct, threshold: 1, window: ~", "window is a duration such as 30s, 5m or 1h, is None"),
        ("metric: error_rate_pct, threshold: 1, for: -3", "for is a duration such as 30s, 5m or 1h, is -3"),
        ("metric: error_rate_pct, threshold: 1, keep_firing_for: 5x", "keep_firing_for is a duration"),
        ("metric: error_rate_pct, threshold: 1, scope: acme", "scope is a map such as {model: NAME}, not a text"),
        ("metric: error_rate_pct, threshold: 1, scope: {modle: a}", "dimension 'modle'; did you mean model?"),
        ("metric: error_rate_pct, threshold: 1, scope: {model: ~}", "model in scope is a name, not nothing"),
        ("metric: error_rate_pct, threshold: 1, scope: {model: [a]}", "model in scope is a name, not a list"),
        ("metric: error_rate_pct, threshold: 1, by: {model: a}", "by is a list of model, tenant, not a map"),
        ("metric: error_rate_pct, threshold: 1, by: [tenants]", "dimension 'tenants'; did you mean tenant?"),
        ("metric: error_rate_pct, threshold: 1, by: [[a]]", "unknown dimension ['a']"),
        ("metric: error_rate_pct, threshold: 1, by: model, scope: {model: a}", "not in both"),
        ("metric: queue_depth, threshold: 1, by: model", "queue_depth exists for the whole pipeline only"),
        ("metric: lag_seconds, threshold: 1, scope: {model: a}", "lag_seconds exists for the whole pipeline only"),
        ("metric: queue_depth, threshold: 1, severity: high", "unknown severity 'high'; known are: critical, info, w"),
        ("metric: queue_depth, threshold: 1, severity: warn", "unknown severity 'warn'; did you mean warning?"),
        ("metric: queue_depth, threshold: 1, severity: [info]", "unknown severity ['info']"),
        ("metric: error_rate_pct, threshold: 1, min_samples: 0", "min_samples is a whole number from 1, is 0"),
        ("metric: error_rate_pct, threshold: 1, min_samples: 1.5", "min_samples is a whole number from 1, is 1.5"),
        ("metric: error_rate_pct, threshold: 1, min_samples: some", "min_samples must be a number, is 'some'"),
        ("metric: latency_regression_pct", "needs, in the long form, `baseline:` with a name or path"),
        ("metric: latency_regression_pct, baseline: 3", "baseline is a name or the path of a file, not 3"),
        ("metric: latency_regression_pct, baseline: v1", "baseline 'v1' cannot be read here"),
        ("metric: latency_p95_ms, threshold: 1, baseline: v1", "baseline goes with latency_regression_pct only"),
        ("metric: error_rate_pct, threshold: 1, steps_pct: [50]", "steps_pct goes with daily_cost_usd only"),
        ("metric: daily_cost_usd, threshold: 1, steps_pct: [0]", "steps_pct is a list of percentages such as"),
        ("metric: daily_cost_usd, threshold: 1, steps_pct: []", "steps_pct is a list of percentages such as"),
        ("metric: daily_cost_usd, threshold: 1, steps_pct: 50", "steps_pct is a list of percentages such as"),
        ("metric: queue_depth, threshold: 1, name: ''", "name is a text of 1 to 100 characters"),
        ("metric: queue_depth, threshold: 1, name: [a]", "name is a text of 1 to 100 characters"),
        ("metric: queue_depth, threshold: 1, name: 'a|b'", "a name holds no `|`"),
        ("metric: queue_depth, threshold: 1, route: no", "route is a text of 1 to 100 characters"),
        (f"metric: queue_depth, threshold: 1, text: {'x' * 2001}", "text is a text of 1 to 2000 characters"),
        ("metric: queue_depth, threshold: 1, runbook: 7", "runbook is an address such as https://wiki.example"),
        ("metric: queue_depth, threshold: 1, runbook: [a]", "runbook is an address such as https://wiki.example"),
        ("metric: queue_depth, threshold: 1, runbook: ''", "begins with http:// or https://"),
        ("metric: queue_depth, threshold: 1, runbook: wiki/search", "begins with http:// or https://"),
        ("metric: queue_depth, threshold: 1, runbook: 'javascript:alert(1)'", "begins with http:// or https://"),
        ("metric: queue_depth, threshold: 1, runbook: ' https://a.example'", "begins with http:// or https://"),
        ("metric: queue_depth, threshold: 1, runbook: 'https://'", "holds what no address may"),
        ("metric: queue_depth, threshold: 1, runbook: 'https://a b.example'", "holds what no address may"),
        ("metric: queue_depth, threshold: 1, runbook: 'https://a.example/<x>'", "holds what no address may"),
        ('metric: queue_depth, threshold: 1, runbook: "https://a.example/\\n"', "holds what no address may"),
        ("metric: queue_depth, threshold: 1, runbook: 'https://a.example/ü'", "holds what no address may"),
        ("metric: queue_depth, threshold: 1, runbook: 'https://u:p@a.example/'", "holds a user or password"),
        (f"metric: queue_depth, threshold: 1, runbook: 'https://a.example/{'x' * 483}'", "at most 500 characters"),
        ("metric: queue_depth, treshold: 1", "unknown field 'treshold'; did you mean threshold?"),
        ("metric: queue_depth, threshold: 1, 7: x", "unknown field 7; known are: "),
    ],
)
def test_each_mistake_says_where_what_and_what_is_allowed(fields: str, words: str) -> None:
    assert words in mistake(fields)


def test_a_mistake_is_shown_at_its_own_line_and_all_are_shown_at_once() -> None:
    text = """\
thresholds:
  latency_p95_ms: fast
  latncy_p99_ms: 3
rule: []
rules:
  - metric: error_rate_pct
    threshold: 1
    window: 15s
  - just a text
  - metric: error_rate_pct
    treshold: 1
    sevrity: info
"""
    found = mistakes(text)
    assert [line.split(": ")[0] for line in found] == [f"r.yaml, line {n}" for n in (4, 2, 3, 8, 9, 11, 12)]
    assert found[0].endswith("unknown entry 'rule'; did you mean rules?")
    assert found[2].endswith("unknown metric 'latncy_p99_ms'; did you mean latency_p99_ms?")
    assert found[4].endswith("a rule is a set of `name: value` lines, not a text")


def test_two_rules_of_one_name_are_shown_with_both_lines() -> None:
    text = """\
thresholds:
  error_rate_pct: 1
rules:
  - metric: error_rate_pct
    threshold: 5
  - {name: a, metric: queue_depth, threshold: 1}
  - {name: a, metric: lag_seconds, threshold: 1}
"""
    assert mistakes(text) == [
        "r.yaml, line 4: a rule called 'error_rate_pct' stands already in line 2; give each its own `name:`",
        "r.yaml, line 7: a rule called 'a' stands already in line 6; give each its own `name:`",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "r.yaml: expected `thresholds:` and/or `rules:`, found nothing"),
        ("hello", "r.yaml: expected `thresholds:` and/or `rules:`, found a text"),
        ("- a", "r.yaml: expected `thresholds:` and/or `rules:`, found a list"),
        ("thresholds: 5", "r.yaml, line 1: `thresholds` holds `metric: number` lines, not 5"),
        ("thresholds: [a]", "r.yaml, line 1: `thresholds` holds `metric: number` lines, not a list"),
        ("rules: {a: b}", "r.yaml, line 1: `rules` is a list (`- metric: ...`), not a map"),
        ("thresholds:\nrules:\n", "r.yaml: there is no rule in it; leave out --rules"),
        ("{}", "r.yaml: there is no rule in it; leave out --rules"),
        ("thresholds: {~: 1}", "a rule needs `metric:` or `type:`"),
    ],
)
def test_a_file_that_is_no_rules_file_is_refused(text: str, words: str) -> None:
    (found,) = mistakes(text)
    assert words in found


def test_the_longest_window_is_taken_and_a_longer_one_is_not() -> None:
    rule = "rules:\n  - {{name: r, metric: latency_p95_ms, threshold: 1, window: {}s}}\n"
    (longest,) = parsed(rule.format(MAX_WINDOW_SECONDS))
    assert longest.window_seconds == MAX_WINDOW_SECONDS
    (found,) = mistakes(rule.format(MAX_WINDOW_SECONDS + 10))
    assert "window" in found


def test_the_number_of_rules_is_bounded() -> None:
    text = "rules:\n" + "".join(f"  - {{name: r{n}, metric: queue_depth, threshold: 1}}\n" for n in range(MAX_RULES))
    assert len(parsed(text)) == MAX_RULES
    text += "  - {name: one more, metric: queue_depth, threshold: 1}\n"
    assert mistakes(text) == [f"r.yaml: {MAX_RULES + 1} rules; at most {MAX_RULES} are allowed"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30s", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800), ("1h30m", 5400), ("1h 30m", 5400), ("5 min", 300),
        (" 7 ", 7), ("90", 90),
        ("1.5m", 90), ("500ms", 0.5), ("10min", 600), ("3sec", 3), (45, 45), (0, 0), (2.5, 2.5),
    ],
)  # fmt: skip
def test_durations(value: Any, seconds: float) -> None:
    assert duration(value, "for") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    ["", " ", "s", "-3s", "1 week", "1h30x", "1.s", "1..5s", "5S", "1e3", None, True, [], {}, -1, float("nan"),
     float("inf"), "9" * 400, "1" * 50_000 + "!", "1s" * 20_000 + "!", "1m30", "1 2"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_and_that_at_once(value: Any) -> None:
    with pytest.raises(ValueError, match="for is a duration such as 30s, 5m or 1h") as caught:
        duration(value, "for")
    assert len(str(caught.value)) < 150


simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(simple, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(simple, inner, max_size=3))
entries = st.dictionaries(
    st.sampled_from([*(f.name for f in dataclasses.fields(Rule)), "type", "window", "for", "keep_firing_for"]) | simple,
    anything | st.sampled_from([*METRICS, "HIGH_LATENCY", "model", "10s", "info"]),
    max_size=6,
)


@given(data=st.dictionaries(st.sampled_from(["thresholds", "rules"]), st.lists(entries, max_size=3) | entries))
def test_whatever_stands_in_a_file_it_is_rules_or_lines_for_people(data: dict[str, Any]) -> None:
    file = YamlFile("r.yaml", "")
    file.data = data
    said = ""
    try:
        assert parse_rules(file)
    except ConfigError as error:
        said = str(error)
    assert all(line.startswith("r.yaml") for line in said.splitlines())


def test_a_file_is_read_and_named_in_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("thresholds: {latency_p95_ms: 300}\n")
    (rule,) = load_rules(path)
    assert rule.threshold == 300
    path.write_text("thresholds:\n  latency_p95: 300\n")
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    assert str(caught.value) == (
        f"rules file {path}, line 2: unknown metric 'latency_p95'; did you mean latency_p95_ms?"
    )
    with pytest.raises(ConfigError, match="check --rules or EMBEDWATCH_AGENTS_RULES"):
        load_rules(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", '"a\\nb"', "name holds a character that cannot be shown: '\\n' at position 2 of 'a\\nb'"),
        ("name", '"a\\u202eb"', "'\\u202e' at position 2"),
        ("name", '"\\e[31mred"', "'\\x1b' at position 1"),
        ("route", '"on\\tcall"', "route holds a character that cannot be shown: '\\t' at position 3"),
        ("text", '"look\\0"', "text holds a character that cannot be shown: '\\x00' at position 5"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_line_and_place(
    tmp_path: Path, field: str, value: str, words: str
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(f"rules:\n  - metric: latency_p95_ms\n    threshold: 20\n    {field}: {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"rules file {path}, line 4: ")
    assert words in line


def test_a_text_may_have_lines_and_a_name_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text('rules:\n  - {metric: queue_depth, threshold: 2, name: "Größe ✓", text: "one\\ntwo\\tthree"}\n')
    (rule,) = load_rules(path)
    assert (rule.name, rule.text) == ("Größe ✓", "one\ntwo\tthree")


@pytest.mark.parametrize(
    "address",
    [
        "http://wiki",
        "https://wiki.example:8443/a/b.html?c=d&e=%C3%BC#f",
        "HTTPS://Wiki.example",
        "http://[::1]:8080/x",
        "https://wiki.example/@team/(search)",
        "https://a.example/" + "x" * 482,
    ],
)
def test_a_runbook_is_an_address_as_a_browser_copies_it(address: str) -> None:
    assert one(f"metric: queue_depth, threshold: 1, runbook: '{address}'").runbook == address
    assert one("metric: queue_depth, threshold: 1").runbook is None
