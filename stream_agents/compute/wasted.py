"""Money thrown away, as far as an event tells it. Pure."""

from __future__ import annotations

from embedwatch.events import BatchEvent


def wasted_nano_usd(event: BatchEvent) -> int:
    """Of the event's cost, what was paid for texts that got no vector.

    A sender that is older than the field does not tell. Where none of its texts has a vector all of the cost is wasted;
    where some have, nobody knows, and nothing is booked: the sum is of what is known, and never more than was spent.
    """
    if event.wasted_nano_usd is not None:
        return event.wasted_nano_usd
    failed = bool(event.errors) and sum(event.errors.values()) == event.texts
    return event.cost_nano_usd if failed else 0
