"""The sums of batch events that a day of the ledger has, and what is said of it later. Pure."""

from __future__ import annotations

import msgspec

from embedwatch.events import CANCELLED, BatchEvent, DaySums
from stream_agents.compute.adding import adder
from stream_agents.compute.unpriced import unpriced_saved_tokens, unpriced_texts
from stream_agents.compute.wasted import wasted_nano_usd

_FOUND = ("errors", "unpriced_texts", "unpriced_saved_tokens", "cancelled_texts", "wasted_nano_usd")
#: Fields of a batch event that are added as they are; errors are a sum over classes.
BOOKED = tuple(name for name in DaySums.__struct_fields__ if name not in _FOUND)
_book = adder(BOOKED)


class Sums(msgspec.Struct):
    texts: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    misses: int = 0
    errors: int = 0
    tokens_received: int = 0
    tokens_embedded: int = 0
    tokens_saved: int = 0
    cost_nano_usd: int = 0
    saved_nano_usd: int = 0
    unpriced_tokens: int = 0
    unpriced_texts: int = 0
    unpriced_saved_tokens: int = 0
    cancelled_texts: int = 0
    unsettled_texts: int = 0
    uncounted_texts: int = 0
    uncached_texts: int = 0
    wasted_nano_usd: int = 0

    @property
    def gaps(self) -> int:
        """Above 0: the cost lacks something that is not known."""
        return self.unpriced_tokens + self.unsettled_texts

    def book(self, event: BatchEvent) -> None:
        _book(self, event)
        if event.errors:
            self.errors += sum(event.errors.values())
            self.cancelled_texts += event.errors.get(CANCELLED, 0)  # type: ignore[call-overload]
        self.unpriced_texts += unpriced_texts(event)
        self.unpriced_saved_tokens += unpriced_saved_tokens(event)
        self.wasted_nano_usd += wasted_nano_usd(event)

    def told(self) -> DaySums:
        """As an event tells them."""
        return DaySums(*(getattr(self, name) for name in DaySums.__struct_fields__))
