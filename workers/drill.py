"""A fire drill: for a while every batch takes longer, so that people see HIGH_LATENCY fire and clear.

Said in the log when it begins and ends, so that nobody hunts for a fault that is a rehearsal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from embedwatch.clock import Clock
from workers.backend import Embedder, Vectors

log = logging.getLogger(__name__)


class SlowPhase:
    """Wraps an `Embedder`. Everything but `embed` is the wrapped one's own.

    From `after_seconds` since the first batch, for `for_seconds`, each batch is held up by `delay_seconds`. `sleep` is
    told for how long and may return early, when the worker is asked to stop.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        after_seconds: float,
        for_seconds: float,
        delay_seconds: float,
        clock: Clock,
        sleep: Callable[[float], object],
    ) -> None:
        self._embedder = embedder
        self._after_seconds = after_seconds
        self._for_seconds = for_seconds
        self._delay_seconds = delay_seconds
        self._clock = clock
        self._sleep = sleep
        self._first_batch: float | None = None
        self._state = "waiting"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def tick(self) -> bool:
        """Move on with the clock; True while batches are to be slowed. Call it also when there is nothing to embed."""
        if self._first_batch is None:
            return False
        elapsed = self._clock.monotonic() - self._first_batch
        if self._state == "waiting" and elapsed >= self._after_seconds:
            self._state = "slow"
            log.warning(
                "fire drill: begins; each batch takes %.1f s longer for %.0f s", self._delay_seconds, self._for_seconds
            )
        if self._state == "slow" and elapsed >= self._after_seconds + self._for_seconds:
            self._state = "over"
            log.warning("fire drill: over; batches run at full speed again")
        return self._state == "slow"

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        if self._first_batch is None:
            self._first_batch = self._clock.monotonic()
        if self.tick():
            self._sleep(self._delay_seconds)
        return self._embedder.embed(payloads)
