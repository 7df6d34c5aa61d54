"""What is booked on a day after the day was closed, until the topic of corrections has it. Pure.

It waits in the state of its partition, in one record with the sums and the next offset: whoever goes on from that
record says it, and a crash between booking and saying loses nothing. It is said only when the record is written, and
the record forgets it only when the topic has it. So what a crash makes somebody say again begins at the same offset as
before and holds at least as much: of the same `event_id` the one that reaches further replaces the other.
"""

from __future__ import annotations

import msgspec

from embedwatch.events import BatchEvent, CorrectionEvent, DaySums
from stream_agents.compute.adding import adder

#: Days and scopes of one partition that wait to be said. Above it those that are new are said under `other`.
MAX_UNSAID = 5000
_SUMS = DaySums.__struct_fields__
_book = adder([name for name in _SUMS if name != "errors"])


class Unsaid(msgspec.Struct, omit_defaults=True):
    """Late bookings of one day and scope. `from_offset`: none of them stands before it in the partition."""

    from_offset: int
    last_seconds: float = 0.0
    events: int = 0
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

    def book(self, event: BatchEvent, now: float) -> None:
        _book(self, event)
        self.errors += sum(event.errors.values())
        self.events += 1
        self.last_seconds = max(self.last_seconds, now)

    def said(self, event: CorrectionEvent) -> None:
        """The topic has it. What was booked meanwhile stays, and stands behind it."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) - getattr(event.added, name))
        self.events -= event.events
        self.from_offset = event.until_offset


def sums_of(totals: object) -> DaySums:
    """The sums that a correction tells, of anything that has them."""
    return DaySums(*(getattr(totals, name) for name in _SUMS))
