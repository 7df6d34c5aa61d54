"""The queue and the workers over the last hour, one sample every ten seconds. Pure, bounded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_agents.compute.world import World

EVERY_SECONDS = 10
KEEP_SECONDS = 3600
#: A worker that has not been heard of for so long is not counted; heartbeats come at least once a minute.
ALIVE_SECONDS = 90.0


def running_workers(world: World, now: float) -> int | None:
    """Workers that run; None where nothing has been heard of any."""
    workers = [beat for beat in world.workers.values() if beat.role == "worker"]  # callers take nothing from the queue
    if not workers:
        return None
    return sum(beat.state == "running" and now - beat.time_seconds <= ALIVE_SECONDS for beat in workers)


class QueueHistory:
    """Of this process since its start: times that nobody looked at are missing, not zero."""

    def __init__(self) -> None:
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEEP_SECONDS // EVERY_SECONDS)
        self._slot: int | None = None

    def look(self, world: World, now: float) -> None:
        """Take a sample if one is due. Call it every few seconds."""
        slot = int(now // EVERY_SECONDS)
        if self._slot is not None and slot < self._slot:
            self._samples.clear()  # the clock was set back: what lies ahead of it is no past
        if slot == self._slot:
            return
        self._slot = slot
        queue = world.queue(now)
        decided = world.decisions.now(now)
        self._samples.append(
            {
                "time_seconds": now,
                "status": queue.status,
                "lag_seconds": queue.lag_seconds,
                "lag_messages": queue.lag_messages,
                "depth_texts": queue.depth_texts,
                "drain_seconds": queue.drain_seconds,
                "arrival_rate_per_s": queue.arrival_rate_per_s,
                "consume_rate_per_s": queue.consume_rate_per_s,
                "stalled_partitions": queue.stalled_partitions,
                "workers": running_workers(world, now),
                "desired_workers": decided["desired_workers"],
            }
        )

    def rows(self, now: float, seconds: int) -> dict[str, Any]:
        """The samples of the last `seconds`, the oldest first."""
        return {
            "time_seconds": now,
            "seconds": seconds,
            "sample_seconds": EVERY_SECONDS,
            "rows": [row for row in self._samples if now - row["time_seconds"] <= seconds],
        }
