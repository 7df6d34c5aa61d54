"""What a sink is told: one call of an embedding model, as its caller saw it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from embedwatch.events import ErrorClass, TokenMethod


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `None` means "not known", never zero.

    `texts = cache_hits + duplicates + misses + errors`, as in `events.BatchEvent`: the texts of a call that failed are
    `errors`. `tokens` are those that the model read, of misses alone; `tokens_saved` those of hits and copies.
    Money is integers of nano-USD; `cost_nano_usd` is None where it is not known: there is no price, or the call failed
    and may have been billed. `unsettled` says the latter, also beside the cost of what is known of the call.
    `phase_seconds` are by name, from `events.PHASES` where one fits; with none measured all of it is `embed`.
    """

    start_seconds: float  # Unix time of the start
    seconds: float  # wall time, by a monotonic clock
    model: str
    texts: int
    misses: int
    cache_hits: int = 0
    duplicates: int = 0
    errors: int = 0
    error_class: ErrorClass | None = None
    error_type: str | None = None  # the exception's class name, bounded; no message: it may hold a user's text
    tokens: int | None = None
    token_method: TokenMethod | None = None
    tokens_saved: int = 0
    cost_nano_usd: int | None = None
    saved_nano_usd: int | None = None
    price_source: str = "unknown"
    phase_seconds: dict[str, float] = field(default_factory=dict)
    provider: str | None = None  # "openai", "azure.ai.openai", ...: the names of OpenTelemetry's GenAI conventions
    tenant: str | None = None
    source: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    response_model: str | None = None
    uncached_texts: int = 0  # of the misses, those for which no cache was asked
    unsettled: bool = False  # it, or a try within it, failed and may have been billed; nobody knows what
    contexts: dict[str, Any] = field(default_factory=dict)  # by sink name: what `Sink.begin` gave


class Sink(Protocol):
    """Takes calls. `begin` runs in the caller's thread before the call and must take no more than microseconds; all
    else runs in the monitor's own thread. What a sink raises is counted and logged once, and never reaches the caller.

    A sink may have more, all optional: `begins = False` where `begin` keeps nothing (it is then not called),
    `attach(worker=..., model=...)` with the monitor's own labels when it is made, `tick()` about every `tick_seconds`
    in the monitor's thread, `after_fork()` in a forked child, where it must begin anew, `summary()`, and `dropped`, by
    reason how much it was told and could not tell on. One with a `summary` is told of calls before the others, one at a
    time, also in the thread of who asks for it: it does not wait.
    """

    name: str  # unique in a monitor

    def begin(self) -> Any:
        """What this sink wants kept from the caller's context (a trace's span), or None."""

    def record(self, call: Call) -> None:
        """One finished call."""

    def flush(self, timeout_seconds: float) -> bool:
        """Whether everything recorded so far has gone out within the time."""

    def close(self, timeout_seconds: float) -> None:
        """No call comes after this one."""
