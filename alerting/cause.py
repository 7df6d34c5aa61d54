"""The likely cause of an alert, from what the agents found to have moved. Pure.

The agents name a part only where it grew, with its share of all growth: what is not named hardly changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from alerting.phrases import PHASE_CAUSES
from alerting.wording import clean, quantity
from embedwatch.events import Contributor, Verdict

NAME_CHARS = 80
#: When the named phases make up so much of the growth, the others are called unchanged.
NEARLY_ALL_PCT = 90.0
_KINDS = {"error_class": "error class"}
#: Of these a contributor is one of those that it is about, and no part of a whole.
_OF_WORKERS = {
    "worker_silent_seconds": "silent for",
    "workers_silent_seconds": "silent for",
    "model_load_seconds": "took",
}


def cause(verdict: Verdict) -> str | None:
    """What moved the number; None where there is nothing to tell."""
    found = verdict.contributors
    if not found:
        return None
    if verdict.alert_type == "LATENCY_REGRESSION":
        # Here a part is what it added to the time of a batch, in percent of the baseline's.
        return f"more time a batch in {', '.join(_added(part) for part in found[:3])}."
    if verdict.metric in _OF_WORKERS:
        return _workers(found, _OF_WORKERS[verdict.metric], verdict)
    ranked = sorted(found, key=lambda c: (c.share_pct or 0.0, c.value), reverse=True)
    first = ranked[0]
    name = clean(first.name, NAME_CHARS)
    if first.kind == "phase":
        what, advice = PHASE_CAUSES.get(first.name, (name, ""))
        steady = ", the model itself is as fast as before" if _model_is_steady(first, found) else ""
        text = f"mostly {what} ({_share(first, verdict)}){steady}{': ' if advice else ''}{advice}"
    else:
        text = f"mostly {_KINDS.get(first.kind, first.kind)} {name} ({_share(first, verdict)})"
    others = [
        f"{'' if c.kind in (first.kind, 'phase') else _KINDS.get(c.kind, c.kind) + ' '}{clean(c.name, NAME_CHARS)}"
        f" ({_share(c, verdict)})"
        for c in ranked[1:3]
    ]
    return f"{text}; then {', '.join(others)}." if others else f"{text}."


def _model_is_steady(first: Contributor, found: Sequence[Contributor]) -> bool:
    """Only where it is known what was before (a factor), and where the named phases are nearly all of the growth."""
    phases = {part.name: part.share_pct or 0.0 for part in found if part.kind == "phase"}
    return first.factor is not None and "embed" not in phases and sum(phases.values()) >= NEARLY_ALL_PCT


def _workers(found: Sequence[Contributor], verb: str, verdict: Verdict) -> str:
    named = [f"{clean(part.name, NAME_CHARS)} {verb} {quantity(part.value, _unit(verdict))}" for part in found[:3]]
    return f"worker{'s' if len(named) > 1 else ''} {', '.join(named)}."


def _added(part: Contributor) -> str:
    what, _ = PHASE_CAUSES.get(part.name, (clean(part.name, NAME_CHARS), ""))
    share = f", {quantity(part.share_pct, '%')} of the growth" if part.share_pct is not None else ""
    return f"{what} (+{quantity(part.value, '%')} of the baseline's{share})"


def _share(part: Contributor, verdict: Verdict) -> str:
    value = quantity(part.value, _unit(verdict))
    if part.kind == "worker" and verdict.metric.startswith("latency_"):
        value += " on average"
    if part.factor is not None and math.isfinite(part.factor) and not 0.95 < part.factor < 1.05:
        value += f", {quantity(part.factor, '')} times what it was"
    return f"{value}, {quantity(part.share_pct, '%')}" if part.share_pct is not None else value


def _unit(verdict: Verdict) -> str:
    return clean(verdict.unit, 20)
