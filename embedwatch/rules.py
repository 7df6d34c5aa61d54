"""The rules file: what is judged, over which window, with which limit. Parsed and checked as a whole before start.

Short form, one number a metric, as in the guide:

    thresholds:
      latency_p95_ms: 500
      daily_cost_usd: 100

Long form, any number of rules a metric:

    rules:
      - name: search-latency
        metric: latency_p95_ms
        threshold: 300
        window: 1m
        scope: {model: all-MiniLM-L6-v2}   # or  by: [model, tenant]  for one alert each
        for: 30s
        severity: critical

Every mistake is reported with its line, what was found and what is allowed. `stream_agents.compute.judge` applies them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedwatch import runbooks
from embedwatch.baselines import FOLDER, Baseline, find
from embedwatch.errors import ConfigError, InputError
from embedwatch.events import AlertType, Severity
from embedwatch.regression import MIN_SHARE_PCT, MIN_TEXTS
from embedwatch.yamlfile import YamlFile, closest, read_yaml

PANE_SECONDS = 10
MAX_WINDOW_SECONDS = 3600
MAX_RULES = 1000
DIMENSIONS = ("model", "tenant")
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Metric:
    """What can be judged. `windowed=False`: a present state (queue depth) or a day's sum (cost)."""

    alert_type: AlertType
    comparison: str
    unit: str
    windowed: bool = True
    min_samples: int = 1
    scoped: bool = True  # False: only of the whole pipeline
    default_threshold: float | None = None
    default_window_seconds: int = 60
    window_step_seconds: int = PANE_SECONDS
    default_severity: Severity = "warning"
    what: str = ""


METRICS: dict[str, Metric] = {
    "latency_p50_ms": Metric("HIGH_LATENCY", ">", "ms", min_samples=20, what="median latency of a text"),
    "latency_p95_ms": Metric("HIGH_LATENCY", ">", "ms", min_samples=20, what="95 % of the texts are faster"),
    "latency_p99_ms": Metric("HIGH_LATENCY", ">", "ms", min_samples=100, what="99 % of the texts are faster"),
    "latency_avg_ms": Metric("HIGH_LATENCY", ">", "ms", min_samples=20, what="mean latency of a text"),
    "latency_max_ms": Metric("HIGH_LATENCY", ">", "ms", what="slowest text"),
    "latency_regression_pct": Metric(
        "LATENCY_REGRESSION",
        ">",
        "%",
        min_samples=MIN_TEXTS,
        default_threshold=MIN_SHARE_PCT,
        what="texts slower than 95 % of a baseline's",
    ),
    "error_rate_pct": Metric("HIGH_ERROR_RATE", ">", "%", min_samples=20, what="texts that failed, not given up"),
    "cache_hit_rate_pct": Metric("LOW_CACHE_HIT_RATE", "<", "%", min_samples=100, what="texts served by the cache"),
    "throughput_texts_per_s": Metric("LOW_THROUGHPUT", "<", "texts/s", what="texts done a second"),
    "throughput_tokens_per_s": Metric("LOW_THROUGHPUT", "<", "tokens/s", what="tokens embedded a second"),
    "unpriced_tokens": Metric("UNPRICED_MODEL", ">", "tokens", what="tokens embedded at no known price"),
    "cache_errors": Metric("CACHE_UNAVAILABLE", ">", "errors", what="cache calls that failed"),
    # A window as long as somebody takes to look: each event that could not be counted is missing in the numbers.
    "rejected_events": Metric(
        "REJECTED_EVENTS",
        ">",
        "events",
        scoped=False,
        default_threshold=0,
        default_window_seconds=900,
        window_step_seconds=60,
        what="events that could not be counted",
    ),
    "daily_cost_usd": Metric("BUDGET_EXCEEDED", ">", "USD", windowed=False, what="spend since midnight"),
    "daily_forecast_usd": Metric("BUDGET_FORECAST", ">", "USD", windowed=False, what="spend expected by midnight"),
    # Its threshold is the day's budget in USD; what is judged is the share of it spent in 15 min and in 2 h.
    "budget_burn_pct": Metric("BUDGET_BURN_RATE", ">", "%", windowed=False, what="share of a budget spent lately"),
    "queue_depth": Metric("HIGH_QUEUE_DEPTH", ">", "texts", windowed=False, scoped=False, what="texts waiting"),
    "lag_seconds": Metric("HIGH_LAG", ">", "s", windowed=False, scoped=False, what="age of the oldest text waiting"),
    "stalled_partitions": Metric(
        "QUEUE_STALLED",
        ">",
        "partitions",
        windowed=False,
        scoped=False,
        default_severity="critical",
        what="partitions nobody works on",
    ),
    # From the share on at which scaling holds still: more workers would make more dead letters.
    "queue_failing_pct": Metric(
        "QUEUE_STALLED",
        ">",
        "%",
        min_samples=20,
        scoped=False,
        default_threshold=50,
        default_window_seconds=120,
        default_severity="critical",
        what="texts that workers took and that got no vector",
    ),
    # Of decisions about workers: not known where nothing is decided.
    "workers_over_capacity": Metric(
        "AT_CAPACITY",
        ">",
        "workers",
        windowed=False,
        scoped=False,
        default_threshold=0,
        what="workers wanted beyond what limits allow",
    ),
    "model_load_seconds": Metric(
        "SLOW_MODEL_LOAD", ">", "s", windowed=False, scoped=False, what="slowest model load of a live worker"
    ),
    "gpu_utilization_pct": Metric(
        "LOW_GPU_UTILIZATION", "<", "%", windowed=False, scoped=False, what="mean over the live workers' GPUs"
    ),
    "worker_silent_seconds": Metric(
        "WORKER_DOWN",
        ">",
        "s",
        windowed=False,
        scoped=False,
        what="longest silence of a worker that did not say goodbye",
    ),
    "workers_silent_seconds": Metric(
        "NO_DATA",
        ">",
        "s",
        windowed=False,
        scoped=False,
        default_severity="critical",
        what="time since any worker was heard of",
    ),
    # Of a pipeline that is never idle: at night there may be nothing to do.
    "data_silent_seconds": Metric(
        "NO_DATA", ">", "s", windowed=False, scoped=False, what="time since the last batch event"
    ),
}

#: The guide's thresholds, and what makes its numbers untrue: a model without a price, events that could not be counted,
#: workers that are not heard of; and queues that stand still. Used where there is no rules file.
DEFAULT_THRESHOLDS: dict[str, float] = {
    "latency_p95_ms": 500,
    "error_rate_pct": 1.0,
    "cache_hit_rate_pct": 40,
    "daily_cost_usd": 100,
    "queue_depth": 1000,
    "unpriced_tokens": 0,
    "rejected_events": 0,
    # None at all before the one: what follows from it is then not told by itself.
    "workers_silent_seconds": 45,
    "worker_silent_seconds": 60,
    # What more workers would not help: nothing is scaled then, and somebody has to know.
    "stalled_partitions": 0,
    "queue_failing_pct": 50,
}
#: Judged by the ledger of a day, whose name is part of the alert's identity.
DAILY_METRICS = ("daily_cost_usd", "daily_forecast_usd", "budget_burn_pct")
#: A budget of the short form speaks at these shares of it.
BUDGET_STEPS_PCT: tuple[float, ...] = (50.0, 80.0, 100.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `scope` fixes dimensions, `by` makes one alert for each value seen; both empty: the whole pipeline."""

    name: str
    metric: str
    threshold: float
    alert_type: AlertType
    comparison: str
    unit: str
    window_seconds: int
    severity: Severity = "warning"
    scope: tuple[tuple[str, str], ...] = ()
    by: tuple[str, ...] = ()
    for_seconds: float = 0.0
    keep_firing_for_seconds: float = 0.0
    min_samples: int = 1
    steps_pct: tuple[float, ...] = ()
    route: str | None = None
    text: str | None = None
    runbook: str | None = None  # an address that everybody is shown who is told
    baseline: Baseline | None = None  # of LATENCY_REGRESSION: what is compared with


#: From what a rule says after `baseline:` to the baseline. Raises `InputError`.
ReadBaseline = Callable[[str], Baseline]


def _no_baselines(name: str) -> Baseline:
    raise InputError(f"baseline {name!r} cannot be read here")


def check_window(seconds: int, option: str = "--window-seconds") -> None:
    """Raises `ConfigError` for a length that no sliding window has."""
    if seconds % PANE_SECONDS or not PANE_SECONDS <= seconds <= MAX_WINDOW_SECONDS:
        raise ConfigError(
            f"{option} is a multiple of {PANE_SECONDS} from {PANE_SECONDS} to {MAX_WINDOW_SECONDS}, is {seconds}"
        )


def default_rules() -> tuple[Rule, ...]:
    """The guide's thresholds as rules."""
    return tuple(_build({"metric": m, "threshold": t}) for m, t in DEFAULT_THRESHOLDS.items())


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Rules of a file, or the defaults without one. Raises `ConfigError` with every mistake, one a line."""
    if path is None:
        return default_rules()
    file = read_yaml(path, "rules file", "check --rules or EMBEDWATCH_AGENTS_RULES")
    # A path in it is relative to it, and a name is one of the folder `baselines` beside it.
    return parse_rules(file, lambda name: find(name, path.parent / FOLDER, path.parent))


def parse_rules(file: YamlFile, read_baseline: ReadBaseline = _no_baselines) -> tuple[Rule, ...]:
    """Pure part of `load_rules`."""
    data = file.data
    if not isinstance(data, dict):
        raise ConfigError(f"{file.name}: expected `thresholds:` and/or `rules:`, found {_kind(data)}")
    trouble: list[str] = []
    found: list[tuple[Rule, str]] = []  # with the place
    parts = ("thresholds", "rules")
    trouble += [f"{file.place((str(k),))}: unknown entry {k!r}{closest(str(k), parts)}" for k in data if k not in parts]
    thresholds = data.get("thresholds") or {}
    if not isinstance(thresholds, dict):
        trouble.append(
            f"{file.place(('thresholds',))}: `thresholds` holds `metric: number` lines, not {_kind(thresholds)}"
        )
        thresholds = {}
    for metric, threshold in thresholds.items():
        place = file.place(("thresholds", str(metric)))
        _try(found, trouble, place, {"metric": metric, "threshold": threshold}, read_baseline)
    rules = data.get("rules") or []
    if not isinstance(rules, list):
        trouble.append(f"{file.place(('rules',))}: `rules` is a list (`- metric: ...`), not {_kind(rules)}")
        rules = []
    for index, entry in enumerate(rules):
        _check_entry(found, trouble, file, index, entry, read_baseline)
    first: dict[str, str] = {}
    for rule, place in found:
        if rule.name in first:
            trouble.append(
                f"{place}: a rule called {rule.name!r} stands already in {first[rule.name].rpartition(', ')[2]}; "
                "give each its own `name:`"
            )
        first.setdefault(rule.name, place)
    if len(found) > MAX_RULES:
        trouble.append(f"{file.name}: {len(found)} rules; at most {MAX_RULES} are allowed")
    if not found and not trouble:
        trouble.append(f"{file.name}: there is no rule in it; leave out --rules for the defaults of the guide")
    if trouble:
        raise ConfigError("\n".join(trouble))
    return tuple(rule for rule, _ in found)


_FIELDS = (
    "name", "type", "metric", "threshold", "window", "scope", "by", "for", "keep_firing_for",
    "severity", "min_samples", "steps_pct", "route", "text", "runbook", "baseline",
)  # fmt: skip


def _check_entry(
    found: list[tuple[Rule, str]],
    trouble: list[str],
    file: YamlFile,
    index: int,
    entry: Any,
    read_baseline: ReadBaseline,
) -> None:
    if not isinstance(entry, dict):
        trouble.append(f"{file.place(('rules', index))}: a rule is a set of `name: value` lines, not {_kind(entry)}")
        return
    unknown = [key for key in entry if key not in _FIELDS]
    trouble += [
        f"{file.place(('rules', index, str(key)))}: unknown field {key!r}{closest(str(key), _FIELDS)}"
        for key in unknown
    ]
    if not unknown:
        _try(found, trouble, file.place(("rules", index)), entry, read_baseline, file, index)


class _Wrong(ValueError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _try(
    found: list[tuple[Rule, str]],
    trouble: list[str],
    place: str,
    entry: dict[str, Any],
    read_baseline: ReadBaseline,
    file: YamlFile | None = None,
    index: int = 0,
) -> None:
    try:
        found.append((_build(entry, read_baseline), place))
    except _Wrong as wrong:
        at = file.place(("rules", index, wrong.field)) if file is not None else place
        trouble.append(f"{at}: {wrong}")


def _build(entry: dict[str, Any], read_baseline: ReadBaseline = _no_baselines) -> Rule:
    name = _metric_of(entry)
    metric = METRICS[name]
    threshold = _number(entry, "threshold", default=metric.default_threshold)
    if threshold < 0:
        raise _Wrong("threshold", f"threshold of {name} must be 0 or more, is {threshold:g}")
    if name.endswith("_pct") and threshold > 100 and name not in DAILY_METRICS:
        raise _Wrong("threshold", f"threshold of {name} is a percentage between 0 and 100, is {threshold:g}")
    window = duration(entry.get("window", metric.default_window_seconds), "window")
    if not metric.windowed and "window" in entry:
        raise _Wrong("window", f"{name} has no window: it is {metric.what}")
    step = metric.window_step_seconds
    if metric.windowed and (window % step or not step <= window <= MAX_WINDOW_SECONDS):
        raise _Wrong("window", f"window of {name} is a multiple of {step} s up to 1 h, is {_shown(entry['window'])}")
    scope = entry.get("scope") or {}
    if not isinstance(scope, dict):
        raise _Wrong("scope", f"scope is a map such as {{model: NAME}}, not {_kind(scope)}")
    by = entry.get("by") or []
    by = [by] if isinstance(by, str) else by
    if not isinstance(by, list):
        raise _Wrong("by", f"by is a list of {', '.join(DIMENSIONS)}, not {_kind(by)}")
    for field, names in (("scope", scope), ("by", by)):
        for dimension in names:
            if dimension not in DIMENSIONS:
                raise _Wrong(field, f"unknown dimension {dimension!r}{closest(str(dimension), DIMENSIONS)}")
    for dimension, value in scope.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
            raise _Wrong("scope", f"{dimension} in scope is a name, not {_kind(value)}")
    if (scope or by) and not metric.scoped:
        raise _Wrong("scope" if scope else "by", f"{name} exists for the whole pipeline only")
    if set(scope) & set(by):
        raise _Wrong("by", "a dimension stands in `scope` or in `by`, not in both")
    severity = entry.get("severity", metric.default_severity)
    if severity not in SEVERITIES:
        raise _Wrong("severity", f"unknown severity {severity!r}{closest(str(severity), SEVERITIES)}")
    return Rule(
        name=_label(entry, "name") or name,
        metric=name,
        threshold=threshold,
        alert_type=metric.alert_type,
        comparison=metric.comparison,
        unit=metric.unit,
        window_seconds=int(window) if metric.windowed else 0,
        severity=severity,
        scope=tuple(sorted((str(k), str(v)) for k, v in scope.items())),
        by=tuple(sorted(set(by))),
        for_seconds=duration(entry.get("for", 0), "for"),
        keep_firing_for_seconds=duration(entry.get("keep_firing_for", 0), "keep_firing_for"),
        min_samples=int(_number(entry, "min_samples", default=metric.min_samples)),
        steps_pct=_steps(entry, name),
        route=_label(entry, "route"),
        text=_label(entry, "text", longest=2000),
        runbook=_runbook(entry),
        baseline=_baseline(entry, name, read_baseline),
    )


def _metric_of(entry: dict[str, Any]) -> str:
    kind, name = entry.get("type"), entry.get("metric")
    for field, value in (("type", kind), ("metric", name)):
        if isinstance(value, list | dict):
            raise _Wrong(field, f"{field} is a name, not {_kind(value)}")
    if kind is not None:
        of_type = [m for m, spec in METRICS.items() if spec.alert_type == kind]
        if not of_type:
            raise _Wrong("type", f"unknown type {kind!r}{closest(str(kind), {s.alert_type for s in METRICS.values()})}")
        if name is None:
            # The usual metric of the type: p95 for latency, else the first.
            return "latency_p95_ms" if kind == "HIGH_LATENCY" else of_type[0]
        if name in METRICS and name not in of_type:
            raise _Wrong("metric", f"{name} does not belong to {kind}; it does to {METRICS[name].alert_type}")
    if name is None:
        raise _Wrong("metric", "a rule needs `metric:` or `type:`")
    if name not in METRICS:
        raise _Wrong("metric", f"unknown metric {name!r}{closest(str(name), METRICS)}")
    return str(name)


def _number(entry: dict[str, Any], field: str, *, default: float | None) -> float:
    value = entry.get(field)
    if value is None:
        if default is None:
            raise _Wrong(field, f"{field} is missing: a number in the metric's unit")
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Wrong(field, f"{field} must be a number, is {value!r}")
    if field == "min_samples" and (value < 1 or value != int(value)):
        raise _Wrong(field, f"min_samples is a whole number from 1, is {value!r}")
    return float(value)


def _steps(entry: dict[str, Any], metric: str) -> tuple[float, ...]:
    steps = entry.get("steps_pct")
    if metric != "daily_cost_usd":
        if steps is not None:
            raise _Wrong("steps_pct", "steps_pct goes with daily_cost_usd only")
        return ()
    if steps is None:
        return BUDGET_STEPS_PCT
    good = isinstance(steps, list) and steps and all(
        isinstance(s, int | float) and not isinstance(s, bool) and 0 < s <= 1000 for s in steps
    )  # fmt: skip
    if not good:
        raise _Wrong("steps_pct", f"steps_pct is a list of percentages such as [50, 80, 100], is {steps!r}")
    return tuple(sorted({float(s) for s in steps}))


def _baseline(entry: dict[str, Any], metric: str, read_baseline: ReadBaseline) -> Baseline | None:
    value = entry.get("baseline")
    if metric != "latency_regression_pct":
        if value is not None:
            raise _Wrong("baseline", "baseline goes with latency_regression_pct only")
        return None
    if value is None:
        raise _Wrong(
            "baseline",
            "latency_regression_pct needs, in the long form, `baseline:` with a name or path "
            "(`embedwatch baseline save` makes one)",
        )
    if not isinstance(value, str) or not value:
        raise _Wrong("baseline", f"baseline is a name or the path of a file, not {_kind(value)}")
    try:
        return read_baseline(value)
    except InputError as error:
        raise _Wrong("baseline", str(error)) from None


def _label(entry: dict[str, Any], field: str, longest: int = 100) -> str | None:
    value = entry.get(field)
    if value is None:
        return None
    if not isinstance(value, str | int | float) or isinstance(value, bool) or not 0 < len(str(value)) <= longest:
        raise _Wrong(field, f"{field} is a text of 1 to {longest} characters")
    if "|" in str(value) and field == "name":
        raise _Wrong(field, "a name holds no `|`")
    # They end in logs, alerts and Slack, where they would move the cursor or break a line. A text may have lines.
    breaks = "\n\t" if field == "text" else ""
    for at, character in enumerate(str(value), 1):
        if not character.isprintable() and character not in breaks:
            raise _Wrong(
                field,
                f"{field} holds a character that cannot be shown: {character!r} at position {at} of {_shown(value)}",
            )
    return str(value)


def _runbook(entry: dict[str, Any]) -> str | None:
    value = entry.get("runbook")
    if value is not None and (wrong := runbooks.mistake(value)) is not None:
        raise _Wrong("runbook", wrong)
    return value


_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "ms": 0.001}


_PART = re.compile(r" ?(\d{1,12}(?:\.\d{1,9})?) ?([a-z]*)")


def duration(value: Any, field: str) -> float:
    """ "30s", "1m", "1h30m" or a number of seconds, as seconds. Raises `_Wrong` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    at, seconds = 0, 0.0
    # Part by part: one pattern for the whole would try every split of a long number.
    while part := _PART.match(text, at):
        if part[2] not in _UNITS or (not part[2] and part[0] != text):
            break  # a number without its unit is one of seconds only where it stands alone
        seconds += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if text and at == len(text):
        return seconds
    raise _Wrong(field, f"{field} is a duration such as 30s, 5m or 1h, is {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _kind(value: Any) -> str:
    return {type(None): "nothing", str: "a text", list: "a list", dict: "a map"}.get(type(value), f"{value!r}")
