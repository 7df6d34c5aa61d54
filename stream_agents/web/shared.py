"""Answers that several clients ask for at once are made once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import msgspec
from aiohttp import web

from embedwatch.clock import Clock
from stream_agents.web.problems import HEADERS

VALID_SECONDS = 2.0
MAX_KEPT = 64


class Shared:
    """Keeps each answer for two seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, bytes]] = {}

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[dict[str, Any]]]) -> web.Response:
        now = self._clock.monotonic()
        at, body = self._kept.pop(key, (now, b""))
        if not body or not 0 <= now - at < VALID_SECONDS:
            at, body = now, msgspec.json.encode(await make())
        self._kept[key] = at, body
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return web.Response(body=body, content_type="application/json", headers=HEADERS)
