"""Says corrections of closed days, once the state that holds them is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol
from zoneinfo import ZoneInfo

from embedwatch.clock import Clock
from embedwatch.events import CorrectionEvent
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.scopes import ALL, scope_key

log = logging.getLogger("agents")

#: Corrections of a partition are said so far apart: yesterday's events, sent again, correct each scope all the time.
SAY_SECONDS = 5.0


class CorrectionsEdge(Protocol):
    async def publish_corrections(self, corrections: list[CorrectionEvent]) -> None:
        """Return when the broker has acknowledged all of them."""


class Sayer:
    """`count` and `cost_nano_usd`: what this process has said, and what that added to the whole."""

    def __init__(self, app_id: str, zone: ZoneInfo, edge: CorrectionsEdge, clock: Clock) -> None:
        self._app_id = app_id
        self._zone = zone
        self._edge = edge
        self._clock = clock
        self._said_at: dict[int, float] = {}
        self.count = 0
        self.cost_nano_usd = 0

    def forget(self) -> None:
        """Partitions were given out anew: whoever had them before may have left something unsaid."""
        self._said_at.clear()

    def due(self, states: Mapping[int, PartitionState]) -> set[int]:
        """Partitions with something to say, that have not just said something."""
        now = self._clock.monotonic()
        return {
            p for p, state in states.items()
            if state.unsaid and now >= self._said_at.get(p, now - SAY_SECONDS) + SAY_SECONDS
        }  # fmt: skip

    def collect(self, states: Mapping[int, PartitionState]) -> dict[int, list[CorrectionEvent]]:
        """What these states have to say as they are now."""
        return {p: state.corrections(self._app_id, p, self._zone) for p, state in states.items()}

    async def say(
        self,
        corrections: Mapping[int, list[CorrectionEvent]],
        states: Mapping[int, PartitionState],
        held: Callable[[], bool],
    ) -> set[int]:
        """Publish what is written; returns the partitions whose state is to be written without it.

        Money does not wait for it: what cannot be said now stays in the state, and is said with the next one, together
        with what came meanwhile. Once the partitions are not `held` any more, whoever has them says it again, under
        the same ids.
        """
        said: set[int] = set()
        for partition, events in corrections.items():
            try:
                await self._edge.publish_corrections(events)
            except Exception as error:
                log.warning("corrections of closed days could not be published, trying again: %r", error)
                continue
            self.count += len(events)
            self.cost_nano_usd += sum(e.added.cost_nano_usd for e in events if e.scope == scope_key(ALL))
            if not held():
                return set()
            states[partition].said(events)
            self._said_at[partition] = self._clock.monotonic()
            said.add(partition)
        return said
