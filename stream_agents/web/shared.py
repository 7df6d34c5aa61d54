"""Answers that several clients ask for at once are made once, and one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from embedwatch.clock import Clock
from stream_agents.web.problems import HEADERS, Busy
from stream_agents.web.routes import MAX_WAITING

VALID_SECONDS = 2.0
MAX_KEPT = 64

T = TypeVar("T")


class Shared:
    """Keeps each answer for two seconds from when it was made; whoever asks while it is being made waits for it."""

    def __init__(self, clock: Clock, max_kept: int = MAX_KEPT) -> None:
        self._clock = clock
        self._max_kept = max_kept
        self._kept: dict[Hashable, tuple[float, bytes]] = {}
        self._making: dict[Hashable, asyncio.Task[bytes]] = {}
        self._turn = asyncio.Lock()  # several at once would make each turn of the event loop longer

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[dict[str, Any]]]) -> web.Response:
        """Raises `Busy` where too many others wait."""
        self._drop_old()
        if key in self._kept:
            body = self._kept[key][1]
        else:
            if key not in self._making:
                if len(self._making) >= MAX_WAITING:
                    raise Busy(f"{MAX_WAITING} answers are being made already; try again later")
                self._making[key] = asyncio.create_task(self._made(key, make))
            # Shielded: one who goes away takes nothing from the others.
            body = await asyncio.shield(self._making[key])
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    async def _made(self, key: Hashable, make: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
        try:
            async with self._turn:
                body = msgspec.json.encode(await make())
            self._kept.pop(key, None)
            self._kept[key] = self._clock.monotonic(), body
            if len(self._kept) > self._max_kept:
                del self._kept[next(iter(self._kept))]
            return body
        finally:
            del self._making[key]

    def _drop_old(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, (at, _) in self._kept.items() if not 0 <= now - at < VALID_SECONDS]:
            del self._kept[key]


async def in_turns(rows: Iterable[T], together: int) -> list[T]:
    """All of them; events and verdicts have their turn after every so many."""
    found = []
    for number, row in enumerate(rows, start=1):
        found.append(row)
        if number % together == 0:
            await asyncio.sleep(0)
    return found
