"""Heartbeats and cache samples from a thread of their own, so that they go on while a model loads or a batch runs.

It has its own producer: a heartbeat must never wait for, or fail, the vectors.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from embedwatch import codec
from embedwatch.clock import Clock
from embedwatch.events import CacheEvent, HeartbeatEvent
from workers.cache import Store, StoreError
from workers.gpu import GpuProbe, NoGpu
from workers.meter import Identity, Meter

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Status:
    """What the worker's main thread says about itself. Written there, read by the telemetry thread."""

    state: Literal["starting", "running", "stopping"] = "starting"
    model_load_seconds: float | None = None
    in_flight_texts: int = 0
    queued_texts: int = 0
    batch_budget_tokens: int | None = None
    #: When the main loop last turned, by the monotonic clock; None outside of it.
    progress: float | None = None


class Telemetry:
    """`send` hands one encoded event to the metrics topic and must not block for long; `probe`, `meter` and `store` may
    be set once they are known."""

    def __init__(
        self,
        *,
        identity: Identity,
        model: str,
        status: Status,
        send: Callable[[bytes], None],
        heartbeat_seconds: float,
        cache_seconds: float,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._model = model[:256]
        self._status = status
        self._send = send
        self._heartbeat_seconds = heartbeat_seconds
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedwatch-telemetry", daemon=True)
        self.probe: GpuProbe = NoGpu("the model is not loaded yet")
        self.meter: Meter | None = None
        self.store: Store | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send a last heartbeat and end the thread."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def heartbeat(self) -> HeartbeatEvent:
        """How the worker is now."""
        status, meter = self._status, self.meter
        # Both counters are read at once, right before the time: the agents divide one by the other.
        gpus = self.probe.sample()
        tokens_embedded = 0 if meter is None else meter.tokens_embedded  # before there is a meter nothing is embedded
        return HeartbeatEvent(
            event_id=self._identity.next_event_id(),
            time_seconds=self._clock.now(),
            worker=self._identity.worker,
            model=self._model,
            state=status.state,
            model_load_seconds=status.model_load_seconds,
            in_flight_texts=status.in_flight_texts,
            queued_texts=status.queued_texts,
            batch_budget_tokens=status.batch_budget_tokens,
            resident_bytes=resident_bytes(),
            gpus=gpus,
            tokens_embedded=tokens_embedded,
        )

    def cache_sample(self, store: Store) -> CacheEvent:
        """The cache's own counts; `available=False` with the reason when it cannot be asked."""
        event_id, now = self._identity.next_event_id(), self._clock.now()
        try:
            stats = store.stats()
        except StoreError as error:
            return CacheEvent(event_id, now, self._identity.worker, available=False, reason=str(error))
        entries = int(stats["entries"])
        return CacheEvent(
            event_id,
            now,
            self._identity.worker,
            available=True,
            entries=entries,
            memory_bytes=int(stats["memory_bytes"]),
            bytes_per_entry=stats["dataset_bytes"] / entries if entries else None,
            evictions=int(stats["evictions"]),
            hits=int(stats["hits"]),
            misses=int(stats["misses"]),
        )

    def _run(self) -> None:
        next_cache = self._clock.monotonic()
        while True:
            last = self._over.is_set()
            self._try(self.heartbeat)
            store = self.store
            if store is not None and self._clock.monotonic() >= next_cache:
                next_cache = self._clock.monotonic() + self._cache_seconds
                self._try(lambda store=store: self.cache_sample(store))  # type: ignore[misc]
            if last:
                return
            self._over.wait(self._heartbeat_seconds)

    def _try(self, make: Callable[[], msgspec.Struct]) -> None:
        """A heartbeat that cannot be sent is not worth a worker; it is said, and the next one is tried."""
        try:
            self._send(codec.encode(make()))
        except Exception as error:
            log.warning("telemetry: not sent: %s: %s", type(error).__name__, str(error)[:200])


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
