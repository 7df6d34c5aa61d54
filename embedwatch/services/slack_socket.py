"""Socket Mode of the Slack stand-in: WebSocket connections that carry presses of buttons to the app.

https://docs.slack.dev/apis/events-api/using-socket-mode. Runs on the stand-in's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
import uuid
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from embedwatch.services.slack_records import InboxMessage, Refused

MAX_TICKETS = 100


class Sockets:
    """Tickets of `apps.connections.open`, the connections made with them, and envelopes that wait for an answer."""

    def __init__(self) -> None:
        self._tickets: list[str] = []
        self._open: list[web.WebSocketResponse] = []
        self._waiting: dict[str, asyncio.Event] = {}
        self._turn = itertools.count()

    @property
    def connections(self) -> int:
        return len(self._open)

    def ticket(self) -> str:
        """For one connection."""
        self._tickets = [*self._tickets, secrets.token_urlsafe(12)][-MAX_TICKETS:]
        return self._tickets[-1]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            raise web.HTTPForbidden
        self._tickets.remove(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(msgspec.json.encode({"type": "hello", "num_connections": 1}).decode())
        self._open.append(socket)
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._answered(message.data)
        finally:
            self._open.remove(socket)
        return socket

    def _answered(self, data: str) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            answer = msgspec.json.decode(data)
            envelope_id = answer.get("envelope_id") if isinstance(answer, dict) else None
            if envelope_id in self._waiting:
                self._waiting[envelope_id].set()

    async def deliver(self, payload: dict[str, Any], timeout_seconds: float) -> bool:
        """To one of the connections, in turn. Whether the app answered that it has it."""
        if not self._open:
            return False
        envelope_id = str(uuid.uuid4())
        envelope = {
            "envelope_id": envelope_id,
            "type": "interactive",
            "accepts_response_payload": False,
            "payload": payload,
        }
        done = self._waiting[envelope_id] = asyncio.Event()
        try:
            socket = self._open[next(self._turn) % len(self._open)]
            await socket.send_str(msgspec.json.encode(envelope).decode())
            await asyncio.wait_for(done.wait(), timeout_seconds)
        except (TimeoutError, ConnectionError):
            return False
        finally:
            del self._waiting[envelope_id]
        return True

    async def refresh(self) -> None:
        """As Slack does every hour or so: the app is asked to make a new connection."""
        for socket in list(self._open):
            await socket.send_str(msgspec.json.encode({"type": "disconnect", "reason": "refresh_requested"}).decode())

    async def drop(self) -> None:
        """Every connection ends."""
        for socket in list(self._open):
            await socket.close()


def press(message: InboxMessage, action_id: str, user: str) -> dict[str, Any]:
    """What Slack sends when `user` presses that button of a message. Raises `Refused` when it has none."""
    buttons = [element for block in message.blocks if block.get("type") == "actions" for element in block["elements"]]
    button = next((each for each in buttons if each.get("action_id") == action_id), None)
    if button is None:
        raise Refused("no_such_button")
    action = {name: button[name] for name in ("action_id", "text", "value") if name in button}
    return {
        "type": "block_actions",
        "user": {"id": f"U0{user.upper()}", "username": user, "name": user, "team_id": "T0"},
        "api_app_id": "A0",
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        },
        "trigger_id": secrets.token_hex(8),
        "team": {"id": "T0", "domain": "stand-in"},
        "channel": {"id": message.channel, "name": message.channel_name},
        "message": {"type": "message", "ts": message.ts, "text": message.text, "blocks": message.blocks},
        "actions": [{"type": "button", "block_id": "b", "action_ts": f"{time.time():.6f}", **action}],
    }
