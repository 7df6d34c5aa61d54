"""One agent process: the world, the guard, and the flush that makes the ledger exact. Faust is handed in as protocols.

Order of a record's life: counted in memory -> panes sent to the other processes -> state of its partition written with
the next offset -> record acknowledged -> offset committed; each step waits for the broker. A crash anywhere replays
records that panes and state then skip, each as far as it has them. What a record has corrected on a closed day is in
the state, and is said when the state is written; the next state is without it. A day that is closed is said whole, as
the state that is written has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from embedwatch.clock import Clock
from embedwatch.codec import decode_metric
from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, CacheEvent, HeartbeatEvent, LagEvent, ScalingEvent, Verdict
from embedwatch.rules import Rule
from stream_agents.compute.alert_book import AlertBook
from stream_agents.compute.guard import Gap, GapGuard
from stream_agents.compute.judge import Announcer, judge
from stream_agents.compute.ledger import PartitionState, check_bookable
from stream_agents.compute.merger import Merger
from stream_agents.compute.rejections import event_id_of, sender_of
from stream_agents.compute.scaling import Brain
from stream_agents.compute.world import World
from stream_agents.deciding import Decider
from stream_agents.delivering import WatchedEdges
from stream_agents.edges import Delivery, Edges, Record
from stream_agents.keeping import Keeper
from stream_agents.publisher import Publisher
from stream_agents.saying import Sayer

log = logging.getLogger("agents")

#: Records counted but not yet written. Beyond it the stream waits for a flush: memory stays bounded.
MAX_PENDING = 20_000
#: A partition that stands still this long after an assignment or a seek is compared with the log, once.
IDLE_CHECK_SECONDS = 5.0
#: A gap open this long makes the numbers unreliable: what lies behind it is not counted.
LASTING_GAP_SECONDS = 5.0
#: So long without a word of the broker, or with records that it does not take, the numbers are not those of now.
BROKER_SILENT_SECONDS = 30.0
#: So long a topic may take nothing of what there is for it before somebody is to look.
UNPUBLISHED_SECONDS = 30.0
#: Money comes first: after so many failures in a row states are written although the other processes are not told.
PATIENT_FAILURES = 3
#: Dead letters on their way at once: each waits for the broker.
REJECTS_TOGETHER = 1000
#: A process that does not publish verdicts judges for its own API, not for alerts.
LOOK_SECONDS = 2.0


class Runtime:
    """Counts records and flushes. All methods run on one event loop."""

    def __init__(
        self, world: World, rules: tuple[Rule, ...], edges: Edges, clock: Clock, merger: Merger | None = None,
        brain: Brain | None = None,
    ) -> None:  # fmt: skip
        self.world = world
        if merger is None:  # there are no other processes
            merger = Merger(world, "alone")
            merger.partials_read = True
        self.merger = merger
        self.edges = edges = WatchedEdges(edges, clock)
        self.publisher = Publisher(world, merger.app_id, edges, clock)
        self.sayer = Sayer(merger.app_id, world.zone, edges, clock)
        self.keeper = Keeper(merger.app_id, world, edges, clock)
        self.owned: frozenset[int] = frozenset()
        self.rules = rules
        self.clock = clock
        self.guard = GapGuard()
        self.announcer = Announcer()
        self.decider = Decider(world, brain, edges, clock)
        self.verdicts: list[Verdict] = []
        self.alerts = AlertBook()
        self.recovered = False
        self.failure: str | None = None
        self.flushes = 0
        self.judging_seconds = 0.0  # how long judging every rule took the last time
        self._pending: list[Delivery] = []
        self._pending_records = 0
        self._writing_records = 0
        self._unwritten_since: float | None = None  # monotonic: the oldest record counted and not known to be written
        self._written_at: float | None = None  # monotonic: when the broker last acknowledged a state
        self._dirty: set[int] = set()
        self._rejects: list[Callable[[], Awaitable[None]]] = []
        self._watched: dict[int, tuple[float, int]] = {}  # partition: when to compare with the log, next offset then
        self._gap_since: dict[int, float] = {}
        self._flushing = asyncio.Lock()
        self._flushed = asyncio.Event()
        self._news = asyncio.Event()
        self._gap = asyncio.Event()
        self._generation = 0
        self._publish_failures = 0
        self._looked = -LOOK_SECONDS
        world.started_seconds = clock.now()

    def recover(
        self,
        records: Mapping[int, Mapping[str, Any]],
        assigned: Collection[int],
        histories: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        """Start from the table after a rebalance. Positions restart at the commit, so what was pending comes again.

        Windows are kept: they remember for themselves how far each partition was counted. So is the state of a
        partition that another process holds now, until that process has written a later one. Raises ValueError, and
        changes nothing, for a record that is no state of ours, or one of another time zone.
        """
        found = histories or {}
        states = {
            p: PartitionState.from_record(record, found.get(p, ())) for p, record in records.items() if p in assigned
        }
        for state in states.values():
            state.hold_to(self.world.zone)
        # No record means that nothing was counted, whatever was committed: begin at the start of the log. The guard
        # asks which record is the first, so that a start, too, skips nothing.
        zone = self.world.zone.key
        mine = {p: states.get(p) or PartitionState(next_offset=0, timezone=zone) for p in assigned}
        self.world.partitions = dict(sorted({**self.world.partitions, **mine}.items()))
        self.owned = self.merger.owned = frozenset(assigned)
        self._generation += 1
        self._pending.clear()
        self._dirty.clear()
        self.sayer.forget()
        self.keeper.forget()
        self._pending_records = 0
        self._unwritten_since = None
        self._rejects.clear()
        self.guard.clear()
        self.edges.failures.forget()
        self._gap_since.clear()
        due = self.clock.monotonic() + IDLE_CHECK_SECONDS
        self._watched = {p: (due, state.next_offset) for p, state in mine.items()}
        self._flushed.set()
        # All of them: what other processes count is in the windows, too.
        every = assigned if self.merger.partitions is None else range(self.merger.partitions)
        self.world.closer.assign(every, self.clock.now())
        self.recovered = True
        log.info("recovered the state of %d partitions", len(states))
        if lost := sorted(p for p, state in states.items() if state.history.missing):
            log.warning("spend of earlier days is missing in partitions %s: forecasts begin anew", lost)

    def unready(self) -> list[str]:
        """Why this process does not do its work now: its numbers, or what it does not get said. Empty when it does."""
        failing = self.edges.failures.lasting(self.clock.monotonic(), UNPUBLISHED_SECONDS)
        return self.unreliable() + [
            f"{kind} could not be published for {seconds:.0f} s: does their topic exist, and may this user write it?"
            for kind, seconds in failing.items()
        ]

    def unreliable(self) -> list[str]:
        """Why the numbers are not to be relied on now; empty when they are."""
        reasons = []
        if not self.recovered:
            reasons.append("the state is not recovered yet")
        if self.edges.rebalancing():
            reasons.append("partitions are being reassigned")
        # With transactions gaps come and go all the time: one that is closed at once says nothing about the numbers.
        now = self.clock.monotonic()
        lasting = [p for p, since in self._gap_since.items() if now - since >= LASTING_GAP_SECONDS]
        if lasting:
            reasons.append(f"gaps are open in partitions {sorted(lasting)}")
        reasons += self._broker_away(now)
        return reasons + self.merger.trouble(self.clock.now())

    def _broker_away(self, monotonic: float) -> list[str]:
        """A broker that is away shows in no count: what was read stays as it was."""
        waiting = 0.0 if self._unwritten_since is None else monotonic - self._unwritten_since
        if waiting >= BROKER_SILENT_SECONDS:
            return [f"{self.pending_records} records wait for {waiting:.0f} s for the broker to take the state"]
        silent = self.alerts.silent_seconds(self.clock.now())
        if self._written_at is not None and silent is not None:
            silent = min(silent, monotonic - self._written_at)
        if silent is not None and silent >= BROKER_SILENT_SECONDS:
            return [f"the broker has not answered for {silent:.0f} s"]
        return []

    @property
    def pending_records(self) -> int:
        """Records that are counted and not known to be written."""
        return self._pending_records + self._writing_records

    @property
    def leads(self) -> bool:
        """Whether this process speaks for the whole: the holder of the first partition does, once it knows enough."""
        return self.recovered and 0 in self.owned and self.merger.caught_up

    def fail(self, reason: str) -> None:
        """Nothing may be counted from here on, and the process is to end with this reason."""
        self.recovered = False
        self.owned = self.merger.owned = frozenset()
        self.world.partitions = {}
        self.failure = reason

    async def consume(self, partition: int, records: Sequence[Record], delivery: Delivery) -> None:
        """Count records of a partition that were delivered together. Never raises for what they hold."""
        while self._pending_records >= MAX_PENDING:
            self._flushed.clear()
            generation = self._generation
            try:
                await asyncio.wait_for(self._flushed.wait(), timeout=30)
            except TimeoutError:
                log.warning("%d records wait for the state to be written; is the broker there?", self._pending_records)
            if generation != self._generation:
                return  # a rebalance came in between: the records are delivered again
        state = self.world.partitions.get(partition)
        if state is None or partition not in self.owned:
            return  # not assigned any more: whoever has the partition now is given the records
        for offset, value in records:
            action = self.guard.check(partition, state.next_offset, offset)
            if action == "hold":
                if partition not in self._gap_since:
                    self._gap_since[partition] = self.clock.monotonic()
                    self._gap.set()
                return  # not acknowledged, nor is what lies behind it: it is delivered again from the gap on
            self._dirty.add(partition)
            if action == "replay":
                self._apply_replay(partition, offset, value)
            else:
                self._gap_since.pop(partition, None)
                self._count(partition, offset, value, state)
        self._pending.append(delivery)
        self._pending_records += len(records)
        if self._unwritten_since is None:
            self._unwritten_since = self.clock.monotonic()

    def _count(self, partition: int, offset: int, value: bytes | None, state: PartitionState) -> None:
        try:
            self._apply(partition, offset, value, state)
        except Exception as error:
            # Whatever it is: an exception here would end the stream, and the same record would end the next one.
            problem = error if isinstance(error, InvalidEvent) else InvalidEvent("not_counted", repr(error)[:200])
            state.rejected[problem.reason] = state.rejected.get(problem.reason, 0) + 1
            state.rejections.add(problem.reason, sender_of(value), self.clock.now())
            self._news.set()
            self._rejects.append(partial(self.edges.reject, partition, offset, value, problem))
            if sum(state.rejected.values()) in (1, 10, 100, 1000):
                log.warning(
                    "an event that does not decode, partition %d offset %d: %s", partition, offset, problem,
                    extra={"partition": partition, "offset": offset, "reason": problem.reason,
                           "event_id": event_id_of(value)},
                )  # fmt: skip
        state.accepted_gaps += offset > state.next_offset
        state.next_offset = offset + 1

    def _apply(self, partition: int, offset: int, value: bytes | None, state: PartitionState) -> None:
        event = decode_metric(value)
        now = self.clock.now()
        self.world.closer.observe(partition, event.time_seconds, now)
        if isinstance(event, BatchEvent):
            # What can fail comes first, so that an event is booked whole or not at all: its day, then the windows
            # (a sketch that does not decode), then the ledger.
            check_bookable(event, self.world.zone, now)
            self.world.apply_batch(event, now, partition, offset)
            state.book(event, self.world.zone, self.world.max_scopes, now, self.world.closer.grace_seconds)
            self._news.set()
            return
        if isinstance(event, HeartbeatEvent):
            state.allocation.add(event, self.world.zone, now)
        # A sample from the future would be the newest one until then: nothing that is true could take its place.
        if event.time_seconds > now:
            event = replace(event, time_seconds=now)
        if isinstance(event, HeartbeatEvent):
            self.world.apply_heartbeat(event, now)
            self.publisher.note(partition, event)
        elif isinstance(event, CacheEvent):
            self.world.apply_cache(event)
            self.publisher.note(partition, event)
        elif isinstance(event, LagEvent):
            self.world.apply_lag(event)
            self.publisher.note(partition, event)
            self._news.set()
        elif isinstance(event, ScalingEvent):
            self.world.apply_scaling(event)
            self.publisher.note(partition, event)
            self._news.set()

    def _apply_replay(self, partition: int, offset: int, value: bytes | None) -> None:
        """The state has the record. The windows may not: another process may have died before it told its panes."""
        if offset < self.world.windows.part(partition).next_offset:
            return
        try:
            event = decode_metric(value)
            if isinstance(event, BatchEvent):
                now = self.clock.now()
                check_bookable(event, self.world.zone, now)
                self.world.apply_batch(event, now, partition, offset)
        except Exception:
            return  # it was refused, and kept, when it was counted

    async def flush(self) -> None:
        """Write the state of every partition touched, then acknowledge what it covers and say what it corrects.

        One at a time: a process that stops flushes once more, and the older state must not be the last one written.
        """
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        if not self.recovered or self.edges.rebalancing():
            return
        generation = self._generation
        pending, self._pending = self._pending, []
        pending_records, self._pending_records = self._pending_records, 0
        self._writing_records = pending_records
        dirty, self._dirty = self._dirty, set()
        rejects, self._rejects = self._rejects, []
        # A copy: records counted while the write is under way belong to the next flush.
        mine = {p: state for p, state in self.world.partitions.items() if p in self.owned}
        due = self.sayer.due(mine)
        states = {p: state for p, state in mine.items() if p in dirty or p in due}
        histories = {p: history for p, state in states.items() if (history := state.history.freeze()) is not None}
        records = {p: state.to_record() for p, state in states.items()}
        corrections = self.sayer.collect({p: mine[p] for p in due})
        days = self.keeper.collect(mine, len(mine) if self.merger.partitions is None else self.merger.partitions)
        try:
            await self._tell()
            if generation != self._generation:
                self._writing_records = 0
                return  # rebalanced meanwhile: what is not held here any more is another's to write
            await _keep_all(rejects)
            for partition, record in records.items():
                if partition in histories:
                    await self.edges.write_history(partition, histories[partition])
                await self.edges.write_state(partition, record)
                states[partition].history.written()
        except Exception:
            self._writing_records = 0
            if generation == self._generation:
                # Not acknowledged, so not lost: the next flush writes the newer state and acknowledges them.
                self._pending = pending + self._pending
                self._pending_records += pending_records
                self._dirty |= dirty
                self._rejects = rejects + self._rejects
            raise
        self._writing_records = 0
        if generation != self._generation:
            return  # rebalanced meanwhile: these records were forgotten and come again
        for delivery in pending:
            delivery.ack()
        if records:
            self._written_at = self.clock.monotonic()
        self._unwritten_since = self.clock.monotonic() if self._pending else None
        self.flushes += 1
        self._flushed.set()
        said = await self.sayer.say(corrections, mine, lambda: generation == self._generation)
        self._dirty |= said
        await self.keeper.keep(days, lambda: generation == self._generation)

    def tidy(self) -> None:
        """Forget what no question asks about any more. Call it every few seconds."""
        now = self.clock.now()
        self.world.tidy(now, lambda partition: self.keeper.waiting(partition, now) if partition in self.owned else ())

    async def _tell(self) -> None:
        """The panes go out before the state that covers them: whoever takes a partition over finds them whole."""
        try:
            await self.tell()
        except Exception:
            if self._publish_failures < PATIENT_FAILURES:
                raise
            log.warning("other processes cannot be told of these partitions; the ledger goes on without them")

    async def tell(self) -> None:
        """Send what changed in the partitions held here to the other processes. Raises what the edge raises."""
        if not self.recovered or self.edges.rebalancing():
            return
        try:
            await self.publisher.publish(self.owned)
        except Exception:
            self._publish_failures += 1
            raise
        self._publish_failures = 0

    def take_partial(self, key: bytes | None, value: bytes | None) -> None:
        """A record of the partials topic, in order."""
        if self.merger.take_partial(key, value, self.clock.now()):
            self._news.set()

    async def mend(self) -> None:
        """Close gaps, and look after partitions that stand still.

        Call it when there is a gap and every second: one seek can be overrun.
        """
        if not self.recovered or self.edges.rebalancing():
            return
        for gap in list(self.guard.open.values()):
            await self._close(gap)
        for partition, (due, next_then) in list(self._watched.items()):
            now = self.clock.monotonic()
            if now < due or partition in self.guard.open:
                continue
            if self.world.partitions[partition].next_offset != next_then:
                self._watch(partition)  # it moves: records skipped would show as a gap
            else:
                await self._compare(partition, next_then)

    async def _close(self, gap: Gap) -> None:
        generation = self._generation
        existing = await self.edges.existing_offsets(gap.partition, gap.expected_offset)
        if generation != self._generation or self.guard.open.get(gap.partition) != gap:
            return  # closed, or moved on, while the log was asked
        self.guard.learn(gap.partition, existing or ())
        first = existing[0] if existing else gap.expected_offset
        if existing is None:
            log.warning("partition %d: a gap at offset %d, and the log could not be asked", gap.partition, first)
        elif first < gap.seen_offset and self.guard.count_skipped(gap.partition, gap.expected_offset):
            log.warning(
                "partition %d: expected offset %d, got %d; records were skipped, seeking back to %d",
                gap.partition, gap.expected_offset, gap.seen_offset, first,
            )  # fmt: skip
        # Also where the gap is legal: what came behind it was held back, and must be delivered again.
        await self.edges.seek(gap.partition, first)
        self._watch(gap.partition)

    async def _compare(self, partition: int, next_offset: int) -> None:
        """Records skipped at the end of the log leave no gap to see: ask whether there is more than was delivered."""
        generation = self._generation
        existing = await self.edges.existing_offsets(partition, next_offset)
        if generation != self._generation or self.world.partitions[partition].next_offset != next_offset:
            return
        if existing is not None and not existing:
            del self._watched[partition]
            return
        self._watch(partition)
        if existing:
            if self.guard.count_skipped(partition, next_offset):
                log.warning("partition %d: offset %d was not delivered, seeking back to it", partition, existing[0])
            self.guard.learn(partition, existing)
            await self.edges.seek(partition, existing[0])

    def _watch(self, partition: int) -> None:
        due = self.clock.monotonic() + IDLE_CHECK_SECONDS
        self._watched[partition] = (due, self.world.partitions[partition].next_offset)

    async def evaluate(self) -> None:
        """Judge every rule now. Who speaks for the whole publishes what changed or is due."""
        if not self.recovered or self.edges.rebalancing() or not self.merger.caught_up:
            return
        now, begun = self.clock.now(), self.clock.monotonic()
        if not self.leads:
            if begun - self._looked >= LOOK_SECONDS:
                self._looked = begun
                self.verdicts = judge(self.rules, self.world, now)
            return
        self.verdicts = judge(self.rules, self.world, now)
        self.judging_seconds = self.clock.monotonic() - begun
        due = self.announcer.due(self.verdicts, now)
        if due:
            await self.edges.publish(due)
            self.announcer.said(due, now)
        else:
            self.edges.failures.over("verdicts")

    async def scale(self) -> None:
        """Decide how many workers are needed, if this process speaks for the whole; publish what changed or is due.

        Call it every few seconds. Raises what the edge raises; what could not be published is due the next time.
        """
        leads = self.leads and not self.edges.rebalancing()
        if await self.decider.decide(leads, self.unreliable()):  # what is not told makes no number wrong
            self._news.set()

    async def publish_windows(self) -> None:
        """Close the windows that are over. Who speaks for the whole publishes all that are not out yet.

        The others keep them until they hear that they are out: one of them may have to speak next.
        """
        while self.recovered and not self.edges.rebalancing() and self.merger.caught_up:
            closer = self.world.closer
            due = closer.due(self.world.windows, self.clock.now())
            leads = self.leads
            if leads:
                if due:
                    await self.edges.publish_windows(due)
                else:
                    self.edges.failures.over("windows")
                closer.said(due)
            if not closer.busy and not (leads and due):
                return
            await asyncio.sleep(0)  # events and verdicts have their turn between two slices

    async def wait_for_news(self, timeout_seconds: float) -> None:
        """Until something that can breach a rule was counted, or the tick is over."""
        await _wait_and_clear(self._news, timeout_seconds)

    async def wait_for_gap(self, timeout_seconds: float) -> None:
        """Until a gap opens, or the time is over."""
        await _wait_and_clear(self._gap, timeout_seconds)


async def _keep_all(rejects: list[Callable[[], Awaitable[None]]]) -> None:
    """Takes out of the list what is kept: after a failure only the rest is sent again."""
    while rejects:
        some = rejects[:REJECTS_TOGETHER]
        results = await asyncio.gather(*(keep() for keep in some), return_exceptions=True)
        rejects[: len(some)] = [keep for keep, result in zip(some, results, strict=True) if result is not None]
        for result in results:
            if result is not None:
                raise result


async def _wait_and_clear(event: asyncio.Event, timeout_seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_seconds)
    except TimeoutError:
        return
    finally:
        event.clear()
