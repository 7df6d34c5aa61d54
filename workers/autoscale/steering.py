"""From what the agents ask for to which places start and stop a worker. No I/O, no clock.

The number of workers is between `min` and `max`, and not above the places of this machine. A place whose worker drains
is taken until it has gone: a GPU has memory for so many, and a name is that of one process at a time. So workers that
come and workers that go are together never more than `max`, either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workers.autoscale.wish import Hold, Wish

#: free: no process. up: one that works, or starts. waiting: it ended by itself, and starts again after a pause.
#: leaving: asked to stop, and drains. resting: given up after a crash loop, for a while.
State = Literal["free", "up", "waiting", "leaving", "resting"]
Limit = Literal["min", "max", "slots"]


@dataclass(frozen=True)
class Bounds:
    """`least` up to `most` workers in so many places; 0 <= least <= most, least <= slots."""

    least: int
    most: int
    slots: int

    @property
    def cap(self) -> int:
        return min(self.most, self.slots)

    def clamp(self, number: int) -> tuple[int, Limit | None]:
        """The nearest number that is allowed, and what limits it."""
        if number > self.cap:
            return self.cap, "max" if self.most <= self.slots else "slots"
        if number < self.least:
            return self.least, "min"
        return number, None


@dataclass(frozen=True)
class Place:
    """One place for a worker. `started` counts the starts of all places: of two that work the greater is the newer."""

    name: str
    state: State = "free"
    started: int = 0


@dataclass(frozen=True)
class Moves:
    """What is to be done now to come to the number. `missing`: so many more could find no place at this moment."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    missing: int = 0


@dataclass(frozen=True)
class Decision:
    """From so many workers to so many. `told`: nobody was told yet of what is new in it."""

    before: int
    after: int
    reason: str
    told: bool = False
    held: bool = False
    limited_by: Limit | None = None
    wish: Wish | None = None


def moves(target: int, places: Sequence[Place], bounds: Bounds) -> Moves:
    """Which places start and stop for `target` workers. Those that fail go first, then the newest."""
    at_work = [place for place in places if place.state in ("up", "waiting")]
    surplus = len(at_work) - target
    if surplus > 0:
        at_work.sort(key=lambda place: (place.state == "up", -place.started))
        return Moves(stop=tuple(place.name for place in at_work[:surplus]))
    leaving = sum(place.state == "leaving" for place in places)
    room = max(bounds.cap - len(at_work) - leaving, 0)
    free = [place.name for place in places if place.state == "free"]
    start = tuple(free[: min(-surplus, room)])
    return Moves(start=start, missing=-surplus - len(start))


class Helm:
    """The number that is steered to, and what was said of it last."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.target = 0
        self._said: tuple[object, ...] | None = None

    def turn(self, heard: Wish | Hold) -> Decision:
        """The number after what was heard. What says nothing changes nothing; `min` are there from the start."""
        before = self.target
        if isinstance(heard, Hold):
            self.target, _ = self.bounds.clamp(before)
            rest = "what there is stays" if self.target == before else f"at least {self.target} here (--min)"
            decision = Decision(before, self.target, f"{heard.reason}; {rest}", held=True)
            return self._telling(decision, ("hold", heard.kind))
        after, limited_by = self.bounds.clamp(heard.desired)
        self.target = after
        reason = heard.reason
        if limited_by is not None:
            word = {"min": f"at least {after} here (--min)", "max": f"at most {after} here (--max)"}
            reason += f"; the agents ask for {heard.desired}, {word.get(limited_by, f'there are {after} slots here')}"
        decision = Decision(before, after, reason, limited_by=limited_by, wish=heard)
        return self._telling(decision, ("wish", after, limited_by))

    def _telling(self, decision: Decision, news: tuple[object, ...]) -> Decision:
        told = news == self._said
        self._said = news
        return Decision(**{**vars(decision), "told": told})
