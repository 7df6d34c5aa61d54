"""One agent process: the world, the guard, and the flush that makes the ledger exact. Faust is handed in as protocols.

Order of a record's life: counted in memory -> state of its partition written with the next offset -> written state
acknowledged -> record acknowledged -> offset committed. A crash anywhere replays records that the state then skips.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from embedwatch.clock import Clock
from embedwatch.codec import decode_metric
from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, CacheEvent, HeartbeatEvent, LagEvent, Verdict
from embedwatch.rules import Rule
from stream_agents.compute.guard import Gap, GapGuard
from stream_agents.compute.judge import Announcer, judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.world import World

log = logging.getLogger("agents")

#: Records counted but not yet written. Beyond it the stream waits for a flush: memory stays bounded.
MAX_PENDING = 20_000


class Record(Protocol):
    """A delivered record, as far as this module looks at it."""

    def ack(self) -> Any: ...


class Edges(Protocol):
    """What the runtime needs of Faust and Kafka."""

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        """Return when the broker has acknowledged it."""

    async def seek(self, partition: int, offset: int) -> None: ...

    async def first_offset(self, partition: int, offset: int) -> int | None:
        """First record in the log at or after an offset; None when it could not be asked."""

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        """Keep an event that does not decode; return when it is kept."""

    async def publish(self, verdicts: list[Verdict]) -> None: ...

    def rebalancing(self) -> bool: ...


class Runtime:
    """Counts records and flushes. All methods run on one event loop."""

    def __init__(self, world: World, rules: tuple[Rule, ...], edges: Edges, clock: Clock) -> None:
        self.world = world
        self.rules = rules
        self.edges = edges
        self.clock = clock
        self.guard = GapGuard()
        self.announcer = Announcer()
        self.verdicts: list[Verdict] = []
        self.recovered = False
        self.flushes = 0
        self._pending: list[Record] = []
        self._dirty: set[int] = set()
        self._rejects: list[Callable[[], Awaitable[None]]] = []
        self._windows_next: dict[int, int] = {}
        self._flushed = asyncio.Event()
        self._news = asyncio.Event()
        self._generation = 0
        world.started_seconds = clock.now()

    def recover(self, records: Mapping[int, Mapping[str, Any]]) -> None:
        """Start from the table after a rebalance. Positions restart at the commit, so what was pending comes again.

        Windows are kept: they remember for themselves how far each partition was counted.
        """
        self._generation += 1
        self._pending.clear()
        self._dirty.clear()
        self._rejects.clear()
        self.guard.clear()
        self._flushed.set()
        self.world.partitions = {p: PartitionState.from_record(dict(record)) for p, record in records.items()}
        self.recovered = True
        log.info("recovered the state of %d partitions", len(self.world.partitions))

    async def consume(self, partition: int, offset: int, value: bytes | None, record: Record) -> None:
        """Count one delivered record. Never raises for what the record holds."""
        while len(self._pending) >= MAX_PENDING:
            self._flushed.clear()
            generation = self._generation
            try:
                await asyncio.wait_for(self._flushed.wait(), timeout=30)
            except TimeoutError:
                log.warning("%d records wait for the state to be written; is the broker there?", len(self._pending))
            if generation != self._generation:
                return  # a rebalance came in between: the record is delivered again
        state = self.world.partitions.get(partition)
        if state is None:
            # No record means that nothing was counted, whatever was committed: begin at the start of the log. The
            # guard asks which record is the first, so that a start, too, skips nothing.
            state = self.world.partitions[partition] = PartitionState(next_offset=0)
        action = self.guard.check(partition, state.next_offset, offset)
        if action == "hold":
            return
        self._pending.append(record)
        self._dirty.add(partition)
        if action == "replay":
            return
        try:
            self._apply(partition, offset, value, state)
        except InvalidEvent as problem:
            state.rejected[problem.reason] = state.rejected.get(problem.reason, 0) + 1
            self._rejects.append(partial(self.edges.reject, partition, offset, value, problem))
            if sum(state.rejected.values()) in (1, 10, 100, 1000):
                log.warning("an event that does not decode, partition %d offset %d: %s", partition, offset, problem)
        state.next_offset = offset + 1

    def _apply(self, partition: int, offset: int, value: bytes | None, state: PartitionState) -> None:
        event = decode_metric(value)
        now = self.clock.now()
        if isinstance(event, BatchEvent):
            # Windows first: a sketch that does not decode must leave the ledger untouched.
            if offset >= self._windows_next.get(partition, 0):
                self.world.apply_batch(event, now)
                self._windows_next[partition] = offset + 1
            state.book(event, self.world.zone, self.world.max_scopes)
            self._news.set()
        elif isinstance(event, HeartbeatEvent):
            self.world.apply_heartbeat(event)
        elif isinstance(event, CacheEvent):
            self.world.apply_cache(event)
        elif isinstance(event, LagEvent):
            self.world.apply_lag(event)
            self._news.set()

    async def flush(self) -> None:
        """Write the state of every partition touched, then acknowledge what it covers. Close gaps."""
        if not self.recovered or self.edges.rebalancing():
            return
        for gap in list(self.guard.open.values()):
            await self._close(gap)
        generation = self._generation
        pending, self._pending = self._pending, []
        dirty, self._dirty = self._dirty, set()
        rejects, self._rejects = self._rejects, []
        # A copy: records counted while the write is under way belong to the next flush.
        records = {p: self.world.partitions[p].to_record() for p in dirty if p in self.world.partitions}
        try:
            for keep in rejects:
                await keep()
            for partition, state in records.items():
                await self.edges.write_state(partition, state)
        except Exception:
            if generation == self._generation:
                # Not acknowledged, so not lost: the next flush writes the newer state and acknowledges them.
                self._pending = pending + self._pending
                self._dirty |= dirty
                self._rejects = rejects + self._rejects
            raise
        if generation != self._generation:
            return  # rebalanced meanwhile: these records were forgotten and come again
        for record in pending:
            record.ack()
        self.flushes += 1
        self._flushed.set()

    async def _close(self, gap: Gap) -> None:
        first = await self.edges.first_offset(gap.partition, gap.expected_offset)
        if self.guard.open.get(gap.partition) != gap:
            return  # closed, or moved on, while the log was asked
        remedy = self.guard.remedy(gap, first)
        state = self.world.partitions.get(gap.partition)
        if state is None:
            return
        log.warning(
            "partition %d: expected offset %d, got %d; %s %d",
            gap.partition,
            gap.expected_offset,
            gap.seen_offset,
            "nothing was lost, going on at" if remedy.legal else "records were skipped, seeking back to",
            remedy.offset,
        )
        if remedy.legal:
            state.next_offset = remedy.offset
            state.accepted_gaps += 1
            self.guard.open.pop(gap.partition, None)
        await self.edges.seek(gap.partition, remedy.offset)

    async def evaluate(self) -> None:
        """Judge every rule now, and publish what changed or is due."""
        if not self.recovered or self.edges.rebalancing():
            return
        now = self.clock.now()
        self.verdicts = judge(self.rules, self.world, now)
        due = self.announcer.due(self.verdicts, now)
        if due:
            await self.edges.publish(due)

    async def wait_for_news(self, timeout_seconds: float) -> None:
        """Until something that can breach a rule was counted, or the tick is over."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout_seconds)
        except TimeoutError:
            return
        finally:
            self._news.clear()
