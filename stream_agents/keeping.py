"""Says closed days on the topic of days, as the states have them that are written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from embedwatch.clock import Clock
from embedwatch.events import DayEvent
from stream_agents.compute.days import day_of
from stream_agents.compute.keeping import Revision, closed_days, day_events, forgettable, measured_before, revision
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.world import World

log = logging.getLogger("agents")

#: A day that changes is said again so far apart: yesterday's events, sent again, change it all the time.
AGAIN_SECONDS = 10.0
#: Days of partitions said with one flush: one with a thousand scopes is some milliseconds' work.
TOGETHER = 8


class DaysEdge(Protocol):
    async def publish_days(self, days: list[DayEvent]) -> None:
        """Return when the broker has acknowledged all of them."""


class Told(NamedTuple):
    """A day of a partition, to be said or said, as it was at that revision."""

    partition: int
    day: str
    revision: Revision
    events: list[DayEvent]


class Keeper:
    """Remembers what it has said for as long as the partitions stay. After that all that is kept is said again: it has
    the same keys. So nothing about it needs to be in the state, and whatever dies between the two loses nothing."""

    def __init__(self, app_id: str, world: World, edge: DaysEdge, clock: Clock) -> None:
        self._app_id = app_id
        self._world = world
        self._edge = edge
        self._clock = clock
        self._said: dict[tuple[int, str], Revision] = {}
        self._said_at: dict[tuple[int, str], float] = {}
        self._troubled = False
        self.count = 0

    def forget(self) -> None:
        """Partitions were given out anew: whoever had them before may have left something unsaid."""
        self._said.clear()
        self._said_at.clear()

    def collect(self, states: Mapping[int, PartitionState], partitions: int) -> list[Told]:
        """What is to be said of these states as they are now, once they are written."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        zone, grace = self._world.zone, self._world.closer.grace_seconds
        found: list[Told] = []
        measured = measured_before(self._world.partitions.values(), day_of(now, zone))
        for partition, state in states.items():
            days = closed_days(state, zone, now, grace, measured=measured)
            for gone in [place for place in self._said if place[0] == partition and place[1] not in days]:
                del self._said[gone], self._said_at[gone]
            for day in days:
                as_now = revision(state, day, zone, now)
                place = (partition, day)
                if self._said.get(place) == as_now or monotonic < self._said_at.get(place, monotonic):
                    continue
                events = day_events(self._app_id, partition, partitions, state, day, zone, now)
                found.append(Told(partition, day, as_now, events))
                if len(found) == TOGETHER:
                    return found
        return found

    async def keep(self, days: list[Told], held: Callable[[], bool]) -> None:
        """Publish them. Money does not wait for it: what cannot be said now is said later, as it is then."""
        for told in days:
            try:
                await self._edge.publish_days(told.events)
            except Exception as error:
                if not self._troubled:
                    log.warning("closed days could not be published, trying again: %r", error)
                self._troubled = True
                return
            self._troubled = False
            if not held():
                return
            self.count += 1
            self._said[told.partition, told.day] = told.revision
            self._said_at[told.partition, told.day] = self._clock.monotonic() + AGAIN_SECONDS

    def waiting(self, partition: int, now: float) -> set[str]:
        """Days of a partition held here that are no longer kept, and not said yet as they are."""
        state, zone = self._world.partitions[partition], self._world.zone
        return {
            day
            for day in forgettable(state, zone, now)
            if self._said.get((partition, day)) != revision(state, day, zone, now)
        }
