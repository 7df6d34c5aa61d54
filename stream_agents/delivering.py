"""The edges, and beside them what they did not take: nobody reads the log while a topic takes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Literal, get_args

from embedwatch.clock import Clock
from embedwatch.errors import InvalidEvent
from embedwatch.events import CorrectionEvent, DayEvent, ScalingEvent, Verdict, WindowEvent
from stream_agents.compute.partials import Record as PartialRecord
from stream_agents.edges import Edges

Kind = Literal["states", "verdicts", "windows", "days", "corrections", "decisions", "partials", "dead_letters"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: States and dead letters hold up what was counted, and that is told by how long records wait.
TOLD: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("states", "dead_letters"))


class Failures:
    """`counts`: attempts that failed, by kind of record, since the start."""

    def __init__(self) -> None:
        self.counts: dict[Kind, int] = {}
        self._since: dict[Kind, float] = {}

    def failed(self, kind: Kind, begun: float) -> None:
        """An attempt that began then (monotonic) failed."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._since.setdefault(kind, begun)

    def over(self, kind: Kind) -> None:
        """It went out, or there is nothing of it any more that should."""
        self._since.pop(kind, None)

    def forget(self) -> None:
        """Partitions were given out anew: what was owed may be another's to say."""
        self._since.clear()

    def lasting(self, monotonic: float, seconds: float) -> dict[Kind, float]:
        """Kinds of which nothing went out for at least so long, although there was something; for how long."""
        return {
            kind: monotonic - self._since[kind]
            for kind in TOLD
            if kind in self._since and monotonic - self._since[kind] >= seconds
        }


class WatchedEdges:
    """`Edges` that count what fails in `failures`; else they do what those below them do."""

    def __init__(self, edges: Edges, clock: Clock) -> None:
        self._edges = edges
        self._clock = clock
        self.failures = Failures()

    async def _watched(self, kind: Kind, sending: Awaitable[None]) -> None:
        begun = self._clock.monotonic()
        try:
            await sending
        except Exception:
            self.failures.failed(kind, begun)
            raise
        self.failures.over(kind)

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        await self._watched("states", self._edges.write_state(partition, record))

    async def write_history(self, partition: int, record: Mapping[str, Any]) -> None:
        await self._watched("states", self._edges.write_history(partition, record))

    async def seek(self, partition: int, offset: int) -> None:
        await self._edges.seek(partition, offset)

    async def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        return await self._edges.existing_offsets(partition, offset)

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        await self._watched("dead_letters", self._edges.reject(partition, offset, value, error))

    async def publish(self, verdicts: list[Verdict]) -> None:
        await self._watched("verdicts", self._edges.publish(verdicts))

    async def publish_windows(self, windows: list[WindowEvent]) -> None:
        await self._watched("windows", self._edges.publish_windows(windows))

    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        await self._watched("corrections", self._edges.publish_corrections(corrections))

    async def publish_days(self, days: list[DayEvent]) -> None:
        await self._watched("days", self._edges.publish_days(days))

    async def publish_scaling(self, event: ScalingEvent) -> None:
        await self._watched("decisions", self._edges.publish_scaling(event))

    async def send_partials(self, records: Sequence[PartialRecord]) -> None:
        await self._watched("partials", self._edges.send_partials(records))

    def rebalancing(self) -> bool:
        return self._edges.rebalancing()
