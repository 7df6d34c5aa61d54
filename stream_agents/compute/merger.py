"""Takes in what other processes say about the partitions they hold, and knows how much of the whole is known. Pure.

Nothing here asks who holds a partition now: of two statements about a partition the one that knows more of its events
is right, be it our own count, a partial, or the state in the changelog.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from embedwatch.errors import InvalidEvent
from embedwatch.events import CacheEvent, HeartbeatEvent, ScalingEvent
from stream_agents.compute.history import History, is_state, parsed_key
from stream_agents.compute.ledger import OtherZone, PartitionState
from stream_agents.compute.partials import (
    Checkpoint,
    Marker,
    NewerPartial,
    Pane,
    Pieces,
    Samples,
    WholePane,
    decode_partial,
    is_of,
    totals_of,
    workers_of,
)
from stream_agents.compute.world import World

#: A partition of another process that was not heard of for so long: nobody says that its numbers are those of now.
STALE_SECONDS = 10.0
MAX_PARTITIONS = 100_000


class Merger:
    """Changes the world by partials and states of other processes.

    `partials_read` and `states_read` say that what was there at the start has been read. `states_read` matters only
    where other processes hold partitions. Until the partials are read, panes are kept as they came: a hundred versions
    of each may go by, and to decode them all would take long.
    """

    def __init__(self, world: World, app_id: str, partitions: int | None = None) -> None:
        self.world = world
        self.app_id = app_id
        self.partitions = partitions
        self.owned: frozenset[int] = frozenset()
        self.partials_read = False
        self.states_read = False
        self.refused: dict[str, int] = {}
        self._newer_partial: tuple[float, str] | None = None  # when the last one came, and what it is
        self._newer_states: dict[int, str] = {}
        self.other_zones: set[int] = set()  # partitions whose state has the days of another time zone
        self._pieces = Pieces()
        self._heard: dict[int, float] = {}
        self._newest: dict[int, float] = {}
        self._awaited: set[str] = set()
        self._packed: dict[tuple[int, int], tuple[int, WholePane]] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._histories: dict[int, dict[str, bytes]] = {}  # by partition and key, as they came

    def take_partial(self, key: bytes | None, value: bytes | None, now: float) -> bool:
        """A record of the partials topic. True when it changed a number that rules look at. Never raises."""
        if not is_of(key, self.app_id):
            return False
        try:
            return self._take(decode_partial(value), now)
        except NewerPartial as error:
            self._newer_partial = now, error.detail
            self._refuse(error)
        except InvalidEvent as error:
            self._refuse(error)
        return False

    def _refuse(self, error: InvalidEvent) -> None:
        self.refused[error.reason] = self.refused.get(error.reason, 0) + 1

    def _take(self, partial: Any, now: float) -> bool:
        if isinstance(partial, Marker):
            self._awaited.discard(partial.id)
            return False
        if not 0 <= partial.partition < (self.partitions or MAX_PARTITIONS):
            raise InvalidEvent("invalid", f"partition {partial.partition} does not exist")
        if isinstance(partial, Pane):
            return self._take_pane(partial, now)
        if isinstance(partial, Checkpoint):
            return self._take_checkpoint(partial, now)
        if isinstance(partial, Samples) and partial.partition not in self.owned:
            for event in partial.events:
                if isinstance(event, HeartbeatEvent):
                    self.world.apply_heartbeat(event, now)
                elif isinstance(event, CacheEvent):
                    self.world.apply_cache(event)
                elif isinstance(event, ScalingEvent):
                    self.world.apply_scaling(event)
                else:
                    self.world.apply_lag(event)
            return True
        return False

    def _take_pane(self, pane: Pane, now: float) -> bool:
        windows = self.world.windows
        part = windows.part(pane.partition)
        if not part.wants(pane.start, pane.as_of, now):
            return False
        place = (pane.partition, pane.start)
        if not self.partials_read and place in self._packed and self._packed[place][0] > pane.as_of:
            return False
        whole = self._pieces.add(pane)
        if whole is None:
            return False
        if not self.partials_read:
            self._packed[place] = (pane.as_of, whole)
            return False
        self._replace(pane.partition, pane.start, pane.as_of, whole)
        return True

    def _replace(self, partition: int, start: int, as_of: int, pane: WholePane) -> None:
        windows = self.world.windows
        part = windows.part(partition)
        self.world.closer.before_pane(windows, start)
        over = self.world.closer.is_over(start)
        before = part.pane(start) if over else {}
        part.replace(start, as_of, totals_of(pane.scopes), workers_of(pane.workers))
        windows.note(start)
        if over:
            self.world.closer.replaced(start, before, part.pane(start))

    def _take_checkpoint(self, checkpoint: Checkpoint, now: float) -> bool:
        at = now if self.partials_read else min(checkpoint.time_seconds, now)
        self._heard[checkpoint.partition] = max(self._heard.get(checkpoint.partition, 0.0), at)
        if checkpoint.published_until is not None and checkpoint.partition == 0:
            self.world.closer.published(min(checkpoint.published_until, now))
        known = self._checkpoints.get(checkpoint.partition)
        if self.partials_read:
            self._apply_checkpoint(checkpoint, now)
        elif known is None or checkpoint.next_offset >= known.next_offset:
            self._checkpoints[checkpoint.partition] = checkpoint
        return False

    def _apply_checkpoint(self, checkpoint: Checkpoint, now: float) -> None:
        part = self.world.windows.part(checkpoint.partition)
        if checkpoint.partition in self.owned or checkpoint.next_offset < part.next_offset:
            return
        part.complete_to(checkpoint.next_offset)
        newest = checkpoint.newest_seconds
        # A checkpoint also says that nothing has happened: that must not hold up the windows.
        if newest is not None and newest > self._newest.get(checkpoint.partition, 0.0):
            self._newest[checkpoint.partition] = newest
            self.world.closer.observe(checkpoint.partition, newest, now)
        part.late_events = checkpoint.late_events
        part.overflow_events = checkpoint.overflow_events
        self.world.windows.count_apart()
        if checkpoint.last_batch_seconds is not None:
            seen = min(checkpoint.last_batch_seconds, now)
            part.last_batch_seconds = max(part.last_batch_seconds or 0.0, seen)
            self.world.last_batch_seconds = max(self.world.last_batch_seconds or 0.0, seen)

    def unpack(self, now: float, limit: int = 20) -> bool:
        """Everything up to now was read: take in the next panes that were kept. True while there are more."""
        for place in list(self._packed)[:limit]:
            (partition, start), (as_of, pane) = place, self._packed.pop(place)
            part = self.world.windows.part(partition)
            if part.wants(start, as_of, now):
                try:
                    self._replace(partition, start, as_of, pane)
                except InvalidEvent as error:
                    self._refuse(error)
        if self._packed:
            return True
        for checkpoint in self._checkpoints.values():  # only now: they say that the panes are complete
            self._apply_checkpoint(checkpoint, now)
        self._checkpoints.clear()
        self.partials_read = True
        return False

    def take_state(self, partition: int, key: bytes | None, value: bytes | None) -> bool:
        """A record of the changelog of states: the ledger of a partition that another process holds, or its history.
        Never raises."""
        if value is None or not 0 <= partition < (self.partitions or MAX_PARTITIONS):
            return False
        name = parsed_key(key)
        if not is_state(name):
            # Kept as it is, also of what is held here: whoever has the partition next may name it.
            self._histories.setdefault(partition, {})[name] = value
            return False
        if partition in self.owned:
            return False
        try:
            state = PartitionState.from_record(json.loads(value))
            state.hold_to(self.world.zone)
            self.other_zones.discard(partition)
            self._newer_states.pop(partition, None)
        except OtherZone:
            self.other_zones.add(partition)
            return False
        except (ValueError, AttributeError, RecursionError) as error:
            if "of version" in str(error):
                self._newer_states[partition] = str(error)
            self._refuse(InvalidEvent("invalid", "not a state"))
            return False
        known = self.world.partitions.get(partition)
        if known is not None and known.next_offset >= state.next_offset:
            return False
        if state.history.missing:
            state.history = self._history(partition, state.history.version, known)
        self.world.partitions[partition] = state
        return True

    def _history(self, partition: int, version: int, known: PartitionState | None) -> History:
        # It is the same all day, and large. One that has changed here holds days that the new state has itself.
        if known is not None and known.history.version == version and not (
            known.history.changed or known.history.missing
        ):  # fmt: skip
            return known.history
        try:
            return History.named(version, [json.loads(each) for each in self._histories.get(partition, {}).values()])
        except (ValueError, AttributeError, RecursionError):
            return History(version=version, missing=True)

    @property
    def caught_up(self) -> bool:
        """Whether what other processes have said up to now is known here."""
        return self.partials_read and (self.states_read or not self.foreign())

    def states_ended(self) -> None:
        """The changelog of states was read to its end."""
        self.states_read = True

    def expect(self, marker: str) -> None:
        """A marker of this id has been sent."""
        self._awaited.add(marker)

    def reached(self, marker: str) -> bool:
        """Whether everything sent before the marker was read."""
        return marker not in self._awaited

    def give_up(self, marker: str) -> None:
        self._awaited.discard(marker)

    def foreign(self) -> list[int]:
        """Partitions that other processes hold."""
        return [p for p in range(self.partitions or 0) if p not in self.owned]

    def stale(self, now: float) -> list[int]:
        """Partitions of other processes whose numbers may be old: nobody has spoken for them lately."""
        return [p for p in self.foreign() if now - self._heard.get(p, 0.0) > STALE_SECONDS]

    def newer(self, now: float) -> str | None:
        """What another process writes that this one cannot read; None where none does, or none does any more.

        A process that lives sends partials all the time. A state stays until one that can be read takes its place.
        """
        if self._newer_partial is not None and now - self._newer_partial[0] <= STALE_SECONDS:
            return self._newer_partial[1]
        return next((detail for p, detail in sorted(self._newer_states.items()) if p not in self.owned), None)

    def trouble(self, now: float) -> list[str]:
        """Why the numbers of the whole are not to be relied on now; empty when they are."""
        foreign = self.foreign()
        reasons = []
        if (newer := self.newer(now)) is not None:
            reasons.append(f"another process is newer than this one: {newer}")
        if others := self.other_zones - self.owned:
            reasons.append(f"another process books partitions {sorted(others)} by days of another time zone")
        if not self.partials_read:
            reasons.append(f"the partials of partitions {_listed(foreign or self.owned)} are not read yet")
        elif foreign and not self.states_read:
            reasons.append(f"the state of partitions {_listed(foreign)} is not read yet")
        elif stale := self.stale(now):
            reasons.append(f"partitions {_listed(stale)} were not heard of for {STALE_SECONDS:.0f} s")
        return reasons

    def coverage(self, now: float) -> dict[str, Any]:
        """Of how many partitions the numbers are, for the API."""
        total = self.partitions if self.partitions is not None else len(self.owned)
        stale = self.stale(now) if self.caught_up else self.foreign()
        return {"total": total, "held_here": len(self.owned), "fresh": total - len(stale), "stale_partitions": stale}


def _listed(partitions: Iterable[int]) -> list[int]:
    return sorted(partitions)[:20]
