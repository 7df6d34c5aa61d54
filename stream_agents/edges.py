"""What the runtime needs of Faust and Kafka, as protocols: `app` has the real ones, tests a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from embedwatch.errors import InvalidEvent
from embedwatch.events import CorrectionEvent, DayEvent, ScalingEvent, Verdict, WindowEvent
from stream_agents.compute.partials import Record as PartialRecord

Record = tuple[int, bytes | None]
"""Offset and value."""


class Delivery(Protocol):
    """Records of one partition that were delivered together, as far as the runtime looks at it."""

    def ack(self) -> Any: ...


class Edges(Protocol):
    """What the runtime needs of Faust and Kafka."""

    async def write_state(self, partition: int, record: Mapping[str, Any]) -> None:
        """Return when the broker has acknowledged it."""

    async def write_history(self, partition: int, record: Mapping[str, Any]) -> None:
        """Beside the one that the state written last names. Return when the broker has acknowledged it."""

    async def seek(self, partition: int, offset: int) -> None: ...

    async def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        """Offsets of the records in the log from `offset` on, in order and without holes, as many as are asked for
        cheaply; empty when there is none now, None when the log could not be asked."""

    async def reject(self, partition: int, offset: int, value: bytes | None, error: InvalidEvent) -> None:
        """Keep an event that does not decode; return when it is kept."""

    async def publish(self, verdicts: list[Verdict]) -> None: ...

    async def publish_windows(self, windows: list[WindowEvent]) -> None:
        """Return when the broker has acknowledged them."""

    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        """Return when the broker has acknowledged all of them."""

    async def publish_days(self, days: list[DayEvent]) -> None:
        """Return when the broker has acknowledged all of them."""

    async def publish_scaling(self, event: ScalingEvent) -> None:
        """To the metrics topic. Return when the broker has acknowledged it."""

    async def send_partials(self, records: Sequence[PartialRecord]) -> None:
        """Return when the broker has acknowledged all of them."""

    def rebalancing(self) -> bool: ...
