"""TLS in front of a server that speaks none: ends it and passes on what is inside, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType

from tests.harness.certificates import Certificate

HOST = "127.0.0.1"


class TlsFront:
    """Use it as a context manager; `port` is where TLS is spoken."""

    def __init__(self, certificate: Certificate, behind: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.certificate, certificate.key)
        self._behind = behind
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> TlsFront:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        try:
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as outside:
                outside.settimeout(None)
                with socket.create_connection((HOST, self._behind)) as inside:
                    self._open |= {outside, inside}
                    back = threading.Thread(target=_pass_on, args=(inside, outside), daemon=True)
                    back.start()
                    _pass_on(outside, inside)
                    back.join(10)
                    self._open -= {outside, inside}
        except OSError:
            plain.close()  # who does not believe the certificate goes


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
