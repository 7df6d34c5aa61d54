"""Stream agents that answer one thing: how many workers they want, as a test tells them."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ScalingAgents:
    """Use it as a context manager. `desired` None is a null; `mute` hangs up on whoever asks."""

    def __init__(self, group: str, topic: str) -> None:
        self.desired: int | None = None
        self.mute = False
        self.asked = 0
        agents = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agents.asked += 1
                if agents.mute:
                    return
                known = self.path == "/api/v1/scaling"
                body = json.dumps(agents.answer(group, topic) if known else {"error": "no such path"}).encode()
                self.send_response(200 if known else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, group: str, topic: str) -> dict[str, Any]:
        return {
            "time_seconds": time.time(),
            "group": group,
            "topic": topic,
            "status": "OK",
            "desired_workers": self.desired,
            "desired_workers_reason": "the test wants it" if self.desired is not None else "the test says nothing",
            "cause": "backlog",
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ScalingAgents:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
