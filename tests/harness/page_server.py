"""The agents' routes on a real port in a thread of their own, for a browser that is driven from the test's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from embedwatch.clock import SystemClock
from embedwatch.settings import AgentSettings
from stream_agents.runtime import Runtime
from stream_agents.web.api import add_routes
from stream_agents.web.protect import protect
from tests.harness.agents_log import SetClock

PATIENCE_SECONDS = 30


class PageServer:
    """Use it as a context manager. `close` and `open` take the server away and give it back on the same port."""

    def __init__(self, make: Callable[[SetClock], Awaitable[Runtime]], settings: AgentSettings | None = None) -> None:
        """`settings`: as the agents are protected by, which the routes alone are not."""
        self.clock = SetClock()
        self.runtime: Runtime
        self._make = make
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._stopping = False
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/ui"

    def do(self, call: Callable[[], Any]) -> Any:
        """Call something in the server's thread, which owns the runtime."""

        async def run() -> Any:
            found = call()
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_SECONDS)

    def tick(self, seconds: float = 2.0) -> None:
        """Time goes on for streams and for answers that are kept; what they tell of stays at its moment."""
        self.clock.passed_seconds += seconds

    def open(self) -> None:
        self._stopping = False
        self.do(self._open)

    def close(self) -> None:
        self._stopping = True
        self.do(self._close)

    async def _open(self) -> None:
        app = web.Application()
        if self.settings is not None:
            protect(app, self.settings, SystemClock())
        add_routes(app.router, self.runtime, self.clock, lambda: self._stopping)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.runtime = self.do(lambda: self._make(self.clock))
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()
