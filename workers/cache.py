"""The vector cache: an in-process LRU in front of Redis or Valkey. Trouble with the server never stops a text.

A server that is down, slow or full is bypassed: the operation is counted as an error, and after a few in a row a
circuit breaker stops asking for a while, so that a dead cache costs a timeout once and not at every poll.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedwatch.clock import Clock
from embedwatch.errors import ConfigError
from embedwatch.settings import CacheSettings, redact_url
from workers.cache_entry import Entries, decode_entries, encode_entries
from workers.lru import ByteLRU

log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store could not be asked, or refused. The text is for a log line."""


class Store(Protocol):
    """Keys to values on a server. Every call is bounded in time; any trouble is a `StoreError`."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None: ...

    def stats(self) -> dict[str, float]:
        """entries, memory_bytes, dataset_bytes, evictions, hits, misses, as the server counts them."""


@dataclass(slots=True)
class Breaker:
    """Closed lets calls through. `FAILURES` in a row open it; then one call is let through after a growing pause."""

    FAILURES = 3
    FIRST_PAUSE_SECONDS = 1.0
    LONGEST_PAUSE_SECONDS = 30.0

    _failures: int = 0
    _pause_seconds: float = FIRST_PAUSE_SECONDS
    _open_until: float | None = None

    def allows(self, now: float) -> bool:
        return self._open_until is None or now >= self._open_until

    def failed(self, now: float) -> bool:
        """True when this failure opened it."""
        self._failures += 1
        if self._failures < self.FAILURES:
            return False
        newly = self._open_until is None
        if not newly:
            self._pause_seconds = min(self._pause_seconds * 2, self.LONGEST_PAUSE_SECONDS)
        self._open_until = now + self._pause_seconds
        return newly

    def succeeded(self) -> bool:
        """True when this success closed it."""
        was_open = self._open_until is not None
        self._failures, self._open_until, self._pause_seconds = 0, None, self.FIRST_PAUSE_SECONDS
        return was_open


@dataclass(frozen=True, slots=True)
class Lookup:
    """`entries` are the hits. `errors` are the keys that could not be asked for, or whose value was not ours."""

    entries: Entries
    errors: int


class VectorCache:
    """Looks up and writes vectors of one model. `store=None` leaves the in-process part alone.

    One thread may look up while others remember and write; none waits for another's network.
    """

    def __init__(self, store: Store | None, *, local_max_bytes: int, dims: int, clock: Clock) -> None:
        self._store = store
        self._lru = ByteLRU(local_max_bytes)
        self._dims = dims
        self._clock = clock
        self._breaker = Breaker()
        self._lock = threading.Lock()  # of the LRU and the breaker
        self._told_foreign = False

    def lookup(self, keys: Sequence[bytes]) -> Lookup:
        """All keys at once: the LRU first, then one request for the rest."""
        with self._lock:
            values = [self._lru.get(key) for key in keys]
        missing = [index for index, value in enumerate(values) if value is None]
        errors = 0
        if missing and self._store is not None:
            found = self._ask(self._store, [keys[index] for index in missing])
            if found is None:
                errors = len(missing)
            else:
                for index, value in zip(missing, found, strict=True):
                    values[index] = value
        entries = decode_entries(values, self._dims)
        with self._lock:
            for index in np.intersect1d(entries.index, missing).tolist():
                value = values[index]
                if value is not None:
                    self._lru.put(keys[index], value)
        if entries.foreign and not self._told_foreign:
            self._told_foreign = True
            log.warning(
                "cache: %d values are not vectors of this model (wrong length, form or content); they are treated as "
                "absent and overwritten. Said once.",
                entries.foreign,
            )
        return Lookup(entries, errors + entries.foreign)

    def recall(self, keys: Sequence[bytes]) -> Entries:
        """From this process alone: what was remembered since it was looked up."""
        with self._lock:
            values = [self._lru.get(key) for key in keys]
        return decode_entries(values, self._dims)

    def remember(
        self,
        keys: Sequence[bytes],
        matrix: npt.NDArray[np.floating],
        tokens: npt.NDArray[np.int64],
        full_tokens: npt.NDArray[np.int64],
    ) -> list[tuple[bytes, bytes]]:
        """Vectors, row i under key i, in this process. Returns what is to be written to the server."""
        values = encode_entries(matrix, tokens, full_tokens)
        items = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        with self._lock:
            for key, value in items:
                self._lru.put(key, value)
        return items

    def forget(self) -> None:
        """What this process remembers: it may be of texts that nobody was told of."""
        with self._lock:
            self._lru.clear()

    def write(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """To the server. Returns how many it did not take."""
        if not items or self._store is None:
            return 0
        if not self._allowed():
            return len(items)
        try:
            self._store.put_many(items)
        except StoreError as error:
            self._failed(error)
            return len(items)
        self._succeeded()
        return 0

    def _ask(self, store: Store, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """None when the store could not be asked."""
        if not self._allowed():
            return None
        try:
            found = store.get_many(keys)
        except StoreError as error:
            self._failed(error)
            return None
        self._succeeded()
        return found

    def _allowed(self) -> bool:
        with self._lock:
            return self._breaker.allows(self._clock.monotonic())

    def _failed(self, error: StoreError) -> None:
        with self._lock:
            opened = self._breaker.failed(self._clock.monotonic())
        if opened:
            log.warning("cache: %s; it is bypassed until it answers again", error)

    def _succeeded(self) -> None:
        with self._lock:
            closed = self._breaker.succeeded()
        if closed:
            log.info("cache: answers again")


class RedisStore:
    """Redis or Valkey. One MGET a lookup, one pipeline a write, short timeouts, no retries: the breaker decides."""

    def __init__(self, settings: CacheSettings) -> None:
        """Connects at the first use. Raises `ConfigError` when the URL is not one."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if settings.url is None:
            raise ConfigError("cache.url is not set")
        seconds = settings.timeout_ms / 1000
        try:
            self._redis: Any = redis.Redis.from_url(
                settings.url.get_secret_value(),
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
                decode_responses=False,
            )
        except ValueError as error:
            raise ConfigError(f"cache.url: {error}; expected redis://host:port/db") from None
        self._ttl_seconds = settings.ttl_seconds
        self._where = redact_url(settings.url.get_secret_value())

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = self._call(lambda: self._redis.mget(keys))
        return found

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        def write() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, value in items:
                    pipe.set(key, value, ex=self._ttl_seconds)
                pipe.execute()

        self._call(write)

    def stats(self) -> dict[str, float]:
        def ask() -> dict[str, float]:
            memory, counts = self._redis.info("memory"), self._redis.info("stats")
            return {
                "entries": self._redis.dbsize(),
                "memory_bytes": memory["used_memory"],
                "dataset_bytes": memory["used_memory_dataset"],
                "evictions": counts["evicted_keys"],
                "hits": counts["keyspace_hits"],
                "misses": counts["keyspace_misses"],
            }

        found: dict[str, float] = self._call(ask)
        return found

    def close(self) -> None:
        self._redis.close()

    def _call(self, work: Any) -> Any:
        import redis

        try:
            return work()
        except (redis.RedisError, OSError, KeyError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(f"{self._where}: {type(error).__name__}: {first[:200]}") from None
