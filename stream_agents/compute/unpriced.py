"""What a batch event holds that has no price. Pure."""

from __future__ import annotations

from embedwatch.events import BatchEvent
from embedwatch.pricing import SOURCE_UNKNOWN


def unpriced_texts(event: BatchEvent) -> int:
    """Texts with a vector whose tokens have no price: all of the event or none. Hits are among them, so that what they
    are taken from is the texts that a cost is the cost of."""
    if event.unpriced_tokens or event.price_source == SOURCE_UNKNOWN:
        return event.texts - sum(event.errors.values())
    return 0


def unpriced_saved_tokens(event: BatchEvent) -> int:
    """Tokens that need not be embedded, of which it is not known what they would have cost."""
    if event.unpriced_saved_tokens is not None:
        return event.unpriced_saved_tokens
    return event.tokens_saved if event.price_source == SOURCE_UNKNOWN else 0
