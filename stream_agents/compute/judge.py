"""Rules applied to the world: one verdict for each rule and scope (and, for budgets, day and step).

A verdict is breached, ok, inconclusive (too few samples, or not known) or no_data. It never guesses: what is not known
is inconclusive, and an empty window is no_data, not zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from msgspec.structs import replace

from embedwatch.events import NANO_USD_PER_USD, Contributor, GpuSample, Judgement, ScalingLimit, Verdict
from embedwatch.pricing import known_nano_usd, to_usd
from embedwatch.rules import DAILY_METRICS, METRICS, Rule
from stream_agents.compute.baseline import against
from stream_agents.compute.budget import NO_PRICE, burn, worse
from stream_agents.compute.contributors import Explainer, latency_ms
from stream_agents.compute.ledger import day_scopes
from stream_agents.compute.rejections import rejected
from stream_agents.compute.scopes import ALL, Scope, parse_scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import World

#: A verdict that does not change is said again this often, so that alerting sees that somebody is watching.
REPEAT_SECONDS = 15.0
REPEAT_UNWELL_SECONDS = 5.0
TOP_CONTRIBUTORS = 3
LONGEST_ID = 256
#: Agents that have run for less, beyond the limit, may not have heard of every worker yet.
LEARN_WORKERS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's value, over how many samples, and what it is made of."""

    value: float | None
    samples: int
    reason: str = ""
    contributors: tuple[Contributor, ...] = ()
    #: Where the metric itself knows them better than the rule.
    threshold: float | None = None
    window_seconds: int | None = None
    note: str = ""
    judged: tuple[Judgement, str] | None = None  # where a threshold alone does not decide


def judge(rules: Iterable[Rule], world: World, now: float) -> list[Verdict]:
    """Every rule on every scope it applies to."""
    cache: dict[tuple[Scope, int], Totals] = {}
    out: list[Verdict] = []
    scopes: dict[tuple[object, ...], list[Scope]] = {}
    explainer = Explainer(world.windows, now, partial(_window, world, now, cache))
    for rule in rules:
        alike = (rule.by, rule.scope, rule.metric in DAILY_METRICS)  # what `_scopes` looks at
        if alike not in scopes:
            scopes[alike] = _scopes(rule, world, now)
        for scope in scopes[alike]:
            try:
                reading = read(rule, scope, world, now, cache)
            except ArithmeticError as error:
                # A number that nobody foresaw spoils the rule that reads it, and no other.
                reading = Reading(None, 1, f"cannot be computed ({type(error).__name__})")
            if rule.steps_pct:
                out += [_verdict(rule, scope, reading, world, now, step) for step in rule.steps_pct]
                continue
            found = _verdict(rule, scope, reading, world, now, None)
            unexplained = not reading.contributors and rule.baseline is None
            if rule.window_seconds and found.judgement == "breached" and unexplained:
                found = replace(found, contributors=list(explainer.explain(rule, scope)))
            out.append(found)
    return out


def _window(world: World, now: float, cache: dict[tuple[Scope, int], Totals], scope: Scope, seconds: int) -> Totals:
    """Looked up once for all rules of a moment: for reading only."""
    if (scope, seconds) not in cache:
        cache[scope, seconds] = world.windows.window(scope, seconds, now)
    return cache[scope, seconds]


def read(
    rule: Rule, scope: Scope, world: World, now: float, cache: dict[tuple[Scope, int], Totals] | None = None
) -> Reading:
    """The value of a rule's metric."""
    if rule.window_seconds:
        seen = {} if cache is None else cache
        return _windowed(rule, scope, _window(world, now, seen, scope, rule.window_seconds), world, now)
    if rule.metric == "daily_cost_usd":
        totals = world.day(world.today(now), scope)
        spent = to_usd(known_nano_usd(totals.cost_nano_usd, totals.unpriced_tokens))
        notes = []
        if totals.unpriced_tokens:
            notes.append(f"{totals.unpriced_tokens:,} tokens without a price are not in it")
        if totals.unsettled_texts:
            notes.append(f"{totals.unsettled_texts:,} texts of failed calls may have been billed beside it")
        return Reading(spent, totals.texts, NO_PRICE, _spenders(world, now, scope), note="; ".join(notes))
    if rule.metric == "daily_forecast_usd":
        texts, expected = world.day(world.today(now), scope).texts, world.forecast(now, scope)
        spenders = _spenders(world, now, scope)
        return Reading(expected.usd, texts, expected.reason, spenders, note=expected.reason)
    if rule.metric == "budget_burn_pct":
        return _burning(rule, scope, world, now)
    return _present(rule, world, now)


def _windowed(rule: Rule, scope: Scope, totals: Totals, world: World, now: float) -> Reading:
    metric = rule.metric
    if rule.baseline is not None:
        value, judgement, reason, phases = against(
            rule.baseline, scope, totals, threshold_pct=rule.threshold, min_texts=rule.min_samples
        )
        return Reading(value, totals.latency.count, reason, phases, judged=(judgement, reason))
    if metric == "rejected_events":
        return _rejected(rule.window_seconds, totals, world, now)
    if metric.startswith("latency_"):
        return Reading(latency_ms(metric, totals.latency), totals.latency.count)
    if metric == "error_rate_pct":
        return Reading(totals.error_rate_pct(), totals.texts)
    if metric == "queue_failing_pct":
        # What fails where no worker is heard of did not come from the queue.
        return Reading(totals.error_rate_pct(), totals.texts) if world.workers else Reading(None, 0)
    if metric == "cache_hit_rate_pct":
        return Reading(totals.cache_hit_rate_pct(), totals.looked_up)
    if metric == "unpriced_tokens":
        return Reading(float(totals.unpriced_tokens) if totals.events else None, totals.texts)
    if metric == "cache_errors":
        return Reading(float(totals.cache_errors) if totals.events else None, totals.texts)
    covered = world.windows.covered_seconds(totals, rule.window_seconds, now)
    if covered is None:
        return Reading(None, 0)
    amount = totals.tokens_embedded if metric == "throughput_tokens_per_s" else totals.texts
    return Reading(amount / covered, totals.texts)


def _rejected(window_seconds: int, totals: Totals, world: World, now: float) -> Reading:
    """With the workers that sent most of them, and the reasons."""
    if not world.partitions:
        return Reading(None, 0)
    parts = (state.rejections for state in world.partitions.values())
    reasons, workers = rejected(parts, window_seconds, now)
    count = reasons.total()
    worst = tuple(
        Contributor("worker", name, float(n), 100.0 * n / count) for name, n in workers.most_common(TOP_CONTRIBUTORS)
    )
    note = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(TOP_CONTRIBUTORS))
    # Never an empty window: that nothing was refused is known, also where nothing came.
    return Reading(float(count), max(totals.events + count, 1), contributors=worst, note=note)


def _burning(rule: Rule, scope: Scope, world: World, now: float) -> Reading:
    """The window that is nearer to its limit."""
    texts = world.day(world.today(now), scope).texts
    one = worse(world.burn(now, scope))
    note = "; ".join(part for part in (f"the {one.window.name} window", one.note) if part)
    return Reading(
        one.pct_of(rule.threshold),
        texts,
        NO_PRICE if one.nano_usd is None else "a budget of 0 has no share that could burn",
        _burners(rule, scope, world, now, one.window.name) if rule.threshold and one.nano_usd is not None else (),
        one.window.limit_pct,
        one.window.seconds,
        note,
    )


def _present(rule: Rule, world: World, now: float) -> Reading:
    metric = rule.metric
    if metric == "data_silent_seconds":
        since = world.started_seconds if world.last_batch_seconds is None else world.last_batch_seconds
        return Reading(None if since is None else max(now - since, 0.0), 1)
    if metric in ("worker_silent_seconds", "workers_silent_seconds"):
        return _silent(rule, world, now)
    if metric == "model_load_seconds":
        loads = {n: b.model_load_seconds for n, b in world.workers.items() if b.model_load_seconds is not None}
        top = tuple(Contributor("worker", n[:256], s) for n, s in sorted(loads.items(), key=lambda p: -p[1])[:3])
        return Reading(max(loads.values(), default=None), len(loads), contributors=top)
    if metric == "gpu_utilization_pct":
        return _gpu_use(world)
    if metric == "workers_over_capacity":
        return _over_capacity(world, now)
    queue = world.queue(now)
    value = {
        "queue_depth": queue.depth_texts,
        "lag_seconds": queue.lag_seconds,
        "stalled_partitions": queue.stalled_partitions,
    }[metric]
    return Reading(None if value is None else float(value), queue.partitions, queue.reason or "")


def _over_capacity(world: World, now: float) -> Reading:
    """Workers that the last decision wanted and could not ask for, with what stood in the way and the price."""
    doubt, event = world.decisions.doubt(now), world.decisions.current(now)
    if event is None or doubt is not None:
        return Reading(None, 0, doubt or "no decision")
    if not event.at_capacity or event.limited_by is None:
        return Reading(0.0, 1)
    note = f"{event.wanted_workers:,} are wanted, {_ALLOWS[event.limited_by].format(event.desired_workers)}"
    if event.wanted_cost_usd_per_hour is not None and event.cost_usd_per_hour is not None:
        note += (
            f"; {event.wanted_workers:,} would cost ${event.wanted_cost_usd_per_hour:,.2f} an hour instead of "
            f"${event.cost_usd_per_hour:,.2f}"
        )
    return Reading(float(event.wanted_workers - event.desired_workers), 1, note=note)


_ALLOWS: dict[ScalingLimit, str] = {
    "min_workers": "scaling.min_workers asks for {:,}",  # never the reason
    "max_workers": "scaling.max_workers allows {:,}",
    "partitions": "the topic has {:,} partitions",
    "slots": "scaling.slots has room for {:,}",
    "budget": "scaling.max_usd_per_hour pays for {:,}",
}


def _silent(rule: Rule, world: World, now: float) -> Reading:
    """The longest silence of a worker, or the shortest: how long none was heard of."""
    silences = world.silent_workers(now)
    since = world.started_seconds
    if since is None or now - since < rule.threshold + LEARN_WORKERS_SECONDS:
        # Those known from before may be heard of at any moment; what they were silent for while we were away is ours.
        return Reading(None, len(silences), "the agents have not listened for long enough")
    if not silences:
        # They said goodbye, or were silent for so long that nobody misses them: an alert of them is over.
        return Reading(None, 0, judged=("ok", "no worker is known, so none is missed"))
    all_of_them = rule.metric == "workers_silent_seconds"
    worst = tuple(Contributor("worker", name[:256], silence) for name, silence in silences[:TOP_CONTRIBUTORS])
    silent = sum(silence > rule.threshold for _, silence in silences)
    note = f"{silent} of {len(silences)} workers" if silent else ""
    return Reading(silences[-1 if all_of_them else 0][1], len(silences), contributors=worst, note=note)


def _gpu_use(world: World) -> Reading:
    """Mean over GPUs, not over workers: several may share one. The newest that knows speaks for it."""
    newest: dict[str, GpuSample] = {}
    for beat in sorted(world.workers.values(), key=lambda beat: beat.time_seconds):
        for number, gpu in enumerate(beat.gpus):
            # An older worker does not say which GPU it is.
            key = gpu.uuid or f"{beat.worker} {number}"
            if key not in newest or gpu.utilization_pct is not None:
                newest[key] = gpu
    known = [gpu.utilization_pct for gpu in newest.values() if gpu.utilization_pct is not None]
    if known:
        return Reading(sum(known) / len(known), len(known))
    reasons = (gpu.missing.get("utilization_pct") for gpu in newest.values())
    return Reading(None, 0, next((reason for reason in reasons if reason), "no GPU is visible"))


def _verdict(rule: Rule, scope: Scope, reading: Reading, world: World, now: float, step_pct: float | None) -> Verdict:
    threshold = rule.threshold if step_pct is None else rule.threshold * step_pct / 100.0
    if reading.threshold is not None:
        threshold = reading.threshold
    day = world.today(now) if rule.metric in DAILY_METRICS else None
    judgement, reason = _judgement(rule, reading, threshold)
    severity = rule.severity
    if step_pct is not None and step_pct < 100:
        severity = "info"  # a step on the way tells; the budget itself warns
    identity = [rule.name, scope_key(scope)]
    if day is not None:
        identity.append(day)
    if step_pct is not None:
        identity.append(f"{step_pct:g}%")
    return Verdict(
        alert_id=_bounded("|".join(identity)),
        time_seconds=now,
        rule=rule.name,
        alert_type=rule.alert_type,
        severity=severity,
        scope=dict(scope),
        judgement=judgement,
        metric=rule.metric,
        threshold=threshold,
        comparison=">" if rule.comparison == ">" else "<",
        unit=rule.unit,
        window_seconds=float(rule.window_seconds if reading.window_seconds is None else reading.window_seconds),
        samples=reading.samples,
        value=reading.value,
        for_seconds=rule.for_seconds,
        keep_firing_for_seconds=rule.keep_firing_for_seconds,
        reason=reason,
        contributors=list(reading.contributors),
        route=rule.route,
        text=rule.text,
        runbook=rule.runbook,
        day=day,
        timezone=None if day is None else world.zone.key,
    )


def _bounded(identity: str) -> str:
    """At most 256 characters, as a label holds. Cut off alone, two long scopes (or two steps) would be one alert."""
    if len(identity) <= LONGEST_ID:
        return identity
    return f"{identity[: LONGEST_ID - 17]}#{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _needed(samples: int) -> str:
    return "1 is needed" if samples == 1 else f"{samples} are needed"


def _judgement(rule: Rule, reading: Reading, threshold: float) -> tuple[Judgement, str]:
    if METRICS[rule.metric].windowed and reading.samples == 0:
        return "no_data", "nothing in the window"
    if reading.value is None and reading.judged is not None and reading.judged[0] == "ok":
        return reading.judged
    if reading.value is None:
        return "inconclusive", reading.reason or "not known"
    if reading.samples < rule.min_samples:
        unit = "sample" if reading.samples == 1 else "samples"
        return "inconclusive", f"{reading.samples} {unit}, {_needed(rule.min_samples)}"
    if reading.judged is not None:
        return reading.judged
    breached = reading.value > threshold if rule.comparison == ">" else reading.value < threshold
    relation = "above" if rule.comparison == ">" else "below"
    note = f" ({reading.note})" if reading.note else ""
    if breached:
        return "breached", f"{relation} the threshold{note}"
    return "ok", f"not {relation} the threshold{note}"


def _scopes(rule: Rule, world: World, now: float) -> list[Scope]:
    if not rule.by:
        # Scopes are kept with the model before the tenant, as `scopes_of` makes them; so is a rule's, by name.
        return [rule.scope]
    seen = [scope for scope in world.windows.scopes() if scope]
    if rule.metric in DAILY_METRICS:
        seen = [parse_scope(key) for key in sorted(day_scopes(world.partitions.values(), world.today(now)))]
    wanted = {*rule.by, *(dimension for dimension, _ in rule.scope)}
    return sorted(s for s in seen if {d for d, _ in s} == wanted and set(rule.scope) <= set(s))


def _spenders(world: World, now: float, scope: Scope) -> tuple[Contributor, ...]:
    """Who spent most today, for the whole pipeline: models, then tenants."""
    if scope != ALL:
        return ()
    day = world.today(now)
    costs = {inner: world.day(day, inner).cost_nano_usd for inner in _parts(world, day)}
    return _largest(costs, world.day(day).cost_nano_usd, NANO_USD_PER_USD)


def _burners(rule: Rule, scope: Scope, world: World, now: float, window: str) -> tuple[Contributor, ...]:
    """Who spent most in a window, in percent of the budget."""
    if scope != ALL:
        return ()
    number = ("fast", "slow").index(window)
    states = world.partitions.values()
    spends = {inner: burn(states, scope_key(inner), world.zone, now)[number].nano_usd or 0.0
              for inner in (ALL, *_parts(world, world.today(now)))}  # fmt: skip
    return _largest(spends, spends.pop(ALL), rule.threshold * NANO_USD_PER_USD / 100.0)


def _parts(world: World, day: str) -> list[Scope]:
    """Models and tenants of a day."""
    scopes = (parse_scope(key) for key in day_scopes(world.partitions.values(), day))
    return [scope for scope in scopes if len(scope) == 1 and scope[0][0] in ("model", "tenant")]


def _largest(spends: Mapping[Scope, float], whole: float, unit_nano_usd: float) -> tuple[Contributor, ...]:
    out: list[Contributor] = []
    for ((dimension, name),), spend in spends.items():
        if spend:
            kind: Literal["model", "tenant"] = "model" if dimension == "model" else "tenant"
            out.append(Contributor(kind, name[:256], spend / unit_nano_usd, 100.0 * spend / whole))
    return tuple(sorted(out, key=lambda c: -c.value)[:TOP_CONTRIBUTORS])


@dataclass(slots=True)
class Announcer:
    """Which verdicts go out: changes at once, the rest again now and then."""

    _last: dict[str, tuple[Judgement, float]] = field(default_factory=dict)

    def due(self, verdicts: Iterable[Verdict], now: float) -> list[Verdict]:
        """Verdicts to publish now. Call `said` when they are out: one that could not be published stays due."""
        current = list(verdicts)
        if len(self._last) > 4 * len(current) + 1000:
            # Yesterday's budgets and scopes that are gone.
            keep = {verdict.alert_id for verdict in current}
            self._last = {key: value for key, value in self._last.items() if key in keep}
        return [verdict for verdict in current if self._is_due(verdict, now)]

    def said(self, verdicts: Iterable[Verdict], now: float) -> None:
        """They were published at `now`."""
        self._last.update({verdict.alert_id: (verdict.judgement, now) for verdict in verdicts})

    def _is_due(self, verdict: Verdict, now: float) -> bool:
        last = self._last.get(verdict.alert_id)
        if last is None:
            return True
        judgement, at = last
        every = REPEAT_UNWELL_SECONDS if "breached" in (verdict.judgement, judgement) else REPEAT_SECONDS
        return judgement != verdict.judgement or now - at >= every or now < at
