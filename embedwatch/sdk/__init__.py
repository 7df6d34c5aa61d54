"""The SDK: wrap an embedding client in one line, and see what it costs and how slow it is. Needs no Kafka.

    from embedwatch import Monitor

    monitor = Monitor("text-embedding-3-small")
    client = monitor.wrap(client)

What it holds is imported when it is asked for, so that nobody pays for a sink they do not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedwatch.sdk.call import Call as Call
    from embedwatch.sdk.call import Sink as Sink
    from embedwatch.sdk.context import CallContext as CallContext
    from embedwatch.sdk.log import LogSink as LogSink
    from embedwatch.sdk.memory import EmbeddingMetrics as EmbeddingMetrics
    from embedwatch.sdk.memory import MemorySink as MemorySink
    from embedwatch.sdk.monitor import Monitor as Monitor

#: Where each name is.
NAMES = {
    "Call": "call",
    "CallContext": "context",
    "EmbeddingMetrics": "memory",
    "LogSink": "log",
    "MemorySink": "memory",
    "Monitor": "monitor",
    "Sink": "call",
}


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})
