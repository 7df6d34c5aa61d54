"""Server-sent events: the same numbers as the summary, pushed while somebody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import msgspec
from aiohttp import web

from embedwatch.clock import Clock

#: How often numbers are made. Clients that ask for the same ones share them.
EVERY_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
#: A client that takes nothing for so long is let go: what is written for it would pile up.
WRITE_TIMEOUT_SECONDS = 5.0
#: The agents end within two seconds of a signal; a stream looks this often whether it is time.
LOOK_SECONDS = 0.2

Make = Callable[[], dict[str, Any]]


class Streams:
    """All open streams of one server."""

    def __init__(self, clock: Clock, stopping: Callable[[], bool], *, max_streams: int) -> None:
        self.clock = clock
        self.stopping = stopping
        self.max_streams = max_streams
        self.open = 0
        self._made: dict[Hashable, tuple[float, bytes, bytes]] = {}

    @property
    def full(self) -> bool:
        return self.open >= self.max_streams

    async def serve(self, request: web.Request, key: Hashable, make: Make) -> web.StreamResponse:
        """Until the client goes or the agents stop. `make` gives the numbers, the same for the same `key`."""
        self.open += 1
        try:
            return await self._serve(request, key, make)
        finally:
            self.open -= 1
            if not self.open:
                self._made.clear()

    async def _serve(self, request: web.Request, key: Hashable, make: Make) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        told, number, spoken, due = b"", 0, self.clock.monotonic(), self.clock.monotonic()
        try:
            await response.prepare(request)
            while not self.stopping() and request.transport is not None and not request.transport.is_closing():
                now = self.clock.monotonic()
                if now >= due:
                    due = now + EVERY_SECONDS
                    compared, body = self._numbers(key, make, now)
                    if compared != told:
                        told, number, spoken = compared, number + 1, now
                        await self._write(response, b"event: summary\nid: %d\ndata: %s\n\n" % (number, body))
                    elif now - spoken >= HEARTBEAT_SECONDS:
                        spoken = now
                        await self._write(response, b": nothing changed\n\n")
                await asyncio.sleep(LOOK_SECONDS)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()  # what waits to be written would hold up the end of the server
        return response

    def _numbers(self, key: Hashable, make: Make, now: float) -> tuple[bytes, bytes]:
        """(what a change is told by, the body). The time alone is no change."""
        made = self._made.get(key)
        if made is None or now - made[0] >= EVERY_SECONDS or now < made[0]:
            data = make()
            compared = msgspec.json.encode({**data, "time_seconds": None})
            for old in [k for k, (at, _, _) in self._made.items() if now - at > 10 * EVERY_SECONDS]:
                del self._made[old]
            if len(self._made) > 2 * self.max_streams:
                self._made.clear()  # clients that come and go, each with a wish of its own
            made = self._made[key] = (now, compared, msgspec.json.encode(data))
        return made[1], made[2]

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        writing = asyncio.ensure_future(response.write(data))
        waited = 0.0
        while not writing.done() and waited < WRITE_TIMEOUT_SECONDS and not self.stopping():
            await asyncio.wait([writing], timeout=LOOK_SECONDS)
            waited += LOOK_SECONDS
        if not writing.done():
            writing.cancel()
            raise TimeoutError
        await writing
