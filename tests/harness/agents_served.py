"""The agents' own routes over a runtime, on a port of this machine, in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from aiohttp import web

from embedwatch.clock import Clock
from stream_agents.runtime import Runtime
from stream_agents.web.api import add_routes
from tests.harness.agents_log import SetClock


class ServedAgents:
    """Use it as a context manager. `serve` may be called several times; `end` stops one of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runners: dict[str, web.AppRunner] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for url in list(self._runners):
            self.end(url)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def serve(self, runtime: Runtime, clock: Clock | None = None, port: int = 0) -> str:
        """Its address."""
        return asyncio.run_coroutine_threadsafe(self._start(runtime, clock or SetClock(), port), self._loop).result(10)

    def end(self, url: str) -> None:
        """Nobody answers there any more."""
        asyncio.run_coroutine_threadsafe(self._runners.pop(url).cleanup(), self._loop).result(10)

    async def _start(self, runtime: Runtime, clock: Clock, port: int) -> str:
        app = web.Application()
        add_routes(app.router, runtime, clock)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._runners[url] = runner
        return url
