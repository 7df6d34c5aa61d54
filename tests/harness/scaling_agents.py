"""Stream agents that answer one thing: how many workers they want, as a test tells them."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.harness.local_server import Handler, LocalServer


class ScalingAgents(LocalServer):
    """Use it as a context manager. `desired` None is a null; `mute` hangs up on whoever asks."""

    def __init__(self, group: str, topic: str) -> None:
        self.desired: int | None = None
        self.mute = False
        self.asked = 0
        agents = self

        class Answers(Handler):
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

        super().__init__(Answers)

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
