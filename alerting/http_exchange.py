"""One question over HTTP and its answer, within a time and a size, whatever the other side does.

The limits of an HTTP library are of one read each: a server that sends a byte a second is never late for it, and names
and addresses are looked up without any. So the question is asked in a thread of its own, whose connection is shut when
the time is over. Of an answer 64 KiB are read, and only where somebody wants them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from alerting.local import is_local

# They write each address on a line of their own.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

LIMIT_BYTES = 64 * 1024
#: A thread whose connection was shut ends within moments; one that looks up a name, when the system gives up.
_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is what was said, as it came, or empty where nobody wanted it; not `whole`: it is the beginning of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """`wants_body` says by the status whether the answer is read."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    wants_body: Callable[[int], bool] = lambda status: False
    limit_bytes: int = LIMIT_BYTES


class TooLate(Exception):
    """No answer in time. `sent`: the other side may have got the question."""

    def __init__(self, sent: bool) -> None:
        super().__init__("no answer in time")
        self.sent = sent


class ProxyUnusable(Exception):
    """What the environment says of proxies cannot be used."""


class _GivenUp(Exception):
    """Ends the thread before it sends what nobody waits for any more."""


class Exchange:
    """One attempt. `ask` gives back the answer or raises what went wrong: an error of httpx, or one of the above."""

    def __init__(self, question: Question, *, verify: Any, transport: httpx.BaseTransport | None = None) -> None:
        self._question, self._verify, self._transport = question, verify, transport
        self._lock = threading.Lock()
        self._timeout_seconds = 0.0
        self._stream: Any = None
        self._given_up = self._sent = False
        self._answer: Answer | None = None
        self._error: Exception = TooLate(sent=False)
        self._thread = threading.Thread(target=self._run, name="alerting-http", daemon=True)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def ask(self, timeout_seconds: float) -> Answer:
        self._timeout_seconds = timeout_seconds
        self._thread.start()
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            self._give_up()
            self._thread.join(_END_SECONDS)
            if self._answer is None:
                raise TooLate(self._sent)
        if self._answer is not None:  # its status came in time, the rest of it perhaps not
            return self._answer
        raise self._error

    def _run(self) -> None:
        try:
            self._answer = self._exchange()
        except Exception as error:
            self._error = error

    def _exchange(self) -> Answer:
        question = self._question
        with (
            self._client() as client,
            client.stream(
                question.method,
                question.url,
                content=question.body,
                headers={**question.headers, "accept-encoding": "identity"},  # a small answer may unpack to a huge one
                extensions={"trace": self._trace},
            ) as response,
        ):
            kept, whole = bytearray(), True
            if question.wants_body(response.status_code):
                whole = False
                with contextlib.suppress(httpx.HTTPError, httpx.StreamError, OSError):
                    for piece in response.iter_raw():
                        kept += piece[: question.limit_bytes - len(kept)]
                        if len(kept) >= question.limit_bytes:
                            break
                    else:
                        whole = True
            with self._lock:
                whole = whole and not self._given_up  # a connection that we shut looks like an answer's end
            return Answer(response.status_code, response.headers, bytes(kept), whole)

    def _client(self) -> httpx.Client:
        """A connection for each question: they are minutes apart, and one that was kept open meanwhile may be dead,
        which would leave us in doubt. Redirects would show the question, and its secrets, to somebody else.
        """
        try:
            return httpx.Client(
                timeout=self._timeout_seconds,  # of each step: so a thread that is left behind ends
                follow_redirects=False,
                verify=self._verify,
                transport=self._transport,
                trust_env=not is_local(self._question.url),
            )
        except (ValueError, ImportError, httpx.InvalidURL):
            raise ProxyUnusable from None

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore as the request goes on: https://www.encode.io/httpcore/extensions/#trace."""
        with self._lock:
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                self._stream = info["return_value"]
            elif event.endswith((".start_tls.started", ".send_request_headers.started")):
                if self._given_up:
                    self._stream.close()
                    raise _GivenUp
                self._sent = self._sent or "headers" in event

    def _give_up(self) -> None:
        with self._lock:
            self._given_up = True
            connection = None if self._stream is None else self._stream.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                # Of the socket below TLS: the other thread reads from the layer above.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
