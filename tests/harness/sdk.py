"""Stand-ins for the SDK: sinks that remember, a client that embeds nothing; and a program of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embedwatch import Monitor
from embedwatch.sdk import Call


class RecordingSink:
    """Keeps every call."""

    def __init__(self, name: str = "recording") -> None:
        self.name = name
        self.calls: list[Call] = []
        self.begun = self.closed = 0

    def begin(self) -> Any:
        self.begun += 1
        return {"begun": self.begun}

    def record(self, call: Call) -> None:
        self.calls.append(call)

    def flush(self, timeout_seconds: float) -> bool:
        return True

    def close(self, timeout_seconds: float) -> None:
        self.closed += 1


class BlockedSink(RecordingSink):
    """Waits in `record` until `go`, as a sink does whose broker is away: those after its first call come together."""

    def __init__(self, name: str = "blocked") -> None:
        super().__init__(name)
        self.held, self.go = threading.Event(), threading.Event()

    def record(self, call: Call) -> None:
        self.held.set()
        assert self.go.wait(60)
        super().record(call)


class Client:
    """Has the guide's two methods, sync, and `encode`, async."""

    model = "text-embedding-3-small"

    def __init__(self) -> None:
        self.dimensions = 3

    def embed_single(self, text: str) -> list[float]:
        return [0.0] * self.dimensions

    def embed_batch(self, texts: Any) -> list[list[float]]:
        return [self.embed_single(text) for text in texts]

    async def encode(self, texts: Any) -> list[list[float]]:
        return self.embed_batch(texts)


@contextmanager
def watched(model: str | None = "text-embedding-3-small", **options: Any) -> Iterator[tuple[Monitor, list[Call]]]:
    """A monitor and what it has recorded; call `monitor.flush()` before you look."""
    sink = RecordingSink()
    monitor = Monitor(model, [sink], **options)
    try:
        yield monitor, sink.calls
    finally:
        monitor.close()


def run_script(text: str) -> str:
    """What a Python program prints that ends well."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
