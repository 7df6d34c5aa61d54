"""An example of every message: the page docs/reference/alerts.md, made from the code that makes the messages. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, get_args

from alerting.bundle_words import compose_bundle
from alerting.digest import Digest, Firing, Taken
from alerting.digest_account import Account
from alerting.digest_words import compose_digest
from alerting.links import PLACES
from alerting.message import Message, compose, trial_message
from alerting.phrases import TITLES
from alerting.receivers import text
from alerting.slack_blocks import Block, render
from alerting.states import Act, Facts, Kind, Owed
from embedwatch.events import AlertType, Contributor, Verdict
from embedwatch.rules import METRICS, Metric

FIRED = datetime(2026, 3, 28, 14, 2, tzinfo=UTC).timestamp()
SINCE = FIRED - 30
DASHBOARD = "https://grafana.example/d/embeddings?var-model={model}&var-tenant={tenant}"

_DAY: dict[str, Any] = {"day": "2026-03-28", "window_seconds": 0.0, "samples": 0, "scope": {}}
_NOW: dict[str, Any] = {"window_seconds": 0.0, "scope": {}}

#: What is particular about each type: a metric, numbers, who moved them.
TYPES: dict[AlertType, dict[str, Any]] = {
    "HIGH_LATENCY": {
        "metric": "latency_p95_ms", "value": 1240.0, "threshold": 500.0, "samples": 2480, "severity": "critical",
        "text": "Search is slow for everybody.", "runbook": "https://wiki.example/runbooks/search",
        "contributors": [Contributor("phase", "cache_lookup", 610.0, 95.0, 8.1)],
    },
    "HIGH_ERROR_RATE": {
        "metric": "error_rate_pct", "value": 4.2, "threshold": 1.0, "samples": 3100,
        "contributors": [Contributor("error_class", "timeout", 4.0, 96.0, 40.0)],
    },
    "LOW_CACHE_HIT_RATE": {
        "metric": "cache_hit_rate_pct", "value": 12.5, "threshold": 40.0, "samples": 5200,
        "contributors": [Contributor("tenant", "acme", 3.1, 88.0)],
    },
    "BUDGET_EXCEEDED": {
        "metric": "daily_cost_usd", "value": 80.13, "threshold": 80.0, **_DAY,
        "contributors": [Contributor("model", "text-embedding-3-large", 61.4, 76.6)],
    },
    "BUDGET_FORECAST": {"metric": "daily_forecast_usd", "value": 131.5, "threshold": 100.0, **_DAY},
    "BUDGET_BURN_RATE": {
        "metric": "budget_burn_pct", "value": 14.2, "threshold": 10.0, **_DAY, "window_seconds": 900.0,
        "scope": {"tenant": "acme"},
    },
    "UNPRICED_MODEL": {"metric": "unpriced_tokens", "value": 18_200.0, "threshold": 0.0, "samples": 320},
    "HIGH_QUEUE_DEPTH": {"metric": "queue_depth", "value": 12_400.0, "threshold": 1000.0, **_NOW, "samples": 24},
    "HIGH_LAG": {"metric": "lag_seconds", "value": 95.0, "threshold": 30.0, **_NOW, "samples": 24},
    "QUEUE_STALLED": {"metric": "stalled_partitions", "value": 2.0, "threshold": 0.0, **_NOW, "samples": 24},
    "AT_CAPACITY": {
        "metric": "workers_over_capacity", "value": 3.0, "threshold": 0.0, **_NOW, "samples": 1,
        "reason": "above the threshold (7 are wanted, scaling.max_workers allows 4; 7 would cost $8.40 an hour instead "
        "of $4.80)",
    },
    "LOW_THROUGHPUT": {
        "metric": "throughput_texts_per_s", "value": 3.2, "threshold": 20.0, "scope": {}, "samples": 192,
        "contributors": [Contributor("worker", "gpu-2", 0.4, 71.0, 0.05)],
    },
    "LATENCY_REGRESSION": {
        "metric": "latency_regression_pct", "value": 18.4, "threshold": 10.0, "window_seconds": 300.0, "samples": 9000,
        "reason": "p95 went from 412 to 585 ms, 1.42 times the baseline's",
        "contributors": [Contributor("phase", "embed", 42.0, 84.0), Contributor("phase", "publish", 8.0, 16.0)],
    },
    "LOW_GPU_UTILIZATION": {"metric": "gpu_utilization_pct", "value": 11.0, "threshold": 30.0, **_NOW, "samples": 4},
    "SLOW_MODEL_LOAD": {
        "metric": "model_load_seconds", "value": 84.0, "threshold": 30.0, **_NOW, "samples": 4,
        "contributors": [Contributor("worker", "gpu-2", 84.0)],
    },
    "WORKER_DOWN": {
        "metric": "worker_silent_seconds", "value": 42.0, "threshold": 30.0, **_NOW, "samples": 2,
        "severity": "critical",
        "contributors": [Contributor("worker", "gpu-1", 42.0), Contributor("worker", "gpu-2", 39.0)],
    },
    "NO_DATA": {
        "metric": "workers_silent_seconds", "value": 75.0, "threshold": 60.0, **_NOW, "samples": 2,
        "contributors": [Contributor("worker", "gpu-1", 82.0), Contributor("worker", "gpu-2", 75.0)],
    },
    "CACHE_UNAVAILABLE": {"metric": "cache_errors", "value": 214.0, "threshold": 10.0, "scope": {}, "samples": 214},
    "REJECTED_EVENTS": {
        "metric": "rejected_events", "value": 12.0, "threshold": 0.0, "scope": {}, "window_seconds": 900.0,
        "samples": 4800, "reason": "above the threshold (12 invalid)",
        "contributors": [Contributor("worker", "gpu-2", 12.0, 100.0)],
    },
    "ALERTING_BEHIND": {
        "metric": "alerting_behind_seconds", "value": 48.0, "threshold": 30.0, **_NOW, "samples": 1,
    },
    "RECEIVER_FAILING": {
        "metric": "receiver_failing_seconds", "value": 312.0, "threshold": 300.0, **_NOW, "samples": 1,
        "scope": {"receiver": "pagerduty"}, "reason": "PagerDuty cannot be reached: connection refused",
    },
}  # fmt: skip

_ACKNOWLEDGED = Act("acknowledge", "Ada", "slack", FIRED + 300, "critical", note="adding two workers")
_SNOOZED = Act("snooze", "Ada", "slack", FIRED + 300, "critical", until_seconds=FIRED + 3900)
_OVER: dict[str, Any] = {"resolved_at_seconds": FIRED + 900, "latest_value": 212.0, "worst_value": 2310.0}

#: What is particular about each kind, and when it comes.
KINDS: dict[Kind, tuple[str, dict[str, Any]]] = {
    "firing": ("The alert fires.", {}),
    "repeat": ("It still fires after `alerts.repeat_interval_seconds`.", {"since_seconds": FIRED - 4 * 3600}),
    "acknowledged": ("Somebody takes care of it: no repeats until it is over.", {"act": _ACKNOWLEDGED}),
    "snoozed": ("Somebody wants to hear of it later.", {"act": _SNOOZED}),
    "snooze_over": ("The snooze is over and it still fires.", {"act": _SNOOZED}),
    "escalated": ("It has become more severe than what somebody acknowledged or snoozed.", {"act": _ACKNOWLEDGED}),
    "steady": ("It does not come and go any more, and fires.", {}),
    "no_data": ("Nothing is known of it any more.", {}),
    "data_back": ("There is data again, and it still fires.", {}),
    "resolved": ("It is over.", _OVER),
    "cleared": ("It was over before anybody could be told, as after an outage of Slack.", {**_OVER, "episodes": 2}),
}

#: At nine on the day after.
_DAY_OVER = datetime(2026, 3, 29, 9, 0, tzinfo=UTC).timestamp()
DIGEST = Digest(
    since_seconds=_DAY_OVER - 86_400,
    until_seconds=_DAY_OVER,
    account=Account(
        7, carried=2, fired=41, alone=9, bundled=18, capped=6, merged=3, silenced=3, inhibited=1, resolved=38,
        flapped=1, changes=14,
    ),
    fired_types={"HIGH_LATENCY": 24, "HIGH_QUEUE_DEPTH": 12, "LOW_THROUGHPUT": 5},
    fired_severities={"critical": 6, "warning": 35},
    resolved_types={"HIGH_LATENCY": 23, "HIGH_QUEUE_DEPTH": 12, "LOW_THROUGHPUT": 3},
    resolved_severities={"critical": 4, "warning": 34},
    waiting=1,
    waiting_for="cap",
    held={"silenced": 1, "inhibited": 1},
    firing_severities={"critical": 2, "warning": 3},
    no_data=1,
    firing=(
        Firing("HIGH_LATENCY", "critical", "latency_p95_ms", {"model": "all-MiniLM-L6-v2"}, _DAY_OVER - 4 * 3600),
        Firing("WORKER_DOWN", "critical", "worker_silent_seconds", {"worker": "gpu-2"}, _DAY_OVER - 900),
        Firing("LOW_THROUGHPUT", "warning", "throughput_texts_per_s", {"worker": "gpu-2"}, _DAY_OVER - 840),
    ),
    acknowledged=(Taken("Ada", 1),),
    snoozed=(Taken("Grace", 1, _DAY_OVER + 3600),),
)  # fmt: skip
QUIET_DAY = Digest(_DAY_OVER - 86_400, _DAY_OVER, Account(8))

_PAGE = """\
{note}

# Alerts

What each message says. A message of Slack is shown as its lines; with a bot token it is edited while the alert lasts,
and each change adds one line to its thread. Times there are in the reader's own zone. A name between backticks comes
from your data: it is shown as it is and can mention nobody.

The `runbook:` of a rule, else the first address in its `text:`, is the link *Runbook*. `alerts.dashboard_url` may hold
{places}: they are filled in.

## Every type

{types}
## Every kind of message

{kinds}
## Many at once, the day, and a test

{others}"""


def breach(kind: AlertType, **more: Any) -> Verdict:
    """The example of an alert's type."""
    chosen: dict[str, Any] = {
        "severity": "warning", "scope": {"model": "all-MiniLM-L6-v2"}, "window_seconds": 60.0, "samples": 100,
        "rule": TYPES[kind]["metric"], **TYPES[kind], **more,
    }  # fmt: skip
    spec = METRICS.get(chosen["metric"]) or Metric(kind, ">", "s")  # alerting's own are no rules
    scope = ",".join(f"{key}={value}" for key, value in chosen["scope"].items())
    return Verdict(
        alert_id=f"{chosen['rule']}|{scope or 'all'}",
        time_seconds=FIRED,
        alert_type=kind,
        judgement="breached",
        comparison=">" if spec.comparison == ">" else "<",
        unit=spec.unit,
        **chosen,
    )


def example(kind: Kind, verdict: Verdict) -> Owed:
    facts = {"since_seconds": SINCE, "fired_at_seconds": FIRED, "worst_value": verdict.value, **KINDS[kind][1]}
    return Owed(1, "slack", kind, 1, FIRED, Facts(breach=verdict, **facts))


def page(note: str) -> str:
    types = [
        _section(kind, f"{TITLES[kind].capitalize()}.", compose(example("firing", breach(kind)), DASHBOARD))
        for kind in get_args(AlertType)
    ]
    kinds = []
    for kind, (when, _) in KINDS.items():
        message = compose(example(kind, breach("HIGH_LATENCY")), DASHBOARD)
        kinds.append(_section(kind, when, message, thread=kind not in ("firing", "cleared")))
    flapping = example("firing", breach("HIGH_LATENCY"))
    flapping = Owed(1, "slack", "firing", 1, FIRED, _with(flapping.facts, flapping_changes=6))
    storm = [example("firing", breach(kind)) for kind in get_args(AlertType)]
    others = [
        _section("flapping", "It comes and goes: said once.", compose(flapping, DASHBOARD)),
        _section("bundle", "What waits for a receiver at once is one message.", compose_bundle(storm, DASHBOARD)),
        _section("digest", "Each day at `alerts.digest_at`, to people.", compose_digest(DIGEST, DASHBOARD)),
        _section(
            "quiet day", "The same where nothing happened, with `alerts.digest_quiet`.", compose_digest(QUIET_DAY)
        ),
        _section("test", "`embedwatch alerts test`.", trial_message("slack")),
    ]
    places = ", ".join(f"`{{{name}}}`" for name in PLACES)
    return _PAGE.format(
        note=note, places=places, types="\n".join(types), kinds="\n".join(kinds), others="\n".join(others)
    )


def _with(facts: Facts, **more: Any) -> Facts:
    return Facts(**{name: getattr(facts, name) for name in facts.__struct_fields__} | more)


def _section(name: str, when: str, message: Message, thread: bool = False) -> str:
    parts = [f"### {name}\n\n{when}\n\nSlack:\n\n```text\n{slack_text(render(message)[1])}\n```\n"]
    if thread:
        parts.append(f"In its thread:\n\n```text\n{message.news}\n```\n")
    parts.append(f"Console:\n\n```text\n{text(message)}\n```\n")
    return "\n".join(parts)


def slack_text(blocks: list[Block]) -> str:
    """Blocks as a person reads them, line by line; of a moment its text in UTC."""
    lines: list[str] = []
    for block in blocks:
        if "text" in block:
            lines.append(_plain(block["text"]))
        lines += [_plain(part).replace("\n", ": ") for part in (*block.get("fields", ()), *block.get("elements", ()))]
    return "\n".join(line for line in lines if line)


def _plain(part: Block) -> str:
    shown = str(part["text"])
    if part["type"] != "mrkdwn":
        return shown
    shown = re.sub(r"<!date\^[^|>]*\|([^>]*)>", r"\1", shown)
    shown = re.sub(r"<(https?:[^|>]*)\|([^>]*)>", r"[\2: \1]", shown).replace("*", "")
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
