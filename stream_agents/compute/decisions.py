"""The decisions about the number of workers that were published, as every agents process hears of them. Pure."""

from __future__ import annotations

from collections import deque

from embedwatch.events import ScalingEvent

KEPT = 100
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
