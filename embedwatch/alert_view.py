"""Alerts as others than alerting read them from the topic `alerts`: what they are, not what they owe to whom. Pure.

Written by alerting, which may be newer than the reader. So what a reader does not need is passed over, names that it
does not know are taken as they are, and only what has no identity is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from embedwatch.alert_words import SUBJECTS, TITLES
from embedwatch.errors import InvalidEvent

#: What kind of record it is stands in this field; those of other kinds (the books of the digest) are no alerts.
KIND = "alert"
#: Header of a record: in whose time of holding the alerts it was written. One of an earlier time comes too late.
TERM = "term"
#: Of an alert that fired and is not over.
ACTIVE = ("firing", "acknowledged", "snoozed", "no_data")
#: The newest of an alert; alerting keeps no more.
MAX_TRANSITIONS = 20
MAX_TEXT_CHARS = 1000


class Act(Struct, frozen=True):
    """What a person did. `until_seconds` is of a snooze. Times are Unix seconds."""

    do: str
    by: str
    via: str = ""
    at_seconds: float | None = None
    until_seconds: float | None = None
    note: str | None = None


class Transition(Struct, frozen=True):
    """What an alert became, and why; by a person where there is an `act`."""

    at_seconds: float
    status: str
    reason: str
    act: Act | None = None


class Quiet(Struct, frozen=True):
    """Why nobody is told of it: a silence, another alert that says it already, a snooze."""

    kind: str
    by: str
    until_seconds: float | None = None


class Judged(Struct, frozen=True):
    """What is needed of a verdict."""

    rule: str
    alert_type: str
    severity: str
    metric: str
    threshold: float
    unit: str = ""
    comparison: str = ">"
    scope: dict[str, str] = msgspec.field(default_factory=dict)
    value: float | None = None
    window_seconds: float = 0.0
    reason: str = ""
    day: str | None = None
    runbook: str | None = None


class AlertView(Struct, frozen=True):
    """One alert. `breach` is the newest verdict that was breached; `verdict` the newest of all."""

    alert_id: str
    status: str
    verdict: Judged
    changed_at_seconds: float
    reason: str = ""
    episode: int = 0
    breach: Judged | None = None
    breached_since_seconds: float | None = None
    fired_at_seconds: float | None = None
    resolved_at_seconds: float | None = None
    worst_value: float | None = None
    act: Act | None = None
    quiet: Quiet | None = None
    history: Sequence[Transition] = ()
    type: str = ""

    @property
    def active(self) -> bool:
        """It fired and is not over."""
        return self.status in ACTIVE

    @property
    def shown(self) -> Judged:
        """What made it fire, while it is active; else what is known now."""
        return self.breach if self.active and self.breach is not None else self.verdict

    @property
    def since_seconds(self) -> float:
        """When the present episode began; else the last change."""
        if self.active or self.status == "pending":
            for moment in (self.breached_since_seconds, self.fired_at_seconds):
                if moment is not None:
                    return moment
        return self.changed_at_seconds

    @property
    def title(self) -> str:
        """What is wrong: "high latency"."""
        return title(self.verdict.alert_type)

    @property
    def summary(self) -> str:
        """Value, limit and window in plain words."""
        return summary(self.shown)


class _Kind(Struct):
    type: str = KIND


_kind = msgspec.json.Decoder(_Kind)
_decoder = msgspec.json.Decoder(AlertView)


def decode(data: bytes) -> AlertView | None:
    """None for a record of another kind. Raises `InvalidEvent` for an alert that cannot be read."""
    try:
        if _kind.decode(data).type != KIND:
            return None
        view = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("invalid", str(error)) from None
    return msgspec.structs.replace(view, history=tuple(view.history)[-MAX_TRANSITIONS:])


def term_of(headers: Sequence[tuple[str, bytes]] | None) -> int | None:
    """In whose time of holding the alerts a record was written; None where that is not said."""
    found = next((value for name, value in headers or () if name == TERM), None) or b""
    return int(found) if found.isdigit() and len(found) < 19 else None


def title(alert_type: str) -> str:
    known: Mapping[Any, str] = TITLES  # a newer version has types that ours does not name
    return known.get(alert_type) or alert_type.replace("_", " ").lower()


def summary(judged: Judged) -> str:
    """ "P95 latency is 3,118 ms, limit 500 ms, over the last 20 s." """
    words = SUBJECTS.get(judged.metric) or judged.metric.removesuffix(f"_{judged.unit}").replace("_", " ")
    limit = "minimum" if judged.comparison == "<" else "limit"
    span = f", over the last {judged.window_seconds:,.0f} s" if judged.window_seconds else ""
    day = f" of {judged.day}" if judged.day else ""
    value, threshold = _quantity(judged.value, judged.unit), _quantity(judged.threshold, judged.unit)
    return f"{words[:1].upper()}{words[1:]}{day} is {value}, {limit} {threshold}{span}."[:MAX_TEXT_CHARS]


def _quantity(value: float | None, unit: str) -> str:
    if value is None or not math.isfinite(value):
        return "not known"
    if unit == "USD":
        return f"${value:,.2f}" if value == 0 or abs(value) >= 1 else f"${value:.4g}"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{number} {unit}".rstrip()
