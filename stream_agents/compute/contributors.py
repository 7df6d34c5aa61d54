"""What moved a number: the phases, error classes, models, tenants and workers behind a breached rule.

A window is compared with the hour before it, as far as that is kept. What was slow, failing or missing all along did
not move anything; where nothing is known of before, the largest part is named instead. `share_pct` is a part's share
of the move (of the growth of a batch's time, of the slow texts or errors beyond the usual, of the hits or texts that
are missing), `factor` its value over that of the hour before.

Of workers there are sums only, by model and not by tenant: a worker's value of any latency is its mean, and in a scope
with a tenant none is named. One is named only where its part of the move is larger than its part of the texts: where
all became slower, three of them in an alert would send people the wrong way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from embedwatch.events import CANCELLED, WORKING_PHASES, Contributor
from embedwatch.rules import Rule
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import Scope
from stream_agents.compute.windows import Totals, Windows
from stream_agents.compute.worker_panes import WorkerSums

#: At most so many of each kind are named.
TOP = 3
#: Looked at in each dimension, the busiest first: a thousand tenants must not hold up a verdict.
MAX_INNER = 50
#: Below it a sum of the past is no measure of the present.
MIN_TEXTS = 20
#: A batch's time is said to have moved when it grew by a twentieth; less is how batches differ.
MOVED = 1.05
#: A smaller part of the move explains nothing.
MIN_SHARE_PCT = 2.0
#: A worker stands out when its part of the move is larger by this than its part of the texts.
STANDS_OUT = 1.25
ERROR_RATES = ("error_rate_pct", "queue_failing_pct")
#: The metrics that sums by worker explain.
OF_WORKERS = ("latency_", "throughput_", *ERROR_RATES, "cache_hit_rate_pct")

Kind = Literal["model", "tenant"]
Inner = tuple[Kind, str, Scope]
#: Name, value in the rule's unit now and before (None: not known), and its part of the move.
Part = tuple[str, float | None, float | None, float]
Sums = Mapping[str | None, WorkerSums]
OTHERS = ""  # no worker has this name in an alert


class Explainer:
    """For one moment: what it looked up for one rule serves the next. `window` gives a scope's totals in a window."""

    def __init__(self, windows: Windows, now: float, window: Callable[[Scope, int], Totals]) -> None:
        self._windows = windows
        self._now = now
        self._window = window
        self._before: dict[tuple[Scope, int], Totals] = {}
        self._inner: dict[Scope, list[Inner]] = {}
        self._inside: dict[Scope, list[Inner]] | None = None
        self._sums: dict[tuple[str | None, int], tuple[Sums, Sums]] = {}

    def explain(self, rule: Rule, scope: Scope) -> tuple[Contributor, ...]:
        """The contributors to a breach of a windowed rule, the largest of each kind first; empty when none is known."""
        metric, seconds = rule.metric, rule.window_seconds
        totals, before = self._window(scope, seconds), self.before(scope, seconds)
        out: tuple[Contributor, ...] = ()
        if metric.startswith(("latency_", "throughput_")):
            out += phases(totals, before)
        elif metric in ERROR_RATES:
            out += error_classes(totals, before)
        parts: dict[Kind, list[Part]] = {"model": [], "tenant": []}
        for kind, name, inner in self.inner(scope):
            mine, past = self._window(inner, seconds), self.before(inner, seconds)
            now_s, past_s = self._covered(mine, seconds), max(self._now - seconds - past.first_seconds, 1.0)
            amount = _moved(rule, mine, past, before, now_s, past_s)
            parts[kind].append((name, _value(metric, mine, now_s), _value(metric, past, past_s), amount))
        for kind, found in parts.items():
            # One model alone is not what moved, it is all there is; only of a missing price is it worth the name.
            if len(found) > 1 or metric == "unpriced_tokens":
                out += _largest(kind, found)
        return out + self._workers(metric, scope, seconds)

    def _workers(self, metric: str, scope: Scope, seconds: int) -> tuple[Contributor, ...]:
        """The workers of a scope that stand out."""
        names = dict(scope)
        if not metric.startswith(OF_WORKERS) or names.keys() - {"model"}:
            return ()
        key = (names.get("model"), seconds)
        if key not in self._sums:
            now, past = (
                sums(seconds, self._now) for sums in (self._windows.workers_window, self._windows.workers_before)
            )
            self._sums[key] = now.of_model(key[0]).by_name(), past.of_model(key[0]).by_name()
        now_s = self._covered(self._window(scope, seconds), seconds)
        return workers(metric, *self._sums[key], now_s, self._now - seconds)

    def before(self, scope: Scope, window_seconds: int) -> Totals:
        """Totals of the hour before a window, as far as it is kept."""
        key = (scope, window_seconds)
        if key not in self._before:
            self._before[key] = self._windows.before(scope, window_seconds, self._now)
        return self._before[key]

    def inner(self, scope: Scope) -> list[Inner]:
        """The scopes inside a scope that say one thing more, the busiest of the last hour where there are many."""
        if self._inside is None:
            self._inside = _index(self._windows.scopes())
        if scope not in self._inner:
            found: list[Inner] = []
            for kind in ("model", "tenant"):
                mine = [inner for inner in self._inside.get(scope, ()) if inner[0] == kind]
                if len(mine) > MAX_INNER:
                    hour = self._windows.keep_seconds
                    mine.sort(key=lambda inner: -self._windows.texts(inner[2], hour, self._now))
                found += mine[:MAX_INNER]
            self._inner[scope] = found
        return self._inner[scope]

    def _covered(self, totals: Totals, window_seconds: int) -> float:
        return self._windows.covered_seconds(totals, window_seconds, self._now) or float(window_seconds)


def latency_ms(metric: str, sketch: Sketch) -> float | None:
    """`latency_p95_ms`, `latency_avg_ms`, `latency_max_ms` and the like of a sketch; None when it is empty."""
    statistic = metric.removeprefix("latency_").removesuffix("_ms")
    if statistic == "avg":
        return sketch.mean()
    if statistic == "max":
        return sketch.maximum if sketch.count else None
    return sketch.quantile(int(statistic[1:]) / 100)


def _value(metric: str, totals: Totals, seconds: float) -> float | None:
    """The metric of some totals over so many seconds; None when it is not known or is not explained by scopes."""
    if metric.startswith("latency_"):
        return latency_ms(metric, totals.latency)
    if metric in ERROR_RATES:
        return totals.error_rate_pct()
    if metric == "cache_hit_rate_pct":
        return totals.cache_hit_rate_pct()
    if metric == "unpriced_tokens":
        return float(totals.unpriced_tokens)
    if metric.startswith("throughput_"):
        return _amount(metric, totals) / seconds
    return None


def _moved(rule: Rule, mine: Totals, past: Totals, whole_past: Totals, now_s: float, past_s: float) -> float:
    """A scope's part of the move: slow texts, errors, misses or texts a second beyond what was usual for it, or for
    the whole where it is new."""
    usual = past if past.texts >= MIN_TEXTS else whole_past
    known = usual.texts >= MIN_TEXTS
    if rule.metric.startswith("latency_"):
        share, usual_share = mine.latency.share_above(rule.threshold), usual.latency.share_above(rule.threshold)
        return mine.latency.count * ((share or 0.0) - (usual_share if known and usual_share else 0.0))
    if rule.metric in ERROR_RATES:
        return mine.failed_count - (mine.texts * usual.failed_count / usual.texts if known else 0.0)
    if rule.metric == "cache_hit_rate_pct":
        usual_pct = usual.cache_hit_rate_pct() if known else None
        looked_up = mine.looked_up
        return looked_up * (100.0 if usual_pct is None else usual_pct) / 100.0 - mine.cache_hits
    if rule.metric.startswith("throughput_"):
        return _amount(rule.metric, past) / past_s - _amount(rule.metric, mine) / now_s if past.texts else 0.0
    return float(mine.unpriced_tokens) if rule.metric == "unpriced_tokens" else 0.0


def _amount(metric: str, totals: Totals) -> int:
    return totals.tokens_embedded if metric == "throughput_tokens_per_s" else totals.texts


def phases(totals: Totals, before: Totals) -> tuple[Contributor, ...]:
    """Working phases with their mean milliseconds a batch: those that grew, or the largest when nothing did.

    Queue wait is not work and stands apart.
    """
    now, past = _phase_ms(totals), _phase_ms(before)
    if not now:
        return ()
    if before.texts >= MIN_TEXTS and past and sum(now.values()) >= MOVED * sum(past.values()):
        return _largest("phase", [(name, now[name], past[name], now[name] - past[name]) for name in now])
    return _largest("phase", [(name, now[name], past.get(name), now[name]) for name in now])


def error_classes(totals: Totals, before: Totals) -> tuple[Contributor, ...]:
    """Error classes with their errors in per cent of all texts: those above their usual rate. `cancelled` is in no
    rate, and moves none."""
    if not totals.texts:
        return ()
    parts: list[Part] = []
    for name, count in totals.errors.items():
        if name == CANCELLED:
            continue
        usual = before.errors.get(name, 0) / before.texts if before.texts >= MIN_TEXTS else None
        parts.append(
            (name, 100.0 * count / totals.texts, None if usual is None else 100.0 * usual,
             count - (usual or 0.0) * totals.texts)
        )  # fmt: skip
    return _largest("error_class", parts)


def workers(metric: str, now: Sums, past: Sums, now_s: float, past_end: float) -> tuple[Contributor, ...]:
    """Workers that stand out of a move, with their mean latency, error or hit rate, or what they do a second.

    `now` is of `now_s` seconds, `past` up to the moment `past_end`; both by name, None for those not told apart.
    """
    whole_past, idle = WorkerSums(), WorkerSums()
    for sums in past.values():
        whole_past.merge(sums)
    parts: list[Part] = []
    weights: dict[str, float] = {}
    unmoved = set()
    for name in {**past, **now}:
        mine, before = now.get(name, idle), past.get(name, idle)
        past_s = max(past_end - before.first_seconds, 1.0)
        if metric.startswith("throughput_"):
            expected = _worker_amount(metric, before) / past_s
            moved = expected - _worker_amount(metric, mine) / now_s
            weight = expected
        else:
            usual = next((sums for sums in (before, whole_past) if sums.texts >= MIN_TEXTS), idle)
            (moved, expected), weight = _worker_moved(metric, mine, usual), float(mine.texts)
        key = OTHERS if name is None else name
        weights[key] = weight
        if name is None or moved < (MOVED - 1.0) * expected:
            unmoved.add(key)
        parts.append((key, _worker_value(metric, mine, now_s), _worker_value(metric, before, past_s), moved))
    grown, every = sum(part[3] for part in parts if part[3] > 0), sum(weights.values())
    for key, _, _, moved in parts:
        if grown and moved / grown < STANDS_OUT * weights[key] / (every or 1.0):
            unmoved.add(key)
    # One worker alone is all there is.
    return _largest("worker", parts, unmoved) if len(parts) > 1 else ()


def _worker_moved(metric: str, mine: WorkerSums, usual: WorkerSums) -> tuple[float, float]:
    """A worker's milliseconds, errors or misses beyond what is expected, and what is; all of them where nothing is
    known of before."""
    if metric.startswith("latency_"):
        expected = mine.latency_texts * (usual.latency_mean_ms() or 0.0)
        return mine.latency_ms - expected, expected
    if metric in ERROR_RATES:
        expected = mine.texts * (usual.error_rate_pct() or 0.0) / 100.0
        return mine.errors - expected, expected
    usual_pct = usual.cache_hit_rate_pct()
    expected = (mine.cache_hits + mine.misses) * (100.0 if usual_pct is None else usual_pct) / 100.0
    return expected - mine.cache_hits, expected


def _worker_value(metric: str, sums: WorkerSums, seconds: float) -> float | None:
    if metric.startswith("latency_"):
        return sums.latency_mean_ms()
    if metric in ERROR_RATES:
        return sums.error_rate_pct()
    return sums.cache_hit_rate_pct() if metric == "cache_hit_rate_pct" else _worker_amount(metric, sums) / seconds


def _worker_amount(metric: str, sums: WorkerSums) -> int:
    return sums.tokens_embedded if metric == "throughput_tokens_per_s" else sums.texts


def _phase_ms(totals: Totals) -> dict[str, float]:
    if not totals.batch_share:
        return {}
    return {name: 1000.0 * totals.phase_seconds[name] / totals.batch_share for name in WORKING_PHASES}


def _largest(
    kind: Literal["phase", "error_class", "model", "tenant", "worker"],
    parts: Iterable[Part],
    unnamed: Collection[str] = (),
) -> tuple[Contributor, ...]:
    grown = sorted((part for part in parts if part[3] > 0), key=lambda part: (-part[3], part[0]))
    whole = sum(part[3] for part in grown)
    grown = [part for part in grown if part[0] not in unnamed]
    return tuple(
        Contributor(kind, name[:256], value, 100.0 * amount / whole, value / past if past else None)
        for name, value, past, amount in grown[:TOP]
        if value is not None and 100.0 * amount >= MIN_SHARE_PCT * whole
    )


def _index(scopes: Iterable[Scope]) -> dict[Scope, list[Inner]]:
    """For each scope those inside it that say one thing more."""
    out: dict[Scope, list[Inner]] = {}
    for scope in scopes:
        for at, (dimension, name) in enumerate(scope):
            if dimension == "model":
                out.setdefault(scope[:at] + scope[at + 1 :], []).append(("model", name, scope))
            elif dimension == "tenant":
                out.setdefault(scope[:at] + scope[at + 1 :], []).append(("tenant", name, scope))
    return out
