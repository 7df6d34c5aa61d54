"""A local server that answers as Slack does, for tests and the demo. It binds the loopback interface only.

It takes what slack-sdk sends, refuses what Slack refuses, limits the rate as Slack does, and can be told to fail
(`Fault`). Its inbox is a page at `/` and JSON at `/inbox.json`. Any `xoxb-` token is accepted, except `xoxb-invalid`.
Run it as a process with `python -m embedwatch.services.slack_standin`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from embedwatch.errors import ConnectionFailed
from embedwatch.processes import stop_on_signals
from embedwatch.services.slack_http import Fault, Request, SlackHttp
from embedwatch.services.slack_socket import press
from embedwatch.services.slack_workspace import DEFAULT_CHANNELS, InboxMessage, Workspace

__all__ = ["Fault", "InboxMessage", "Request", "SlackStandIn", "main"]

HOST = "127.0.0.1"
T = TypeVar("T")


class SlackStandIn:
    """Runs in a thread of its own. Use it as a context manager, or `start` and `stop`.

    `messages_per_second` and `burst` are the limit of each channel and webhook (None: no limits).
    """

    def __init__(
        self,
        *,
        port: int = 0,
        channels: Iterable[str] = DEFAULT_CHANNELS,
        messages_per_second: float | None = 1.0,
        burst: int = 5,
        faults: Sequence[Fault] = (),
    ) -> None:
        self._http = SlackHttp(Workspace(channels, messages_per_second, burst), faults)
        self._wanted_port = port
        self._port: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._start_error: Exception | None = None

    # --- for its user's thread ---

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Until it listens. Raises `ConnectionFailed` when the port is taken."""
        ready = threading.Event()
        self._start_error = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="slack-stand-in", daemon=True
        )
        self._thread.start()
        if not ready.wait(timeout_seconds) or self._start_error is not None:
            raise ConnectionFailed(
                f"the Slack stand-in cannot listen on {HOST}:{self._wanted_port}: {self._start_error or 'no answer'}; "
                "choose another port, or 0 for a free one"
            )

    def stop(self) -> None:
        """Stop listening; open requests are cut off. Safe to call twice."""
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._thread = None

    @property
    def port(self) -> int:
        """It stays the same over `stop` and `start`."""
        if self._port is None:
            raise ConnectionFailed("the Slack stand-in was not started")
        return self._port

    @property
    def url(self) -> str:
        """The page with the inbox."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def webhook_url(self) -> str:
        """An incoming webhook into the first channel."""
        return self.url + self._http.webhook_path

    def fail_next(self, faults: Sequence[Fault]) -> None:
        """Requests to come go wrong in this order, one fault each."""
        with self._http.changed:
            self._http.faults.extend(faults)

    def clear_faults(self) -> None:
        with self._http.changed:
            self._http.faults.clear()

    def take_scopes(self, *scopes: str) -> None:
        """The token lacks them from now on."""
        with self._http.changed:
            self._http.scopes = tuple(scope for scope in self._http.scopes if scope not in scopes)

    def post_as_other(self, text: str, channel: str | None = None, **fields: Any) -> InboxMessage:
        """A message of somebody else in the channel, or in the first."""
        wanted = {"channel": channel or next(iter(self._http.workspace.channels)), "text": text, **fields}
        with self._http.changed:
            return self._http.workspace.post(wanted, via="other", now=time.time(), monotonic=time.monotonic())

    def press(self, message: InboxMessage, action_id: str, user: str = "ada", timeout_seconds: float = 5.0) -> bool:
        """Somebody presses a button of a message. Whether the app said within the time that it has it."""
        return self.deliver(press(message, action_id, user), timeout_seconds)

    def deliver(self, payload: dict[str, Any], timeout_seconds: float = 5.0) -> bool:
        """As Slack does again where it had no answer."""
        return bool(self._on_loop(self._http.sockets.deliver(payload, timeout_seconds), timeout_seconds + 5))

    def refresh_sockets(self) -> None:
        self._on_loop(self._http.sockets.refresh(), 5)

    def drop_sockets(self) -> None:
        self._on_loop(self._http.sockets.drop(), 5)

    @property
    def socket_connections(self) -> int:
        """Connections of Socket Mode there are."""
        return self._http.sockets.connections

    def _on_loop(self, work: Coroutine[Any, Any, Any], timeout_seconds: float) -> Any:
        if self._loop is None:
            work.close()
            raise ConnectionFailed("the Slack stand-in was not started")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)

    def inbox(self) -> list[InboxMessage]:
        """Messages in the order in which they came, as they stand now."""
        with self._http.changed:
            return list(self._http.workspace.messages)

    def requests(self) -> list[Request]:
        """What was asked and how it was answered, oldest first."""
        with self._http.changed:
            return list(self._http.requests)

    def wait_for(self, predicate: Callable[[list[InboxMessage]], T], timeout_seconds: float) -> T:
        """What `predicate(inbox)` returns once it is true; it is asked at each change. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout_seconds
        with self._http.changed:
            while not (found := predicate(list(self._http.workspace.messages))):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not in the Slack inbox after {timeout_seconds:g} s; {self._summary()}")
                self._http.changed.wait(left)
        return found

    def wait_for_requests(self, predicate: Callable[[list[Request]], T], timeout_seconds: float) -> T:
        """As `wait_for`, of the requests."""
        return self.wait_for(lambda _: predicate(list(self._http.requests)), timeout_seconds)

    def _summary(self) -> str:
        texts = [m.text[:100] for m in list(self._http.workspace.messages)[-5:]]
        return f"last messages: {texts}; last requests: {list(self._http.requests)[-5:]}"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._http.application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            try:
                site = web.TCPSite(runner, HOST, self._port or self._wanted_port)
                await site.start()
                self._port = int(runner.addresses[0][1])
            except (OSError, OverflowError) as error:
                self._start_error = error
                return
            finally:
                ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it as a process until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="A local server that answers as Slack does.")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once it listens")
    parser.add_argument("--channel", action="append", help=f"a channel there is; default {', '.join(DEFAULT_CHANNELS)}")
    parser.add_argument("--messages-per-second", type=float, default=1.0, help="rate limit of a channel; 0 for none")
    parser.add_argument("--burst", type=int, default=5, help="messages a channel takes at once")
    options = parser.parse_args(arguments)
    standin = SlackStandIn(
        port=options.port,
        channels=options.channel or DEFAULT_CHANNELS,
        messages_per_second=options.messages_per_second or None,
        burst=options.burst,
    )
    try:
        with stop_on_signals() as stop, standin:
            if options.port_file is not None:
                # Renamed into place: who waits for the file never reads half of it.
                part = options.port_file.with_name(options.port_file.name + ".part")
                part.write_text(f"{standin.port}\n", encoding="utf-8")
                part.replace(options.port_file)
            print(f"Slack stand-in: inbox {standin.url}, API {standin.api_url}", flush=True)
            while True:
                stop.check()
                time.sleep(0.2)
    except ConnectionFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
