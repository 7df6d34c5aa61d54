"""Several runtimes of the stream agents over one log in memory, for tests: partitions that move, processes that die
between any two steps or go on without knowing that they have lost their partitions, sends that fail either way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.codec import encode
from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, CorrectionEvent, DayEvent, Verdict, WindowEvent
from embedwatch.sketch import Sketch
from stream_agents.compute.history import history_key, is_state, parsed_key, state_key
from stream_agents.compute.merger import Merger
from stream_agents.compute.partials import Record
from stream_agents.compute.world import World
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, SetClock

APP_ID = "app"


def new_world() -> World:
    return World(zone=ZoneInfo("UTC"), max_scopes=1000, lag_group="g", lag_topic="t")


class Cluster:
    """What outlives every process: the source partitions, the changelog of states, the partials, the commits."""

    def __init__(self, log: Sequence[Sequence[BatchEvent]], members: int) -> None:
        self.log = [[encode(event) for event in events] for events in log]
        self.changelog: list[tuple[int, bytes, bytes]] = []  # partition, key and value
        self.partials: list[Record] = []
        self.windows: list[WindowEvent] = []
        self.corrections: list[CorrectionEvent] = []
        self.days: list[DayEvent] = []
        self.committed = [0] * len(log)
        self.owner: dict[int, Member] = {}
        self.members = [Member(self) for _ in range(members)]

    def tables(self) -> dict[int, dict[str, Any]]:
        return {p: json.loads(value) for p, key, value in self.changelog if is_state(parsed_key(key))}

    def histories(self) -> dict[int, list[dict[str, Any]]]:
        newest = {key: (p, value) for p, key, value in self.changelog if not is_state(parsed_key(key))}
        out: dict[int, list[dict[str, Any]]] = {}
        for partition, value in newest.values():
            out.setdefault(partition, []).append(json.loads(value))
        return out

    def assign(self, owners: Sequence[int], deaf: Sequence[bool] = ()) -> None:
        """Partition p goes to `owners[p]`. Members that are `deaf` do not notice, and go on with what they had."""
        self.owner = {p: self.members[number] for p, number in enumerate(owners)}
        for number, member in enumerate(self.members):
            if number < len(deaf) and deaf[number]:
                continue
            member.take_over({p for p, owner in self.owner.items() if owner is member})

    def crash(self, number: int) -> None:
        self.members[number] = Member(self)
        for partition, owner in list(self.owner.items()):
            if owner not in self.members:
                del self.owner[partition]


class FakeDelivery:
    def __init__(self, member: Member, partition: int, offset: int) -> None:
        self.member, self.partition, self.offset = member, partition, offset
        self.acked = False

    def ack(self) -> None:
        written = self.member.written.get(self.partition, 0)
        assert written > self.offset, f"offset {self.offset} was acknowledged, but the state written ends at {written}"
        self.acked = True


class Member:
    """One process; the `Edges` of its runtime."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        world = new_world()
        self.merger = Merger(world, APP_ID, len(cluster.log))
        self.clock = SetClock()
        self.runtime = Runtime(world, (), self, self.clock, self.merger)
        self.position: dict[int, int] = {}
        self.delivered: list[FakeDelivery] = []
        self.written: dict[int, int] = {}
        self.plan: list[str] = []
        self._partials_read = 0
        self._states_read = 0

    # What the runtime asks for.

    def _fate(self) -> str:
        return self.plan.pop(0) if self.plan else "kept"

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        fate = await self._write(partition, state_key(partition), record)
        self.written[partition] = max(self.written.get(partition, 0), record["next_offset"])
        if fate == "unsure":
            raise TimeoutError

    async def write_history(self, partition: int, record: Mapping[str, Any]) -> None:
        if await self._write(partition, history_key(partition, record["version"]), record) == "unsure":
            raise TimeoutError

    async def _write(self, partition: int, key: str, record: Mapping[str, Any]) -> str:
        fate = self._fate()
        await asyncio.sleep(0)
        if fate == "lost":
            raise TimeoutError
        self.cluster.changelog.append((partition, json.dumps(key).encode(), json.dumps(record).encode()))
        return fate

    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        fate = self._fate()
        await asyncio.sleep(0)
        if fate != "lost":
            self.cluster.corrections += corrections
        if fate != "kept":
            raise TimeoutError

    async def publish_days(self, days: list[DayEvent]) -> None:
        for day in days:
            fate = self._fate()
            await asyncio.sleep(0)
            if fate != "lost":
                self.cluster.days.append(day)
            if fate != "kept":
                raise TimeoutError

    async def send_partials(self, records: Sequence[Record]) -> None:
        for record in records:
            fate = self._fate()
            await asyncio.sleep(0)
            if fate == "lost":
                raise TimeoutError
            self.cluster.partials.append(record)
            if fate == "unsure":
                raise TimeoutError

    async def seek(self, partition: int, offset: int) -> None:
        self.position[partition] = offset

    async def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        return range(offset, len(self.cluster.log[partition]))

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        raise AssertionError(f"{partition} {offset}: {error}")

    async def publish(self, verdicts: list[Verdict]) -> None: ...

    async def publish_windows(self, windows: list[WindowEvent]) -> None:
        self.cluster.windows += windows

    def rebalancing(self) -> bool:
        return False

    # What a test does to it.

    def take_over(self, partitions: set[int]) -> None:
        self.read()  # as the marker makes it
        self.position = {p: self.cluster.committed[p] for p in partitions}
        self.delivered = []
        self.written = {p: record["next_offset"] for p, record in self.cluster.tables().items()}
        self.runtime.recover(self.cluster.tables(), partitions, self.cluster.histories())

    async def deliver(self, partition: int, count: int) -> None:
        for _ in range(count):
            offset = self.position.get(partition)
            if offset is None or offset >= len(self.cluster.log[partition]):
                return
            self.position[partition] = offset + 1
            record = FakeDelivery(self, partition, offset)
            self.delivered.append(record)
            await self.runtime.consume(partition, [(offset, self.cluster.log[partition][offset])], record)

    def read(self, count: int = 1_000_000) -> None:
        """The next records that other processes wrote."""
        new = self.cluster.partials[self._partials_read : self._partials_read + count]
        self._partials_read += len(new)
        for key, value in new:
            self.runtime.take_partial(key, value)
        states = self.cluster.changelog[self._states_read : self._states_read + count]
        self._states_read += len(states)
        for partition, key, value in states:
            self.merger.take_state(partition, key, value)
        if self._partials_read == len(self.cluster.partials):
            while self.merger.unpack(NOW, limit=1):
                pass
        self.merger.states_read = self._states_read == len(self.cluster.changelog)

    def commit(self) -> None:
        for partition, owner in self.cluster.owner.items():
            if owner is self and partition in self.position:
                open_ = [d.offset for d in self.delivered if d.partition == partition and not d.acked]
                done = [d.offset + 1 for d in self.delivered if d.partition == partition and d.acked]
                upto = min([max(done, default=0), *open_])
                self.cluster.committed[partition] = max(self.cluster.committed[partition], upto)


def reference(log: Sequence[Sequence[BatchEvent]]) -> World:
    """One process that saw everything once."""
    cluster = Cluster(log, 1)

    async def run() -> World:
        cluster.assign([0] * len(log))
        for partition, events in enumerate(log):
            await cluster.members[0].deliver(partition, len(events))
        return cluster.members[0].runtime.world

    return asyncio.run(run())


def numbers(world: World) -> dict[str, Any]:
    """Everything that is counted, comparable: the windows of every scope, to the bucket, and the days."""
    found: dict[str, Any] = {}
    for scope in sorted(world.windows.scopes()):
        for seconds in (60, 300, 3600):
            totals = world.windows.window(scope, seconds, NOW)
            found[f"{scope} {seconds}"] = {
                name: value.to_bytes() if isinstance(value := getattr(totals, name), Sketch) else value
                for name in totals.__dataclass_fields__
                if name != "crossed_texts"  # goes by moments of one process, which a take-over cuts
            }
    for state in world.partitions.values():
        for day, scopes in state.days.items():
            for name in scopes:
                found[f"{day} {name}"] = [
                    sum(getattr(s.days[day][name], f) for s in world.partitions.values() if name in s.days.get(day, {}))
                    for f in scopes[name].__struct_fields__
                    if isinstance(getattr(scopes[name], f), int)
                ]
    return found
