"""docs/reference/rules.md, made from embedwatch/rules.py by tools/reference.py. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embedwatch import rules
from embedwatch.baselines import FOLDER
from embedwatch.rules import DEFAULT_THRESHOLDS, METRICS, Metric
from embedwatch.runbooks import MAX_RUNBOOK_CHARS

Table = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]

_PAGE = """\
{note}

# Rules

A rules file has two parts, of which one is enough: `thresholds`, a number for each metric over its default window for
the whole pipeline, and `rules`, a list. It is read by `embedwatch agents --rules` and checked by
`embedwatch check --rules`. Every mistake is named with its line. At most {most:,} rules. How to write one:
[how-to/rules.md](../how-to/rules.md).

## Metrics

Above (`>`) or below (`<`) its threshold a rule is breached. The sign belongs to the metric. "Whole pipeline": no
`scope` and no `by`. A metric without a window is a present state, or the sum of a day.

{metrics}
Of `budget_burn_pct` the threshold is the day's budget in USD; judged is the share of it spent in 15 minutes and in 2 h.
Percentages of a rule are from 0 to 100.

## Types

A rule may name its type in place of its metric, and is then one of the metric in bold.

{types}
## Fields of a rule

{fields}
A duration is `30s`, `5m`, `1h`, `1h30m`, or a number of seconds.

## Built-in thresholds

Judged where there is no rules file:

{defaults}"""


def _fields() -> list[tuple[str, str, str]]:
    """(field, default, meaning), in the order in which a rule is written."""
    steps = ", ".join(f"{step:g}" for step in rules.BUDGET_STEPS_PCT)
    return [
        ("name", "the metric", "of the alert, 1 to 100 characters without a bar; no two rules have the same"),
        ("type", "none", "in place of `metric`"),
        ("metric", "that of `type`", "what is judged"),
        ("threshold", "none, or as in the table of metrics", "a number from 0 on, in the metric's unit"),
        (
            "window",
            "as in the table of metrics",
            f"a multiple of {rules.PANE_SECONDS} s (of 60 s for `rejected_events`) up to "
            f"{rules.MAX_WINDOW_SECONDS // 3600} h",
        ),
        ("scope", "the whole pipeline", "a map that fixes `model`, `tenant` or both"),
        ("by", "none", "a list of `model`, `tenant`: one alert for each that is seen"),
        ("for", "0", "how long it must be breached before it fires"),
        ("keep_firing_for", "0", "how long it must be fine before it is over"),
        ("severity", "as in the table of metrics", ", ".join(f"`{each}`" for each in rules.SEVERITIES)),
        ("min_samples", "as in the table of metrics", "with fewer in the window nothing is judged: too few samples"),
        ("steps_pct", steps, "of `daily_cost_usd`: the shares of the budget at which it speaks"),
        ("route", "none", "a word of yours, for `alerts.routes`"),
        ("text", "none", "shown with the alert, up to 2,000 characters"),
        ("runbook", "none", f"an http or https address, linked in the alert, up to {MAX_RUNBOOK_CHARS} characters"),
        (
            "baseline",
            "none",
            f"of `latency_regression_pct`, which needs it: a name in `{FOLDER}/` beside the file, or a path",
        ),
    ]


def page(note: str, table: Table) -> str:
    """The whole page; `table` makes Markdown of a head and rows."""
    fields = _fields()
    if (written := {name for name, *_ in fields}) != set(rules._FIELDS):
        raise ValueError(
            f"embedwatch/rules_page.py: fields {sorted(written ^ set(rules._FIELDS))} are not those of a rule"
        )
    return _PAGE.format(
        note=note,
        most=rules.MAX_RULES,
        metrics=table(
            ("metric", "type", "", "unit", "default window", "samples at least", "of", "is"),
            [_row(name, metric) for name, metric in METRICS.items()],
        ),
        types=table(("type", "metrics"), _types()),
        fields=table(("field", "default", "meaning"), [(f"`{name}`", default, text) for name, default, text in fields]),
        defaults=table(
            ("metric", "threshold"),
            [(f"`{name}`", f"{value:g} {METRICS[name].unit}") for name, value in DEFAULT_THRESHOLDS.items()],
        ),
    )


def _row(name: str, metric: Metric) -> tuple[str, ...]:
    more = [] if metric.default_threshold is None else [f"threshold {metric.default_threshold:g} by default"]
    more += [] if metric.default_severity == "warning" else [f"{metric.default_severity} by default"]
    return (
        f"`{name}`",
        f"`{metric.alert_type}`",
        f"`{metric.comparison}`",
        metric.unit,
        f"{metric.default_window_seconds} s" if metric.windowed else "none",
        f"{metric.min_samples:,}",
        "any scope" if metric.scoped else "whole pipeline",
        "; ".join([metric.what, *more]),
    )


def _types() -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        found.setdefault(metric.alert_type, []).append(name)
    rows = []
    for kind, names in found.items():
        usual = rules._metric_of({"type": kind})
        rows.append((f"`{kind}`", ", ".join(f"**`{n}`**" if n == usual else f"`{n}`" for n in names)))
    return rows
