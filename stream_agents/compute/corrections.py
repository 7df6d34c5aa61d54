"""What is booked on a day after the day was closed, until the topic of corrections has it. Pure.

It waits in the state of its partition, in one record with the sums and the next offset: whoever goes on from that
record says it, and a crash between booking and saying loses nothing. It is said only when the record is written, and
the record forgets it only when the topic has it. So what a crash makes somebody say again begins at the same offset as
before and holds at least as much: of the same `event_id` the one that reaches further replaces the other.
"""

from __future__ import annotations

from embedwatch.events import BatchEvent, CorrectionEvent
from stream_agents.compute.sums import Sums

#: Days and scopes of one partition that wait to be said. Above it those that are new are said under `other`, and the
#: whole of a day under `all`: two more for each day.
MAX_UNSAID = 2000


class Unsaid(Sums, kw_only=True, omit_defaults=True):
    """Late bookings of one day and scope. `from_offset`: none of them stands before it in the partition."""

    from_offset: int
    last_seconds: float = 0.0
    events: int = 0

    def book_late(self, event: BatchEvent, now: float) -> None:
        self.book(event)
        self.events += 1
        self.last_seconds = max(self.last_seconds, now)

    def said(self, event: CorrectionEvent) -> None:
        """The topic has it. What was booked meanwhile stays, and stands behind it."""
        for name in Sums.__struct_fields__:
            setattr(self, name, getattr(self, name) - getattr(event.added, name))
        self.events -= event.events
        self.from_offset = event.until_offset
