"""A log in memory that behaves as badly as Kafka and Faust were seen to, for the runtime of the stream agents.

It can skip records, deliver them twice, fail a write of state before or after it was kept, and take the partitions
away at any moment. Whatever it does, it remembers what was written and what was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.codec import encode
from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, CorrectionEvent, DayEvent, PhaseSeconds, ScalingEvent, Verdict, WindowEvent
from embedwatch.rules import Rule
from embedwatch.sketch import Sketch
from stream_agents.compute.history import history_key
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.partials import Record as PartialRecord
from stream_agents.compute.world import World
from stream_agents.edges import Record
from stream_agents.runtime import Runtime

NOW = 1_800_000_000.0


def batch_event(number: int = 0, **fields: Any) -> BatchEvent:
    """A batch of ten texts, or of `texts`; `fields` replace what matters to the test."""
    texts = fields.get("texts", 10)
    sketched = min(texts, 5000)  # absurd numbers are refused, and need no sketch of their own
    base: dict[str, Any] = {
        "event_id": f"w:{number}", "time_seconds": NOW, "worker": "w", "model": "m", "texts": 10, "cache_hits": 2,
        "duplicates": 0, "misses": 8, "batches": 1, "tokens_received": 1000, "tokens_embedded": 800,
        "tokens_saved": 200, "truncated_texts": 0, "token_method": "model", "padding_tokens": 10,
        "cost_nano_usd": 1_234_567, "saved_nano_usd": 200, "price_source": "override",
        "phase_seconds": PhaseSeconds(embed=0.2), "latency_sketch": Sketch.of([50.0] * sketched).to_text(),
        "queue_wait_sketch": Sketch.of([5.0] * sketched).to_text(),
    }  # fmt: skip
    return BatchEvent(**{**base, **fields})


class SetClock:
    """Stands at `NOW`; the time, and what measures intervals, move when a test says so."""

    def __init__(self) -> None:
        self.passed_seconds = 0.0
        self.moved_seconds = 0.0

    def now(self) -> float:
        return NOW + self.moved_seconds

    def monotonic(self) -> float:
        return self.passed_seconds


class FakeDelivery:
    """Records delivered together, once. To acknowledge them before their state was written is an error."""

    def __init__(self, log: FakeLog, partition: int, offsets: Sequence[int]) -> None:
        self.log, self.partition, self.offsets = log, partition, offsets

    def ack(self) -> None:
        written = self.log.table.get(self.partition, {"next_offset": 0})["next_offset"]
        last = self.offsets[-1]
        assert written > last, f"offset {last} was acknowledged, but the state written ends at {written}"
        self.log.acked.setdefault(self.partition, set()).update(self.offsets)


class FakeLog:
    """Source partitions with a reader, the state topic, dead letters; the `Edges` of a runtime."""

    def __init__(self, partitions: Mapping[int, list[tuple[int, bytes | None]]]) -> None:
        self.partitions = partitions
        self.table: dict[int, dict[str, Any]] = {}
        self.histories: dict[int, dict[str, dict[str, Any]]] = {}  # by partition and key
        self.acked: dict[int, set[int]] = {}
        self.committed: dict[int, int] = dict.fromkeys(partitions, 0)
        self.position: dict[int, int] = dict.fromkeys(partitions, 0)  # offset the reader goes on at
        self.delivered: dict[int, int] = {}  # offset behind the last record handed on since the last assignment
        self.kept: list[tuple[int, int, bytes | None, str]] = []
        self.published: list[Verdict] = []
        self.windows: list[WindowEvent] = []
        self.partials: list[PartialRecord] = []
        self.corrections: list[CorrectionEvent] = []
        self.days: list[DayEvent] = []
        self.day_plan: list[str] = []
        self.decisions: list[ScalingEvent] = []
        self.moving = False
        self.dumb = False  # it does not say which records exist
        self.reach = 3  # so many offsets are in one answer
        self.asked = 0
        self.reject_failures = 0
        self.publish_failures = 0
        self.write_plan: list[str] = []
        self.during_write: Callable[[], Awaitable[None]] | None = None
        self.correction_plan: list[str] = []
        self.during_correction: Callable[[], Awaitable[None]] | None = None
        self.history_plan: list[str] = []
        self.history_writes = 0
        self.writes = 0

    # What the runtime asks for.

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        plan = self.write_plan.pop(0) if self.write_plan else "kept"
        await asyncio.sleep(0)
        if plan == "lost":
            raise TimeoutError("the broker is away")
        self.table[partition] = json.loads(json.dumps(record))
        self.writes += 1
        if self.during_write is not None:
            meanwhile, self.during_write = self.during_write, None
            await meanwhile()
        if plan == "unsure":
            raise TimeoutError("it was kept, but the answer was lost")

    async def write_history(self, partition: int, record: Mapping[str, Any]) -> None:
        plan = self.history_plan.pop(0) if self.history_plan else "kept"
        await asyncio.sleep(0)
        if plan == "lost":
            raise TimeoutError("the broker is away")
        key = history_key(partition, record["version"])
        self.histories.setdefault(partition, {})[key] = json.loads(json.dumps(record))
        self.history_writes += 1
        if plan == "unsure":
            raise TimeoutError("it was kept, but the answer was lost")

    async def seek(self, partition: int, offset: int) -> None:
        self.position[partition] = offset

    async def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        self.asked += 1
        await asyncio.sleep(0)
        return None if self.dumb else [o for o, _ in self.partitions[partition] if o >= offset][: self.reach]

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        if self.reject_failures:
            self.reject_failures -= 1
            raise TimeoutError("the broker is away")
        self.kept.append((partition, offset, value, error.reason))

    async def publish(self, verdicts: list[Verdict]) -> None:
        if self.publish_failures:
            self.publish_failures -= 1
            raise TimeoutError("the broker is away")
        self.published += verdicts

    async def publish_windows(self, windows: list[WindowEvent]) -> None:
        if self.publish_failures:
            self.publish_failures -= 1
            raise TimeoutError("the broker is away")
        self.windows += windows

    async def publish_scaling(self, event: ScalingEvent) -> None:
        if self.publish_failures:
            self.publish_failures -= 1
            raise TimeoutError("the broker is away")
        self.decisions.append(event)

    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        plan = self.correction_plan.pop(0) if self.correction_plan else "kept"
        await asyncio.sleep(0)
        if plan != "lost":
            self.corrections += corrections
        if self.during_correction is not None:
            meanwhile, self.during_correction = self.during_correction, None
            await meanwhile()
        if plan != "kept":
            raise TimeoutError("the broker is away, or its answer was lost")

    async def publish_days(self, days: list[DayEvent]) -> None:
        plan = self.day_plan.pop(0) if self.day_plan else "kept"
        await asyncio.sleep(0)
        if plan != "lost":
            self.days += days
        if plan != "kept":
            raise TimeoutError("the broker is away, or its answer was lost")

    async def send_partials(self, records: Sequence[PartialRecord]) -> None:
        await asyncio.sleep(0)
        self.partials += records

    def rebalancing(self) -> bool:
        return self.moving

    # What a test does to it.

    def next_records(self, partition: int, count: int = 1) -> list[Record]:
        """The next ones of a partition, and the reader is past them."""
        found = [(o, value) for o, value in self.partitions[partition] if o >= self.position[partition]][:count]
        if found:
            self.position[partition] = found[-1][0] + 1
            self.delivered[partition] = max(self.delivered.get(partition, 0), found[-1][0] + 1)
        return found

    def skip(self, partition: int, count: int) -> None:
        """Lose the next records on the way, as Faust was seen to after a recovery."""
        ahead = [offset for offset, _ in self.partitions[partition] if offset >= self.position[partition]]
        if ahead:
            self.position[partition] = ahead[min(count, len(ahead)) - 1] + 1

    def commit(self) -> None:
        """Everything up to the last offset acknowledged: what lies behind a gap is not acknowledged before it."""
        for partition in self.partitions:
            done = max(self.acked.get(partition, ()), default=-1) + 1
            self.committed[partition] = max(self.committed[partition], done)

    def reassign(self) -> None:
        """Positions go back to what was committed."""
        self.delivered = {}
        self.position = dict(self.committed)

    def tables(self) -> dict[int, dict[str, Any]]:
        return dict(json.loads(json.dumps(list(self.table.items()))))


def written_and_read(state: PartitionState) -> PartitionState:
    """As the two records of it come back from the topic."""
    history = state.history.freeze()
    record = json.loads(json.dumps(state.to_record()))
    state.history.written()
    return PartitionState.from_record(record, [] if history is None else [json.loads(json.dumps(history))])


def runtime_on(log: FakeLog, rules: tuple[Rule, ...] = (), clock: SetClock | None = None) -> Runtime:
    """A process just started: nothing recovered yet."""
    world = World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t")
    return Runtime(world, rules, log, clock or SetClock())


def started(log: FakeLog, clock: SetClock | None = None) -> Runtime:
    """A process that has recovered what the log's table holds, and owns all partitions."""
    runtime = runtime_on(log, clock=clock)
    runtime.recover(log.tables(), log.partitions, {p: list(each.values()) for p, each in log.histories.items()})
    return runtime


async def deliver(log: FakeLog, runtime: Runtime, count: int = 1, partition: int = 0, together: int = 1) -> int:
    """The next records of a partition, as far as there are any, so many at once; returns how many."""
    done = 0
    while done < count:
        records = log.next_records(partition, min(together, count - done))
        if not records:
            break
        done += len(records)
        await runtime.consume(partition, records, FakeDelivery(log, partition, [offset for offset, _ in records]))
    return done


def log_of(*values: bytes | BatchEvent | None, partition: int = 0) -> FakeLog:
    """One partition with these records at offsets 0, 1, 2, ..."""
    return log_at({partition: dict(enumerate(values))})


def log_at(partitions: Mapping[int, Mapping[int, bytes | BatchEvent | None]]) -> FakeLog:
    """Records by partition and offset; an offset that is not named was a transaction's marker, say."""
    return FakeLog(
        {
            partition: [(o, encode(v) if isinstance(v, BatchEvent) else v) for o, v in sorted(records.items())]
            for partition, records in partitions.items()
        }
    )
