"""A server that takes what receivers post, and answers as it is told to."""

from __future__ import annotations

import json
from typing import Any

from tests.harness.local_server import Handler, LocalServer


class HttpReceiver(LocalServer):
    """Use it as a context manager. `answers` are (status, headers) of the next answers; then 202. Status 0 hangs up.

    `body` is what each of them says. `asked` are the requests that post nothing: they are answered in the same way.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.body = b""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Answers(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self._answer()

            def do_GET(self) -> None:
                receiver.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                self._answer()

            do_OPTIONS = do_GET

            def _answer(self) -> None:
                status, headers = receiver.answers.pop(0) if receiver.answers else (202, {})
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(receiver.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.body)

        super().__init__(Answers)

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.seen]
