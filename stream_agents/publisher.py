"""Tells the other processes what changed in the partitions held here, and waits until the broker has it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from embedwatch.clock import Clock
from embedwatch.events import CacheEvent, HeartbeatEvent, LagEvent, ScalingEvent
from stream_agents.compute.partials import (
    Checkpoint,
    Record,
    Sample,
    checkpoint_record,
    pane_records,
    sample_records,
)
from stream_agents.compute.world import MAX_WORKERS, World

#: A checkpoint says that its partition is looked after, also where nothing happens.
CHECKPOINT_SECONDS = 2.0


class PartialsEdge(Protocol):
    async def send_partials(self, records: Sequence[Record]) -> None:
        """Return when the broker has acknowledged all of them."""


class Publisher:
    """Sends changed panes, then checkpoints. One at a time: a checkpoint covers only what was acknowledged before."""

    def __init__(self, world: World, app_id: str, edge: PartialsEdge, clock: Clock) -> None:
        self.world = world
        self.app_id = app_id
        self.edge = edge
        self.clock = clock
        self._samples: dict[int, dict[tuple[str, str], Sample]] = {}
        self._slots: dict[int, int] = {}
        self._said: dict[int, tuple[float, int]] = {}  # partition: when a checkpoint went out, and its offset
        self._sending = asyncio.Lock()

    def note(self, partition: int, event: Sample) -> None:
        """A heartbeat, sample or decision came through a partition held here. Of heartbeats and samples only the newest
        of each sender is sent."""
        found = self._samples.setdefault(partition, {})
        key = _identity(event)
        if key in found or len(found) < MAX_WORKERS:
            found[key] = event

    async def publish(self, owned: Collection[int]) -> None:
        """Raises what the edge raises; what could not be sent is sent the next time."""
        async with self._sending:
            await self._publish(owned)

    async def _publish(self, owned: Collection[int]) -> None:
        now, monotonic = self.clock.now(), self.clock.monotonic()
        records: list[Record] = []
        checkpoints: list[Checkpoint] = []
        starts: dict[int, set[int]] = {}
        samples: dict[int, dict[tuple[str, str], Sample]] = {}
        # No await in here: panes and offset are of one moment.
        for partition in owned:
            state = self.world.partitions.get(partition)
            if state is None:
                continue
            part = self.world.windows.part(partition)
            part.complete_to(state.next_offset)
            starts[partition], part.changed = part.changed, set()
            for start in sorted(starts[partition]):
                records += pane_records(
                    self.app_id, partition, start, part.next_offset, part.pane(start), part.workers.panes.get(start)
                )
            samples[partition] = self._samples.pop(partition, {})
            slot = self._slots.get(partition, 0)
            bundles = sample_records(self.app_id, partition, slot, samples[partition].values())
            self._slots[partition] = slot + len(bundles)
            records += bundles
            said = self._said.get(partition)
            if said is None or monotonic - said[0] >= CHECKPOINT_SECONDS or said[1] != part.next_offset:
                checkpoints.append(
                    Checkpoint(
                        partition,
                        part.next_offset,
                        now,
                        part.late_events,
                        part.overflow_events,
                        part.last_batch_seconds,
                        self.world.closer.newest(partition),
                        self.world.closer.published_until if partition == 0 else None,
                    )
                )
        try:
            if records:
                await self.edge.send_partials(records)
            if checkpoints:
                await self.edge.send_partials([checkpoint_record(self.app_id, c) for c in checkpoints])
        except BaseException:
            for partition, missing in starts.items():
                self.world.windows.part(partition).changed |= missing
            for partition, unsent in samples.items():
                self._samples[partition] = {**unsent, **self._samples.get(partition, {})}
            raise
        self._said.update({c.partition: (monotonic, c.next_offset) for c in checkpoints})
        for partition in [partition for partition in self._said if partition not in owned]:
            del self._said[partition]
        for partition in [partition for partition in self._samples if partition not in owned]:
            del self._samples[partition]


def _identity(event: Sample) -> tuple[str, str]:
    if isinstance(event, HeartbeatEvent):
        return ("heartbeat", event.worker)
    if isinstance(event, CacheEvent):
        return ("cache", event.worker)
    if isinstance(event, ScalingEvent):
        return ("scaling", event.event_id)
    assert isinstance(event, LagEvent)  # noqa: S101 (for the type checker: there is no fifth)
    return ("lag", f"{event.group}|{event.topic}|{event.partition}")
