"""What every stage shares: events and their codec, topics, settings, the Kafka edge, sketch, prices, tokens, the CLI.

It imports no stage. The stages (`producers`, `workers`, `stream_agents`, `alerting`) import it and meet only
through topics. Of the SDK, `Monitor` is here too: `from embedwatch import Monitor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor as Monitor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`import embedwatch` stays cheap: the SDK is loaded by who asks for it."""
    if name == "Monitor":
        from embedwatch.sdk.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
