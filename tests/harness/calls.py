"""Calls of an embedding model as sinks of the SDK are told them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embedwatch.sdk.call import Call
from embedwatch.sdk.monitor import Monitor

#: Ten texts to OpenAI: two found in a cache, one a copy, seven read; 700 tokens at 20 nano-USD.
CALL = Call(
    start_seconds=1_764_158_400.25,
    seconds=0.2,
    model="text-embedding-3-small",
    texts=10,
    misses=7,
    cache_hits=2,
    duplicates=1,
    tokens=700,
    token_method="provider",
    tokens_saved=300,
    cost_nano_usd=14_000,
    saved_nano_usd=6_000,
    price_source="genai-prices 0.2.3",
    phase_seconds={"cache_lookup": 0.05, "embed": 0.15},
    provider="openai",
    tenant="acme",
    dimensions=256,
    encoding_format="base64",
    server_address="api.openai.com",
    server_port=443,
    response_model="text-embedding-3-small",
)

FAILED = replace(
    CALL, texts=4, misses=0, cache_hits=0, duplicates=0, errors=4, error_class="rate_limited",
    error_type="RateLimitError", tokens=None, token_method=None, tokens_saved=0, cost_nano_usd=None,
    saved_nano_usd=0, response_model=None,
)  # fmt: skip

#: A model that nobody sells.
UNPRICED = replace(
    CALL, model="my-own", cost_nano_usd=None, saved_nano_usd=None, price_source="unknown", provider=None, tenant=None,
    server_address=None, server_port=None, response_model=None, token_method="estimated",
)  # fmt: skip


def call(**changes: Any) -> Call:
    """`CALL` with changes."""
    return replace(CALL, **changes)


class Recorder:
    """A sink that keeps what it is told."""

    name = "recorder"
    begins = False

    def __init__(self) -> None:
        self.told: list[Call] = []

    def begin(self) -> None:
        pass

    def record(self, call: Call) -> None:
        self.told.append(call)

    def flush(self, timeout_seconds: float) -> bool:
        return True

    def close(self, timeout_seconds: float) -> None:
        pass


class Watched:
    """A monitor with a recorder, as a context manager: `calls()` are all so far, `call()` the only one."""

    def __init__(self, model: str | None = None, **arguments: Any) -> None:
        self.sink = Recorder()
        self.monitor = Monitor(model, [self.sink], **arguments)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.close(10)
        assert self.monitor.sink_errors == {}

    def calls(self) -> list[Call]:
        assert self.monitor.flush(10)
        return list(self.sink.told)

    def call(self) -> Call:
        (told,) = self.calls()
        return told
