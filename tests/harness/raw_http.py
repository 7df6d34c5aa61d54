"""A server that answers HTTP by bytes, for answers that no decent server gives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

#: Sends as it likes; it ends when the connection is closed by the other side (an `OSError`) or `stop` is set.
Script = Callable[[socket.socket, threading.Event], None]


@dataclass
class RawServer:
    url: str
    asked: list[bytes] = field(default_factory=list)  # the heads of the requests


@contextmanager
def raw_server(script: Script, host: str = "127.0.0.1") -> Iterator[RawServer]:
    stop = threading.Event()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        found = RawServer(f"http://{f'[{host}]' if ':' in host else host}:{port}")

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    if stop.is_set():
                        return
                    head = b""
                    while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                        head += piece
                    found.asked.append(head)
                    script(connection, stop)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            stop.set()
            with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=10):
                pass  # wakes `accept`
            thread.join(10)


def says(answer: bytes) -> Script:
    return lambda connection, stop: connection.sendall(answer)


def silence(connection: socket.socket, stop: threading.Event) -> None:
    """Until the other side has had enough."""
    while connection.recv(65536):
        pass


def endless_body(status: bytes = b"500 Broken") -> Script:
    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 " + status + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        while not stop.is_set():
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    return script


def drips(beginning: bytes) -> Script:
    """One byte after the other: no single read is ever late."""

    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(beginning)
        while not stop.wait(0.01):
            connection.sendall(b"x")

    return script
