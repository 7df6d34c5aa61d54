"""A TCP proxy that can be slow, silent or cut off, between processes of a test and what they talk to.

with Switchboard() as board:
    port = board.link("worker", lambda: 9092)   # listens there, passes on to port 9092
    board.set("worker", "slow")
    board.set("worker", "pass")
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Literal, Self

HOST = "127.0.0.1"
#: `slow`: each piece comes later by `SLOW_SECONDS`, both ways. `silent`: connections stand, and nothing passes any
#: more, as behind a firewall that drops packets. `cut`: all connections are reset, and new ones too.
Mode = Literal["pass", "slow", "silent", "cut"]
SLOW_SECONDS = 0.25
_PIECE_BYTES = 64 * 1024


class Switchboard:
    """Runs in a thread of its own. Links of one name have one mode."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._modes: dict[str, Mode] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._open: dict[str, set[asyncio.StreamWriter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def link(self, name: str, target: int, listen: int = 0) -> int:
        """Listen on a port, a free one by default, and pass on to port `target`. Returns the port."""
        return self._wait(self._listen(name, target, listen))

    def set(self, name: str, mode: Mode) -> None:
        self._wait(self._set(name, mode))

    def _wait(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, name: str, target: int, listen: int) -> int:
        self._modes.setdefault(name, "pass")
        self._changed.setdefault(name, asyncio.Event())
        self._open.setdefault(name, set())

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._serve(name, target, reader, writer)
            finally:
                self._tasks.discard(task)

        server = await asyncio.start_server(accepted, HOST, listen)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _set(self, name: str, mode: Mode) -> None:
        self._modes[name] = mode
        old, self._changed[name] = self._changed[name], asyncio.Event()
        old.set()
        if mode == "cut":
            for writer in list(self._open[name]):
                _reset(writer)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for writers in self._open.values():
            for writer in list(writers):
                _reset(writer)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, name: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._modes[name] == "cut":
            _reset(writer)
            return
        try:
            there, onward = await asyncio.open_connection(HOST, target)
        except OSError:  # nobody listens there: nor does it here
            _reset(writer)
            return
        ends = (writer, onward)
        self._open[name].update(ends)
        try:
            passing = [asyncio.ensure_future(self._passed(name, *pair)) for pair in ((reader, onward), (there, writer))]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in passing:
                    each.cancel()
                await asyncio.gather(*passing, return_exceptions=True)
        finally:
            self._open[name].difference_update(ends)
            for end in ends:
                with contextlib.suppress(Exception):
                    end.close()

    async def _passed(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if self._modes[name] == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            while self._modes[name] == "silent":
                await self._changed[name].wait()
            writer.write(piece)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a peer that is gone does."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
