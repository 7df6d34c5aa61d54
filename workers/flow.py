"""Messages into the line of steps and their offsets back, in the thread that owns the consumer.

Cycles overlap, but their offsets are committed in order and only after they were delivered. When the group is about to
share out its partitions anew, what is inside is finished and committed first, so that nobody does it twice.

A member that joins anew may be told that nothing has changed: the same generation, the same partitions. What was inside
then can still be committed, after the consumer has read its messages once more. So nothing is begun until it is known
what became of it, and what was done is not done again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from embedwatch.clock import Clock
from workers.decode import Message
from workers.line import Line
from workers.own_metrics import Counts
from workers.work import Work

log = logging.getLogger(__name__)

#: Cycles inside at once: one in each of the three steps, and one that waits so that the model never does.
CYCLES_AT_ONCE = 4
POLL_SECONDS = 0.25
#: While cycles are inside, their offsets should not wait long for a poll to end.
BUSY_POLL_SECONDS = 0.05
#: A rebalance waits so long for an answer at a time; without one nothing is waited for.
SERVE_SECONDS = 0.05
#: How long the other members of the group are kept waiting for what is inside here.
HAND_OVER_SECONDS = 10.0


class Source(Protocol):
    """What is used of `Intake`."""

    revocations: int

    def take(self, idle_seconds: float) -> list[Message]: ...

    def serve(self, seconds: float) -> None: ...

    def rebalance_due(self) -> bool: ...

    def commit(self, messages: Sequence[Message]) -> bool: ...

    def membership(self) -> object: ...


class Flow:
    """`begin` makes a cycle of messages; `finished` is told of each that was delivered and committed.

    `commits=False`: the line itself commits the offsets, with what it delivers. While something is inside, nothing is
    taken until `ready`.
    """

    def __init__(
        self,
        source: Source,
        line: Line[Work],
        *,
        begin: Callable[[Sequence[Message], object], Work],
        finished: Callable[[Work], None],
        clock: Clock,
        commits: bool = True,
        ready: Callable[[], bool] = lambda: True,
        counts: Counts | None = None,
    ) -> None:
        self._source = source
        self._line = line
        self._begin = begin
        self._finished = finished
        self._clock = clock
        self._commits = commits
        self._ready = ready
        self._counts = counts or Counts()
        self._inside: deque[Work] = deque()
        self._revocations = source.revocations
        #: Partitions were taken away while cycles were inside that commit by themselves, and these are inside still.
        self._settling = False
        #: Taken since then, and the membership it was read in.
        self._held: tuple[list[Message], object] | None = None
        #: By (topic, partition): where those cycles ended that were committed all the same.
        self._done: dict[tuple[str, int], int] = {}
        #: Texts of all messages taken so far, those given up again included.
        self.taken_texts = 0
        #: When there last was something to do.
        self.last_busy = clock.monotonic()

    @property
    def inside_texts(self) -> int:
        """Texts taken and not committed yet."""
        return sum(len(work) for work in self._inside)

    def step(self) -> bool:
        """Commit what came out, and take in what there is room for. False when there was nothing to take."""
        self.commit_what_is_done()
        if self._inside and self._source.rebalance_due():
            self._hand_over()
        if self._line.full or self._settling or (self._inside and not self._ready()):
            self.last_busy = self._clock.monotonic()
            self._source.serve(SERVE_SECONDS)
            self._give_up_what_was_revoked()
            self.commit_what_is_done(BUSY_POLL_SECONDS)
            return True
        messages, membership = self._take()
        if messages:
            work = self._begin(messages, membership)
            self._inside.append(work)
            self._line.put(work)
            self.taken_texts += len(work)
            self._counts.taken_messages += len(messages)
            self._counts.taken_texts += len(work)
        if self._inside:
            self.last_busy = self._clock.monotonic()
        return bool(messages)

    def commit_what_is_done(self, wait_seconds: float = 0.0) -> None:
        """Raises what a step of the line raised, after everything before it was committed."""
        done = self._line.finished(wait_seconds)
        if not done:
            return
        for _ in done:
            self._inside.popleft()
        self.last_busy = self._clock.monotonic()
        kept = [work for work in done if (not work.cancelled if self._commits else work.delivered)]
        if self._settling:
            for work in kept:
                self._done |= work.offsets()
            self._settling = bool(self._inside)
        if kept and self._commits:
            taken = self._source.commit([message for work in kept for message in work.messages])
            self._counts.commits += taken
            self._counts.refused_commits += not taken
        elif kept:
            self._counts.commits += len(kept)
        for work in kept:
            self._finished(work)

    def drain(self, out_of_time: Callable[[], bool]) -> bool:
        """Finish and commit what is inside; False when the time was over before."""
        while self._inside:
            late = out_of_time()
            self.commit_what_is_done(0.0 if late else BUSY_POLL_SECONDS)
            if late:
                return not self._inside
        return True

    def _take(self) -> tuple[list[Message], object]:
        if self._held is not None:
            (messages, membership), self._held = self._held, None
        else:
            messages = self._source.take(BUSY_POLL_SECONDS if self._inside else POLL_SECONDS)
            self._give_up_what_was_revoked()
            membership = self._source.membership()
            if self._settling:
                self._held = messages, membership
                return [], membership
        if self._done:
            known = len(messages)
            messages = [each for each in messages if each.offset >= self._done.get((each.topic, each.partition), 0)]
            if known > len(messages):
                log.info(
                    "worker: %d messages came once more that were committed while the group shared out its "
                    "partitions; they are not done again", known - len(messages),
                )  # fmt: skip
        return messages, membership

    def _hand_over(self) -> None:
        deadline = self._clock.monotonic() + HAND_OVER_SECONDS
        if not self.drain(lambda: self._clock.monotonic() >= deadline):
            log.warning(
                "worker: %d texts in flight were not done when the group shared out its partitions anew; they will be "
                "done again", self.inside_texts,
            )  # fmt: skip

    def _give_up_what_was_revoked(self) -> None:
        """All partitions are taken away at a rebalance, and what comes after it starts from the committed offsets."""
        if self._source.revocations == self._revocations:
            return
        self._revocations = self._source.revocations
        self._held = None
        self._done.clear()  # what was committed before is what the consumer starts from now
        self._settling = bool(self._inside) and not self._commits
        for work in self._inside:
            work.cancelled = True
