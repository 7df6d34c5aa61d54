"""Decides about workers in the process that speaks for the whole, and says so on the metrics topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedwatch.clock import Clock
from embedwatch.events import ScalingEvent
from stream_agents.compute.scaling import Brain
from stream_agents.compute.world import World


class ScalingEdge(Protocol):
    async def publish_scaling(self, event: ScalingEvent) -> None:
        """Return when the broker has acknowledged it."""


class Decider:
    """`brain` None: nothing is decided here. One call at a time."""

    def __init__(self, world: World, brain: Brain | None, edge: ScalingEdge, clock: Clock) -> None:
        self.world = world
        self.brain = brain
        self.edge = edge
        self.clock = clock
        self._led = False

    async def decide(self, leads: bool, not_ready: Sequence[str]) -> bool:
        """True when a decision was published. Raises what the edge raises; the decision is due the next time then."""
        led, self._led = self._led, leads and self.brain is not None
        if self.brain is None or not leads:
            return False
        if not led:
            self.brain.resume(self.world)
        event = self.brain.decide(self.world, self.clock.now(), not_ready)
        if not self.brain.is_due(event):
            return False
        await self.edge.publish_scaling(event)
        self.brain.said(event)
        # It comes back through the topic, too, and is passed over then.
        self.world.apply_scaling(event)
        return True
