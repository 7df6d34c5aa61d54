"""Server-sent events: what is sent when, how many may listen, and that a stream ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from embedwatch.clock import SystemClock
from stream_agents.web import api, stream
from stream_agents.web.stream import EVERY_SECONDS, HEARTBEAT_SECONDS, Streams
from tests.harness.agents_log import NOW, SetClock, batch_event
from tests.harness.agents_web import busy_runtime, serving

PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.01)


async def read_part(response: Any) -> dict[str, str]:
    """The next event or comment, by field."""
    text = await asyncio.wait_for(response.content.readuntil(b"\n\n"), PATIENCE_SECONDS)
    return dict(line.split(": ", 1) for line in text.decode().strip().splitlines())


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():
            await asyncio.sleep(0.01)


def test_the_summary_comes_at_once_and_again_when_it_changes_and_a_comment_when_it_does_not() -> None:
    clock = SetClock()
    runtime = busy_runtime()

    async def listen() -> None:
        async with (
            serving(runtime, clock=clock) as client,
            client.get("/events?window_seconds=60&scope=model%3Dm") as response,
            client.get("/api/v1/summary?window_seconds=60&scope=model%3Dm") as plain,
        ):
            assert (response.status, response.content_type) == (200, "text/event-stream")
            first = await read_part(response)
            assert (first["event"], first["id"]) == ("summary", "1")
            assert json.loads(first["data"]) == await plain.json()
            clock.passed_seconds += EVERY_SECONDS
            runtime.world.apply_batch(batch_event(texts=7), NOW)
            second = await read_part(response)
            assert second["id"] == "2"
            assert json.loads(second["data"])["performance"]["texts"] == 17
            clock.passed_seconds += HEARTBEAT_SECONDS
            assert await read_part(response) == {"": "nothing changed"}
            clock.passed_seconds += EVERY_SECONDS
            runtime.world.apply_batch(batch_event(texts=1), NOW)
            assert (await read_part(response))["id"] == "3"

    asyncio.run(listen())


def test_only_so_many_listen_and_one_that_leaves_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_STREAMS", 2)
    runtime = busy_runtime()

    async def listen() -> None:
        async with serving(runtime) as client:
            one, two = await client.get("/events"), await client.get("/events")
            await read_part(one)
            await read_part(two)
            async with client.get("/events") as third:
                assert third.status == 503
                assert "2 streams are open already" in (await third.json())["error"]
            one.close()
            status = 503
            for _ in range(500):
                async with client.get("/events") as again:
                    status = again.status
                if status == 200:
                    break
                await asyncio.sleep(0.02)
            assert status == 200
            two.close()

    asyncio.run(listen())


def test_streams_end_when_the_agents_stop() -> None:
    stop: list[bool] = []
    runtime = busy_runtime()

    async def listen() -> None:
        async with serving(runtime, stopping=lambda: bool(stop)) as client, client.get("/events") as response:
            await read_part(response)
            stop.append(True)
            assert await asyncio.wait_for(response.content.read(), PATIENCE_SECONDS) == b""

    asyncio.run(listen())


def test_a_wrong_parameter_is_said_before_the_stream_begins() -> None:
    runtime = busy_runtime()

    async def ask() -> int:
        async with serving(runtime) as client, client.get("/events?window_seconds=7") as response:
            return response.status

    assert asyncio.run(ask()) == 400


@pytest.mark.parametrize("stops", [False, True])
def test_a_client_that_does_not_read_is_let_go_and_holds_up_no_end(
    stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_SECONDS", 3600.0 if stops else 0.2)
    stop: list[bool] = []
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"time_seconds": 0.0, "number": len(made), "much": "x" * 1_000_000}

    async def listen() -> None:
        streams = Streams(SystemClock(), lambda: bool(stop), max_streams=5)
        app = web.Application()

        async def handle(request: web.Request) -> web.StreamResponse:
            return await streams.serve(request, "key", make)

        app.router.add_get("/events", handle)
        async with TestServer(app) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
            await until(lambda: streams.open == 1)
            if stops:
                # It is stuck in a write once no more is made.
                count = -1
                while count != len(made):
                    count = len(made)
                    await asyncio.sleep(0.3)
                stop.append(True)
            await until(lambda: streams.open == 0)
            writer.transport.abort()

    asyncio.run(listen())


def test_clients_that_ask_for_the_same_share_the_numbers() -> None:
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"time_seconds": float(len(made))}

    streams = Streams(SetClock(), lambda: False, max_streams=5)
    assert streams._numbers("a", make, 0.0) == streams._numbers("a", make, 0.5)
    assert len(made) == 1
    streams._numbers("b", make, 0.5)
    assert streams._numbers("a", make, 1.0)[1] == b'{"time_seconds":3.0}'
    streams._numbers("a", make, 60.0)
    assert set(streams._made) == {"a"}, "what nobody asks for is forgotten"
    for number in range(100):
        streams._numbers(number, make, 60.0)
    assert len(streams._made) <= 11
