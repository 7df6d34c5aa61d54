"""Level 1: a line a call, through `logging`. No text of a user is ever in it."""

from __future__ import annotations

import json
import logging
from typing import Any

from embedwatch.pricing import to_usd
from embedwatch.sdk.call import Call

ESTIMATED = "estimated"
#: What a line of JSON holds beside what a `Call` is asked for by name.
_AS_THEY_ARE = (
    "model", "texts", "misses", "cache_hits", "duplicates", "errors", "error_class", "error_type", "tokens",
    "token_method", "tokens_saved", "price_source", "provider", "tenant", "source", "response_model",
)  # fmt: skip


class LogSink:
    """`LogSink()` says "embedded 16 texts in 41.20 ms (model m, 812 tokens, $0.0000162)", at `level`; a call that
    failed is a warning. `as_json=True`: one JSON object a line, with units in the names, for programs.

    The guide's `LoggingEmbedder` says texts and milliseconds. This one also knows tokens, cost and failures, and does
    its formatting in the monitor's thread.
    """

    begins = False

    def __init__(
        self,
        logger: logging.Logger | str = "embedwatch.calls",
        *,
        level: int = logging.INFO,
        as_json: bool = False,
        name: str = "log",
    ) -> None:
        self.name = name
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = level
        self._as_json = as_json

    def begin(self) -> None:
        """Keeps nothing."""

    def record(self, call: Call) -> None:
        level = self._level if call.error_class is None else max(self._level, logging.WARNING)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", as_json(call) if self._as_json else in_words(call))

    def flush(self, timeout_seconds: float) -> bool:
        """Handlers of `logging` buffer nothing of ours."""
        return True

    def close(self, timeout_seconds: float) -> None:
        """The logger is the caller's."""


def in_words(call: Call) -> str:
    """One line for people."""
    many = f"{call.texts:,} text{'' if call.texts == 1 else 's'}"
    if call.error_class is not None:
        return f"embedding {many} failed after {call.seconds * 1000:.2f} ms: {call.error_class} ({call.error_type})"
    about = [f"model {call.model}"]
    if call.tokens is not None:
        about.append(f"{'about ' * (call.token_method == ESTIMATED)}{call.tokens:,} tokens")
    cost = None if call.cost_nano_usd is None else f"${call.cost_nano_usd / 1e9:.9f}".rstrip("0").rstrip(".")
    about.append(cost or "cost unknown")
    if call.cache_hits:
        about.append(f"{call.cache_hits:,} from the cache")
    if call.duplicates:
        about.append(f"{call.duplicates:,} copies")
    return f"embedded {many} in {call.seconds * 1000:.2f} ms ({', '.join(about)})"


def as_json(call: Call) -> str:
    """One line for programs: what is not known is null."""
    fields: dict[str, Any] = {"time_seconds": call.start_seconds, "latency_ms": round(call.seconds * 1000, 3)}
    fields |= {name: getattr(call, name) for name in _AS_THEY_ARE}
    fields["cost_usd"], fields["saved_usd"] = to_usd(call.cost_nano_usd), to_usd(call.saved_nano_usd)
    fields["phase_ms"] = {name: round(seconds * 1000, 3) for name, seconds in call.phase_seconds.items()}
    return json.dumps(fields)
