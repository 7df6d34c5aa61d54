"""Gathers what a producer's endpoint answers from its parts, as far as there are any yet."""

from __future__ import annotations

from embedwatch.clock import Clock
from producers.own_metrics import View
from producers.publish import Publisher
from producers.run import Run
from producers.stopping import Stop


class Watch:
    """`run` and `publisher` are set once there are any. Used from the endpoint's threads otherwise.

    Whether it moves is seen by looking: two looks that find the same have nothing moved between them. So the sending
    loop does no work for it.
    """

    def __init__(self, clock: Clock, stop: Stop) -> None:
        self.run: Run | None = None
        self.publisher: Publisher | None = None
        self._clock = clock
        self._stop = stop
        self._seen: tuple[int, int] | None = None
        self._moved = clock.monotonic()

    def view(self) -> View:
        run, publisher, now = self.run, self.publisher, self._clock.monotonic()
        stopping = self._stop.signum is not None
        if run is None or publisher is None:
            return View(connected=False, stopping=stopping)
        counts, owed_since = run.counts, publisher.owed_since
        seen = (counts.read, run.turns)
        if seen != self._seen:
            self._seen, self._moved = seen, now
        acknowledged = publisher.acknowledged_texts  # before what was sent, or more would have arrived than was sent
        return View(
            connected=True,
            stopping=stopping,
            read=counts.read,
            skipped=counts.skipped,
            bad=counts.bad,
            too_large=counts.too_large,
            invalid_utf8=counts.invalid_utf8,
            empty=counts.empty_texts,
            sent_messages=publisher.sent_messages,
            sent_texts=publisher.sent_texts,
            acknowledged_messages=publisher.acknowledged_messages,
            acknowledged_texts=acknowledged,
            acknowledged_bytes=publisher.acknowledged_bytes,
            broker_owes_seconds=0.0 if owed_since is None else max(now - owed_since, 0.0),
            last_acknowledged=publisher.last_acknowledged,
            progress_seconds_ago=max(now - self._moved, 0.0),
        )
