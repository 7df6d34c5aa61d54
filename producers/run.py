"""The sending loop: source, pacing, packing, publishing; and what it counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from embedwatch.clock import Clock
from embedwatch.errors import DeliveryError, InputError
from producers.pacing import Pacer
from producers.packing import Chunk, Labels, Packer, to_message
from producers.progress import Progress
from producers.publish import Publisher
from producers.stopping import Stop
from producers.text import Bad, Item, Oversized, Tally

#: How long Ctrl-C and SIGTERM wait for what is under way.
STOP_FLUSH_SECONDS = 5.0
_SLICE_SECONDS = 0.1
MAX_LISTED = 20
#: Of a line that is not read into memory it is not known how large its text is: `--max-text-bytes` would not help.
_TOO_LARGE = {
    "text": "the text has {:,} bytes, at most {:,} can be sent; shorten it, raise --max-text-bytes (here and at the "
    "workers), or leave such texts out with --on-too-large skip",
    "line": "the line has {:,} bytes, at most {:,} are read of one, whatever --max-text-bytes says; shorten its text, "
    "take other fields out of it, or leave such lines out with --on-too-large skip",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send of the items, and how. `total_bytes` is the size of all inputs where it is known."""

    labels: Labels
    skip: int = 0
    limit: int | None = None
    on_too_large: Literal["stop", "skip"] = "stop"
    total_bytes: int | None = None


@dataclass(slots=True)
class Counts:
    """`read` is the place in the input after the last text taken: texts skipped, sent, too large and bad."""

    read: int = 0
    skipped: int = 0
    taken: int = 0
    empty_texts: int = 0
    invalid_utf8: int = 0
    too_large: int = 0
    too_large_listed: list[str] = field(default_factory=list)
    bad: int = 0
    bad_listed: list[str] = field(default_factory=list)


def counted(number: int, what: str) -> str:
    """ "1 text", "2,000 texts"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


class _TimeUp(Exception):
    """Asked to stop, and the broker did not answer in `STOP_FLUSH_SECONDS`."""


class Run:
    """One run. After `send` (also after it raised) `counts` and the publisher's counts are final."""

    def __init__(
        self, plan: Plan, packer: Packer, pacer: Pacer | None, publisher: Publisher, clock: Clock, tally: Tally,
        stop: Stop, progress: Progress, sleep: Callable[[float], Any] = time.sleep,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.counts = Counts()
        #: Goes up while the loop turns, also when nothing is read or sent.
        self.turns = 0
        self._packer = packer
        self._pacer = pacer
        self._publisher = publisher
        self._clock = clock
        self._tally = tally
        self._stop = stop
        self._progress = progress
        self._sleep = sleep
        self._stopping_since: float | None = None
        publisher.meanwhile = self._meanwhile

    def send(self, items: Iterable[Item | None]) -> None:
        """Until the items end, the limit is reached or a signal asks to stop; then waits for what is under way.

        None among the items means "nothing right now". Raises `InputError` for what cannot be sent (after everything
        before it was) and `DeliveryError`, both saying how much arrived and with which `--skip` to go on. A wish to
        stop is no error, and waits for the broker no longer than `STOP_FLUSH_SECONDS`.
        """
        trouble: InputError | None = None
        try:
            try:
                self._take(items)
            except InputError as error:
                trouble = error
            self._publish(self._packer.flush())
            self._publisher.flush()
        except DeliveryError as error:
            first = f"{str(trouble).rstrip('.')}. Then " if trouble else ""
            raise DeliveryError(f"{first}{error}. {self.how_to_go_on()}", delivered=error.delivered) from None
        except _TimeUp:
            self._publisher.collect()
        if trouble:
            raise InputError(f"{str(trouble).rstrip('.')}. {self.how_to_go_on()}")

    def how_to_go_on(self) -> str:
        """One sentence: what arrived, and how to send the rest."""
        publisher = self._publisher
        arrived, again = publisher.acknowledged_texts, publisher.acknowledged_texts - publisher.settled_texts
        if not arrived:
            return "No text arrived" + (f"; go on with --skip {publisher.settled}" if publisher.settled else "")
        twice = f"; {again:,} of them arrived out of order and will be sent again, with the same ids" if again else ""
        return f"{counted(arrived, 'text')} arrived; go on with --skip {publisher.settled}{twice}"

    def _meanwhile(self) -> None:
        """While the publisher waits for the broker."""
        self._show()
        if self._stop.signum is None:
            return
        now = self._clock.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
        elif now - self._stopping_since > STOP_FLUSH_SECONDS:
            raise _TimeUp

    def _take(self, items: Iterable[Item | None]) -> None:
        plan, counts, packer, pacer, stop = self.plan, self.counts, self._packer, self._pacer, self._stop
        monotonic = self._clock.monotonic
        if plan.limit == 0:
            return
        for item in items:
            if stop.signum is not None:
                return
            if item is None:
                self._publish(packer.due(monotonic()))
                self._publisher.check()  # a quiet source must not hide that the broker is gone
                self._show()
                continue
            counts.read += 1
            if counts.read <= plan.skip:
                counts.skipped += 1
                continue
            if isinstance(item, Oversized):
                self._too_large(item)
                continue
            if isinstance(item, Bad):
                counts.bad += 1
                if len(counts.bad_listed) < MAX_LISTED:
                    counts.bad_listed.append(f"{item.where}: {item.problem}")
                continue
            if pacer is not None and not self._pace(pacer):
                counts.read -= 1
                return
            if item.text is None:
                counts.invalid_utf8 += 1
            elif not item.text:
                counts.empty_texts += 1
            if done := packer.add(item, counts.read, monotonic()):
                self._publish(done)
            counts.taken += 1
            if counts.taken == plan.limit:
                return

    def _pace(self, pacer: Pacer) -> bool:
        """Waits for the next text's turn, sending what is due meanwhile. False when asked to stop."""
        while (wait := pacer.wait_seconds(now := self._clock.monotonic())) > 0:
            if self._stop.signum is not None:
                return False
            self._publish(self._packer.due(now))
            self._publisher.check()
            left = self._packer.due_in(now)
            self._sleep(min(wait, _SLICE_SECONDS, *([left] if left is not None and left > 0 else [])))
            self._show()
        pacer.take(now)
        return True

    def _too_large(self, item: Oversized) -> None:
        what = f"{item.where} ({item.size_bytes:,} bytes)"
        if self.plan.on_too_large == "stop":
            self.counts.read -= 1
            raise InputError(f"{item.where}: {_TOO_LARGE[item.what].format(item.size_bytes, item.limit_bytes)}")
        self.counts.too_large += 1
        if len(self.counts.too_large_listed) < MAX_LISTED:
            self.counts.too_large_listed.append(what)

    def _publish(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._publisher.send(to_message(chunk, self.plan.labels))
            self._show()

    def _show(self) -> None:
        self.turns += 1
        plan, done_pct = self.plan, None
        if plan.limit:
            done_pct = 100 * self.counts.taken / plan.limit
        elif plan.total_bytes:
            done_pct = min(100.0, 100 * self._tally.position_bytes() / plan.total_bytes)
        self._progress.update(self._publisher.sent_texts, self._publisher.acknowledged_texts, done_pct)
