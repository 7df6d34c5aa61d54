"""The decisions about the number of workers that were published, as every agents process hears of them. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

from embedwatch.events import ScalingEvent

KEPT = 100
SHOWN = 20
#: An unchanged decision is said again this often, so that everybody knows that somebody still decides.
SAY_AGAIN_SECONDS = 60.0
#: One older than this says nothing about now.
STALE_SECONDS = 90.0


def differ(one: ScalingEvent, other: ScalingEvent) -> bool:
    """Whether they ask for something else, or are limited by something else. Reasons and measurements do not count;
    where nothing is decided the number of workers does not, either."""
    return _essence(one) != _essence(other)


def _essence(event: ScalingEvent) -> tuple[object, ...]:
    if event.holds:
        return ("held", event.cause)
    return (event.desired_workers, event.limited_by, event.at_capacity)


class Decisions:
    """Of one group and topic. `kept` has each decision once, as it was first said, the oldest first."""

    def __init__(self, group: str, topic: str) -> None:
        self.group = group
        self.topic = topic
        self.kept: deque[ScalingEvent] = deque(maxlen=KEPT)
        self.newest: ScalingEvent | None = None

    def add(self, event: ScalingEvent) -> None:
        """Older ones than the newest are passed over: they come again from other processes."""
        if (event.group, event.topic) != (self.group, self.topic):
            return
        if self.newest is not None and event.time_seconds <= self.newest.time_seconds:
            return
        self.newest = event
        if not self.kept or differ(self.kept[-1], event):
            self.kept.append(event)

    def current(self, now: float) -> ScalingEvent | None:
        """The one that holds now; None when there is none, or nobody has confirmed it lately."""
        if self.newest is None or now - self.newest.time_seconds > STALE_SECONDS:
            return None
        return self.newest

    def doubt(self, now: float) -> str | None:
        """Why nothing is decided now, in words; None when something is."""
        if self.newest is None:
            return "no decision yet; none comes where scaling.enabled is false"
        if self.current(now) is None:
            return f"the last decision is {now - self.newest.time_seconds:.0f} s old: nobody decides now"
        return self.newest.reason if self.newest.holds else None

    def last_desired(self) -> int | None:
        """What was asked for last; None when nothing was."""
        if self.newest is not None and not self.newest.holds:
            return self.newest.desired_workers
        return next((event.desired_workers for event in reversed(self.kept) if not event.holds), None)

    def now(self, now: float) -> dict[str, Any]:
        """What is asked for now. The numbers are None where nothing is decided, and `reason` says why: never a number
        that somebody could act on."""
        event, doubt = self.current(now), self.doubt(now)
        decided = None if event is None or event.holds else event
        return {
            "decision_seconds": None if self.newest is None else self.newest.time_seconds,
            "desired_workers": None if decided is None else decided.desired_workers,
            "wanted_workers": None if decided is None else decided.wanted_workers,
            "running_workers": None if event is None else event.running_workers,
            "at_capacity": None if decided is None else decided.at_capacity,
            "limited_by": None if decided is None else decided.limited_by,
            "cause": None if event is None else event.cause,
            "desired_workers_reason": doubt if doubt is not None or event is None else event.reason,
            "cost_usd_per_hour": None if decided is None else decided.cost_usd_per_hour,
            "wanted_cost_usd_per_hour": None if decided is None else decided.wanted_cost_usd_per_hour,
            "changes_today": None if event is None else event.changes_today,
        }

    def rows(self) -> list[dict[str, Any]]:
        """The latest decisions, the newest first, each as it was first said."""
        return [_row(event) for event in list(self.kept)[: -SHOWN - 1 : -1]]


def _row(event: ScalingEvent) -> dict[str, Any]:
    held = event.holds
    return {
        "time_seconds": event.time_seconds,
        "desired_workers": None if held else event.desired_workers,
        "wanted_workers": None if held else event.wanted_workers,
        "running_workers": event.running_workers,
        "at_capacity": event.at_capacity and not held,
        "limited_by": None if held else event.limited_by,
        "cause": event.cause,
        "reason": event.reason,
        "lag_seconds": event.lag_seconds,
        "backlog_texts": event.backlog_texts,
        "arrival_texts_per_s": event.arrival_texts_per_s,
        "capacity_texts_per_s": event.capacity_texts_per_s,
        "drain_seconds": event.drain_seconds,
        "cost_usd_per_hour": event.cost_usd_per_hour,
        "wanted_cost_usd_per_hour": event.wanted_cost_usd_per_hour,
    }
