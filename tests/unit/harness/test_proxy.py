"""The proxy between processes and brokers: what it passes, holds back and cuts off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.harness.proxy import HOST, SLOW_SECONDS, Switchboard


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says back what it hears."""
    server = socket.create_server((HOST, 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client:
            try:
                while piece := client.recv(4096):
                    client.sendall(piece)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def asked(client: socket.socket, timeout_seconds: float = 5.0) -> bytes:
    client.settimeout(timeout_seconds)
    client.sendall(b"ping")
    return client.recv(4096)


def test_what_is_held_back_comes_when_the_line_is_free_again(echo: int) -> None:
    with Switchboard() as board:
        port = board.link("worker", echo)
        with socket.create_connection((HOST, port), timeout=5) as client:
            assert asked(client) == b"ping"
            board.set("worker", "silent")
            with pytest.raises(TimeoutError):
                asked(client, SLOW_SECONDS)
            board.set("worker", "pass")
            client.settimeout(5)
            assert client.recv(4096) == b"ping"


def test_a_line_that_is_cut_is_reset_and_takes_no_new_connection(echo: int) -> None:
    with Switchboard() as board:
        port, other = board.link("worker", echo), board.link("agents", echo)
        with socket.create_connection((HOST, port), timeout=5) as client:
            assert asked(client) == b"ping"
            board.set("worker", "cut")
            client.settimeout(5)
            with pytest.raises(ConnectionResetError):
                client.recv(4096)
        with pytest.raises(OSError), socket.create_connection((HOST, port), timeout=5) as client:
            assert asked(client)
        with socket.create_connection((HOST, other), timeout=5) as client:
            assert asked(client) == b"ping"
        board.set("worker", "pass")
        with socket.create_connection((HOST, port), timeout=5) as client:
            assert asked(client) == b"ping"


def test_nobody_behind_it_is_nobody_there(echo: int) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    with (
        Switchboard() as board, pytest.raises(OSError),
        socket.create_connection((HOST, board.link("x", port)), timeout=5) as client,
    ):  # fmt: skip
        assert client.recv(1)
