"""The guide's monitoring checklist, ticked against what runs: 17 points, each with its evidence or with what is to do.

Pure: it is given what the agents, the broker and the settings say (`Facts`), and asks nobody. A point is `ticked`,
`not` ticked, or `unknown`: nothing was measured yet, or it cannot be seen from here. What is not known is no tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embedwatch.pricing import provider_of

State = Literal["ticked", "not", "unknown"]
Kept = Literal["yes", "no", "unknown"]

NOT_KNOWN = "not known"
#: Of a way to embed that the window has no call of.
NOT_SEEN = "not seen"
ALL_FAILED = "look at `embedwatch dlq list`: all texts failed"
SET_PRICES = (
    "set EMBEDWATCH_PRICING_GPU_USD_PER_HOUR for a local model, or pricing.usd_per_million_tokens: {MODEL: PRICE}"
)
SEND_TEXTS = "send texts (`embedwatch produce --stdlib-docs --limit 500`) while a worker runs (`embedwatch worker`)"
RULES_FILE = "of the file named by --rules or EMBEDWATCH_AGENTS_RULES, and start the agents again"
#: The guide's critical metrics, each with the setting that judges it.
CRITICAL = ("latency_p95_ms", "error_rate_pct", "cache_hit_rate_pct", "daily_cost_usd", "queue_depth")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was asked, as it was answered; None: it could not be asked, and `reasons` says why, by name."""

    agents_url: str
    summary: Mapping[str, Any]  # /api/v1/summary
    verdicts: tuple[Mapping[str, Any], ...]  # /api/v1/verdicts
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # /api/v1/summary of each
    models_unknown: str = ""  # why not of all models
    metrics_series: int | None = None  # of ours on /metrics
    closed_windows: int | None = None
    page_title: str | None = None  # of the page for people at the agents' address
    baselines: tuple[str, ...] = ()  # names, of `baselines_folder`
    baselines_folder: str = "baselines"
    receivers: Mapping[str, bool] | None = None  # who would be told, and whether it answered
    alerting_members: int | None = None  # processes of alerting that its group has
    alerting_group: str = "embedwatch-alerts"
    alerts_by_status: Mapping[str, int] | None = None  # states on the topic `alerts`
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One line. `evidence`: the number and where it comes from. `fix`: what makes it so; empty where it is ticked."""

    group: str
    name: str
    state: State
    evidence: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One of the guide's targets, as information: `kept` changes no exit code. `absent` says what no value means."""

    name: str
    value: float | None
    unit: str
    target: str
    kept: Kept
    where: str
    absent: str = NOT_KNOWN


@dataclass(frozen=True, slots=True)
class Checklist:
    points: tuple[Point, ...]
    targets: tuple[Target, ...]

    @property
    def ticked(self) -> int:
        return sum(point.state == "ticked" for point in self.points)

    @property
    def complete(self) -> bool:
        return self.ticked == len(self.points)


def evaluate(facts: Facts) -> Checklist:
    """All points, in the order of the guide, and its targets."""
    groups: tuple[tuple[str, Iterable[tuple[str, Callable[[Facts], _Found]]]], ...] = (
        ("Metrics collection", (
            ("Latency tracking (p50, p95, p99)", _latency),
            ("Throughput measurement (texts/s)", _throughput),
            ("Cost tracking (tokens, USD)", _cost),
            ("Cache hit rate monitoring", _hit_rate),
            ("Error rate tracking", _errors),
        )),
        ("Infrastructure", (
            ("Metrics storage (in memory, Prometheus, topics)", _storage),
            ("Alerting system configured", _alerting),
            ("Thresholds set for critical metrics", _thresholds),
            ("Dashboard for visualization", _dashboard),
        )),
        ("Alerting", (
            ("High latency alerts (p95 > threshold)", _rule_latency),
            ("Low cache hit rate alerts (< 40 %)", _rule_hit_rate),
            ("Budget exceeded alerts", _rule_budget),
            ("High error rate alerts (> 1 %)", _rule_errors),
        )),
        ("Analysis", (
            ("Baseline metrics established", _baseline),
            ("Percentile analysis (not just averages)", _percentiles),
            ("Cost breakdown (cache hits and misses)", _breakdown),
            ("Performance regression detection", _regression),
        )),
    )  # fmt: skip
    points = tuple(
        Point(group, name, found.state, found.evidence, found.fix)
        for group, members in groups
        for name, found in ((name, look(facts)) for name, look in members)
    )
    return Checklist(points, tuple(_targets(facts)))


@dataclass(frozen=True, slots=True)
class _Found:
    state: State
    evidence: str
    fix: str = ""


def _yes(evidence: str) -> _Found:
    return _Found("ticked", evidence)


def _no(evidence: str, fix: str) -> _Found:
    return _Found("not", evidence, fix)


def _unknown(evidence: str, fix: str) -> _Found:
    return _Found("unknown", evidence, fix)


def _seen(facts: Facts) -> str:
    """Where numbers of the window come from."""
    return f"summary of the last {facts.summary.get('window_seconds')} s"


def _part(data: Mapping[str, Any], *names: str) -> Any:
    """Deep in an answer; None where any part of the way is missing: agents of another version have other fields."""
    at: Any = data
    for name in names:
        at = at.get(name) if isinstance(at, Mapping) else None
    return at


def _number(data: Mapping[str, Any], *names: str) -> float | None:
    found = _part(data, *names)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _texts(facts: Facts) -> int:
    return int(_number(facts.summary, "performance", "texts") or 0)


def _nothing(facts: Facts) -> _Found | None:
    """Without a text nothing is measured, and no number shows that it would be."""
    if _texts(facts):
        return None
    return _unknown(f"no text in the {_seen(facts)}", SEND_TEXTS)


def _latency(facts: Facts) -> _Found:
    if (nothing := _nothing(facts)) is not None:
        return nothing
    found = [_number(facts.summary, "performance", "latency_ms", name) for name in ("p50", "p95", "p99")]
    if any(value is None for value in found):
        return _unknown(f"no text got a vector in the {_seen(facts)}", ALL_FAILED)
    shown = " / ".join(f"{value:,.1f}" for value in found)
    return _yes(f"p50 / p95 / p99 {shown} ms over {_texts(facts):,} texts ({_seen(facts)})")


def _throughput(facts: Facts) -> _Found:
    if (nothing := _nothing(facts)) is not None:
        return nothing
    rate = _number(facts.summary, "performance", "throughput_texts_per_s")
    if rate is None:
        return _unknown("the agents have not looked for long enough to say a rate", "ask again in 10 s")
    return _yes(f"{rate:,.2f} texts/s ({_seen(facts)})")


def _cost(facts: Facts) -> _Found:
    today = _part(facts.summary, "today") or {}
    if not today.get("texts"):
        return _unknown("no text was booked today", SEND_TEXTS)
    tokens, state = int(_number(today, "tokens_embedded") or 0), today.get("cost_state")
    if state == "known":
        cost = _number(today, "cost_usd")
        shown = "unknown" if cost is None else f"${cost:,.6f}"
        day = f"{today.get('day')} in {today.get('timezone')}"
        return _yes(f"{tokens:,} tokens embedded, {shown} today ({day}, ledger)")
    unpriced = int(_number(today, "unpriced_tokens") or 0)
    return _no(
        f"{tokens:,} tokens embedded today, {unpriced:,} of them at no known price (ledger: cost {state})",
        SET_PRICES,
    )


def _hit_rate(facts: Facts) -> _Found:
    cache = _part(facts.summary, "cache") or {}
    rate, asked = _number(cache, "hit_rate_pct"), int(_number(cache, "hits") or 0) + int(_number(cache, "misses") or 0)
    if rate is None:
        return _unknown(f"no text was looked for in a cache in the {_seen(facts)}", SEND_TEXTS)
    return _yes(f"{rate:.1f} % of {asked:,} texts were hits ({_seen(facts)})")


def _errors(facts: Facts) -> _Found:
    if (nothing := _nothing(facts)) is not None:
        return nothing
    rate = _number(facts.summary, "performance", "error_rate_pct")
    if rate is None:
        return _unknown(f"no rate in the {_seen(facts)}", "ask again in 10 s")
    return _yes(f"{rate:.2f} % of {_texts(facts):,} texts ({_seen(facts)})")


def _storage(facts: Facts) -> _Found:
    if not facts.metrics_series:
        why = facts.reasons.get("metrics", "no series of ours stands there")
        return _no(
            f"{facts.agents_url}/metrics: {why}", "is a proxy between? Name the agents themselves with --agents-url"
        )
    windows = "" if not facts.closed_windows else f"; {facts.closed_windows:,} closed windows kept"
    return _yes(f"{facts.metrics_series:,} series for Prometheus at {facts.agents_url}/metrics{windows}")


def _alerting(facts: Facts) -> _Found:
    if facts.receivers is None:
        return _unknown(f"receivers: {facts.reasons.get('receivers', 'could not be asked')}", "run `embedwatch check`")
    told = ", ".join(sorted(name for name, answers in facts.receivers.items() if answers))
    silent = ", ".join(sorted(name for name, answers in facts.receivers.items() if not answers))
    if not told and not silent and facts.alerting_members:
        # Whom it tells is in its own settings, and those given here say nothing of them.
        return _unknown(
            f"{facts.alerting_members} alerting in the group, with receivers of its own settings; by those given here "
            "alerts would only be printed",
            "run this with the settings of `embedwatch alerts`, or `embedwatch alerts test` with them",
        )
    if not told:
        nobody = f"{silent} did not answer" if silent else "by the settings given here alerts would only be printed"
        return _no(
            f"receivers: {nobody}",
            "set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN (or a webhook: EMBEDWATCH_ALERTS_WEBHOOK_URL); then "
            "`embedwatch alerts test`",
        )
    count = facts.alerting_members
    if count is None:
        why = facts.reasons.get("alerting", "the broker was not asked")
        return _unknown(f"{told} answer; whether alerting runs is not known: {why}", "run `embedwatch check`")
    if not count:
        return _no(f"{told} answer, but group {facts.alerting_group} has no member", "run `embedwatch alerts`")
    states = ", ".join(f"{many} {name}" for name, many in sorted((facts.alerts_by_status or {}).items()))
    processes = "process" if count == 1 else "processes"
    return _yes(f"{told} answer, {count} alerting {processes} in the group{f'; states: {states}' if states else ''}")


def _thresholds(facts: Facts) -> _Found:
    judged = {str(row.get("metric")): row.get("threshold") for row in facts.verdicts}
    missing = [name for name in CRITICAL if name not in judged]
    if missing:
        return _no(
            f"no rule judges {', '.join(missing)} (/api/v1/verdicts)",
            f"put {'them' if len(missing) > 1 else 'it'} under `thresholds:` {RULES_FILE}",
        )
    count = len({str(row.get("metric")) for row in facts.verdicts})
    return _yes(f"{count} metrics are judged now, among them {', '.join(CRITICAL)} (/api/v1/verdicts)")


def _dashboard(facts: Facts) -> _Found:
    if facts.page_title is not None:
        return _yes(f"a page for people answers at {facts.agents_url}/ui ({facts.page_title})")
    return _unknown(
        f"no page for people answers at {facts.agents_url}/ui; whether a Grafana draws /metrics cannot be seen from "
        "here",
        "open `embedwatch report`, or let Prometheus scrape /metrics and draw it",
    )


def _rule(facts: Facts, metric: str, kind: str, write: str) -> _Found:
    """A rule of that type is judged now, whatever it says."""
    rows = [row for row in facts.verdicts if row.get("type") == kind]
    rows.sort(key=lambda row: (row.get("metric") != metric, bool(row.get("scope"))))
    if not rows:
        return _no(
            f"no rule of type {kind} is judged (/api/v1/verdicts)", f"put `{write}` under `thresholds:` {RULES_FILE}"
        )
    row = rows[0]
    value, limit, unit = _number(row, "value"), _number(row, "threshold"), row.get("unit", "")
    now = "no value yet" if value is None else f"{amount(value)} {unit}"
    shown = "an unknown limit" if limit is None else f"{amount(limit)} {unit}"
    more = f" ({len(rows)} such verdicts)" if len(rows) > 1 else ""
    condition = f"{row.get('metric')} {row.get('comparison', '>')} {shown}"
    return _yes(f"{row.get('alert_id')}: fires where {condition}; now {row.get('judgement')}, {now}{more}")


def _rule_latency(facts: Facts) -> _Found:
    return _rule(facts, "latency_p95_ms", "HIGH_LATENCY", "latency_p95_ms: 500")


def _rule_hit_rate(facts: Facts) -> _Found:
    return _rule(facts, "cache_hit_rate_pct", "LOW_CACHE_HIT_RATE", "cache_hit_rate_pct: 40")


def _rule_budget(facts: Facts) -> _Found:
    return _rule(facts, "daily_cost_usd", "BUDGET_EXCEEDED", "daily_cost_usd: 100")


def _rule_errors(facts: Facts) -> _Found:
    return _rule(facts, "error_rate_pct", "HIGH_ERROR_RATE", "error_rate_pct: 1.0")


def _baseline(facts: Facts) -> _Found:
    if not facts.baselines:
        return _no(
            f"no baseline in {facts.baselines_folder}",
            "`embedwatch baseline save NAME` after an hour of usual work; --dir names another folder",
        )
    names = ", ".join(facts.baselines[:3]) + (" and more" if len(facts.baselines) > 3 else "")
    return _yes(f"{len(facts.baselines)} in {facts.baselines_folder}: {names}")


def _percentiles(facts: Facts) -> _Found:
    if (nothing := _nothing(facts)) is not None:
        return nothing
    p95, mean = (_number(facts.summary, "performance", "latency_ms", name) for name in ("p95", "avg"))
    if p95 is None or mean is None:
        return _unknown(f"no text got a vector in the {_seen(facts)}", ALL_FAILED)
    return _yes(f"p95 {p95:,.1f} ms beside a mean of {mean:,.1f} ms, from sketches within 0.5 % ({_seen(facts)})")


def _breakdown(facts: Facts) -> _Found:
    today = _part(facts.summary, "today") or {}
    hits, misses = int(_number(today, "cache_hits") or 0), int(_number(today, "misses") or 0)
    misses -= int(_number(today, "uncached_texts") or 0)
    if not hits + misses:
        return _unknown("no text was looked for in a cache today (ledger)", SEND_TEXTS)
    cost, saved = _number(today, "cost_usd"), _number(today, "saved_usd")
    if today.get("cost_state") != "known" or today.get("saved_state") != "known" or cost is None or saved is None:
        return _no(
            f"{misses:,} misses and {hits:,} hits today, at prices that are not all known (ledger)",
            SET_PRICES,
        )
    return _yes(f"{misses:,} misses cost ${cost:,.6f}, {hits:,} hits saved ${saved:,.6f} today (ledger)")


def _regression(facts: Facts) -> _Found:
    found = [row for row in facts.verdicts if row.get("type") == "LATENCY_REGRESSION"]
    if found:
        return _yes(f"{found[0].get('alert_id')}: now {found[0].get('judgement')} (/api/v1/verdicts)")
    return _no(
        "no rule compares with a baseline (/api/v1/verdicts)",
        "put `- {type: LATENCY_REGRESSION, baseline: NAME, window: 5m}` under `rules:` "
        f"{RULES_FILE}; in CI: `embedwatch compare A B`",
    )


@dataclass(frozen=True, slots=True)
class _Class:
    """Calls of models of one kind that come in one way, as the guide tells them apart."""

    p95_ms: float | None = None  # of the slowest model
    texts_per_minute: float | None = None
    models: tuple[str, ...] = ()


def _local(name: str, summary: Mapping[str, Any]) -> bool | None:
    """Whether a model runs on a machine of ours; None: neither its price, its name nor a GPU tells."""
    if _number(summary, "today", "gpu_hour_nano_usd") or _on_gpu(name, summary):
        return True
    return False if provider_of(name) is not None else None


def _texts_a_batch(summary: Mapping[str, Any]) -> float | None:
    """Mean over the window, of texts that the model was given: of the cache come no batches."""
    texts = int(_number(summary, "performance", "texts") or 0)
    given = texts - sum(int(_number(summary, "cache", name) or 0) for name in ("hits", "duplicates"))
    for phase in (_part(summary, "performance", "phases") or {}).values():
        batch, text = _number(phase, "per_batch_ms"), _number(phase, "per_text_ms")
        if batch and text and texts:
            return given * batch / text / texts  # what a phase takes a batch over what it takes a text: texts a batch
    return None


def _class_of(name: str, summary: Mapping[str, Any]) -> str | None:
    """Which of the guide's classes a model's calls were of; None where that cannot be told."""
    if (local := _local(name, summary)) is not None and local:
        return "local"
    size = _texts_a_batch(summary)
    if size is None:
        return None
    # A mean of one is of calls that had one text each: none has fewer. Texts that failed before they were in a batch
    # make it larger, so that singles may be taken for batches and never the other way round.
    return "one text" if size <= 1.0 + 1e-6 else "batch" if local is False else None


def _classes(models: Mapping[str, Mapping[str, Any]]) -> dict[str, _Class]:
    found: dict[str, _Class] = {}
    for name, summary in sorted(models.items()):
        kind = _class_of(name, summary)
        p95 = _number(summary, "performance", "latency_ms", "p95")
        rate = _number(summary, "performance", "throughput_texts_per_s")
        kinds = [] if kind is None else [kind]
        # Throughput has two classes only: what is bought, and what runs on a GPU of ours.
        if (local := _local(name, summary)) is not None:
            kinds.append("GPU" if local and _on_gpu(name, summary) else "CPU" if local else "API")
        for each in kinds if _number(summary, "performance", "texts") else []:
            before = found.get(each, _Class())
            slowest = max((value for value in (before.p95_ms, p95) if value is not None), default=None)
            rates = [
                value for value in (before.texts_per_minute, None if rate is None else rate * 60) if value is not None
            ]
            found[each] = _Class(slowest, sum(rates) if rates else None, (*before.models, name))
    return found


def _on_gpu(name: str, summary: Mapping[str, Any]) -> bool:
    workers = (worker for worker in _part(summary, "workers") or () if isinstance(worker, Mapping))
    return any(
        _number(gpu, "utilization_pct") is not None
        for worker in workers
        if worker.get("model") == name and worker.get("role", "worker") == "worker"
        for gpu in worker.get("gpus") or ()
    )


def _targets(facts: Facts) -> Iterable[Target]:
    """The guide's targets beside what is measured. Latency and throughput have one for each way to embed, and each is
    held against the models that embed in this way; of a way that nobody takes nothing is said."""
    summary, classes = facts.summary, _classes(facts.models)
    window = f"summary of the last {summary.get('window_seconds')} s"
    texts = _number(summary, "performance", "texts") or 0

    def where(kind: str) -> str:
        names = classes.get(kind, _Class()).models
        if not names:
            unsorted = "" if not facts.models_unknown else f"; {facts.models_unknown}"
            return f"no such call in the {window}{unsorted}"
        return f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''}, {window}"

    for name, kind, most in (
        ("one text", "one text", 100.0),
        ("a batch (API)", "batch", 500.0),
        ("local", "local", 50.0),
    ):
        p95 = classes.get(kind, _Class()).p95_ms
        yield _below(f"latency p95, {name}", p95, "ms", most, where(kind), NOT_SEEN)
    for name, kind, least in (("throughput (API)", "API", 1000.0), ("throughput, local GPU", "GPU", 5000.0)):
        yield _above(name, classes.get(kind, _Class()).texts_per_minute, "texts/min", least, where(kind), NOT_SEEN)
    hits = _number(summary, "cache", "hit_rate_pct")
    yield Target("cache hit rate", hits, "%", "> 60", _kept(hits, lambda v: v > 60), window)
    yield _below("error rate", _number(summary, "performance", "error_rate_pct") if texts else None, "%", 1.0, window)
    yield _below("queue depth", _number(summary, "queue", "depth_texts"), "texts", 1000.0, "newest lag samples")
    workers = [worker for worker in _part(summary, "workers") or () if isinstance(worker, Mapping)]
    loads = [value for worker in workers if (value := _number(worker, "model_load_seconds")) is not None]
    yield _below("model load, the slowest worker", max(loads, default=None), "s", 30.0, "heartbeats")
    used = [
        value
        for worker in workers
        for gpu in worker.get("gpus") or ()
        if isinstance(gpu, Mapping) and (value := _number(gpu, "utilization_pct")) is not None
    ]
    mean = sum(used) / len(used) if used else None
    yield Target("GPU utilization, the mean", mean, "%", "70-90", _kept(mean, lambda v: 70 <= v <= 90), "heartbeats")


def amount(value: float) -> str:
    """Four digits, as people write them: 29.79, 12,346, 5,000,000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _below(name: str, value: float | None, unit: str, most: float, where: str, absent: str = NOT_KNOWN) -> Target:
    return Target(name, value, unit, f"< {amount(most)}", _kept(value, lambda v: v < most), where, absent)


def _above(name: str, value: float | None, unit: str, least: float, where: str, absent: str = NOT_KNOWN) -> Target:
    return Target(name, value, unit, f">= {amount(least)}", _kept(value, lambda v: v >= least), where, absent)


def _kept(value: float | None, good: Callable[[float], bool]) -> Kept:
    return "unknown" if value is None else "yes" if good(value) else "no"
