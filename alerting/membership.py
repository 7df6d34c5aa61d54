"""Whether we are a member of the consumer group still, so that our partitions are ours.

A commit is the one request that the group refuses to whom it has sent away, by member id and generation, on Apache
Kafka and on the embedded broker. So what was committed is committed once more where nothing else is to be committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from alerting.terms import Patience, Term
from embedwatch.clock import Clock

KAFKA_TIMEOUT_MS = 5000


class NoMember(Exception):
    """The group has sent us away: what we had may be another's by now. The next poll joins again."""


class Membership:
    """One thread, that of the consumer. `term` is of the last answer; None: what we have is not proven to be ours."""

    def __init__(self, clock: Clock, session_seconds: float) -> None:
        self.patience = Patience(session_seconds)
        self.term: Term | None = None
        self._clock = clock
        self._seen = self._moment()
        self._offsets: dict[Any, int] = {}

    def stood_still_seconds(self) -> float | None:
        """Since the last look, where the group may have lost its patience meanwhile; else None."""
        before, self._seen = self._seen, self._moment()
        gap = before.age_seconds(self._seen.now, self._seen.monotonic)
        return gap if gap > self.patience.session_seconds else None

    def leave(self) -> None:
        """Until `take` nothing is ours."""
        self.term, self._offsets, self._seen = None, {}, self._moment()

    def take(self, client: Any, partitions: Iterable[Any]) -> None:
        """Read on where these were committed. Raises `NoMember`, and `KafkaError` or `ValueError` as kafka-python does.

        To be called when all is read that whoever had them before has written: then what was read is the newest.
        """
        offsets = {}
        for tp in partitions:
            committed = client.committed(tp, timeout_ms=KAFKA_TIMEOUT_MS)
            if committed is None:
                client.seek_to_beginning(tp)
            else:
                client.seek(tp, committed)
            offsets[tp] = committed or 0
        self._offsets = offsets
        self._ask(client, offsets)
        self._seen = self._moment()  # the group was there all the time, however long that took

    def prove(self, client: Any) -> None:
        """Ask the group, unless it answered a moment ago. Raises `NoMember`, and `KafkaError` where it cannot say."""
        now = self._moment()
        if self.term is None or self.term.age_seconds(now.now, now.monotonic) > self.patience.ask_after_seconds:
            self._ask(client, self._offsets)

    def commit(self, client: Any) -> None:
        """What was read so far. Raises as `prove` does."""
        read = {tp: client.position(tp, timeout_ms=KAFKA_TIMEOUT_MS) for tp in self._offsets}
        offsets = {tp: self._offsets[tp] if offset is None else offset for tp, offset in read.items()}
        self._ask(client, offsets)
        self._offsets = offsets

    def _ask(self, client: Any, offsets: dict[Any, int]) -> None:
        # Before the question: the group's patience begins when it hears us, which is later.
        asked = self._moment()
        wanted = {tp: OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}
        try:
            client.commit(wanted, timeout_ms=KAFKA_TIMEOUT_MS)
        except (kafka_errors.CommitFailedError, kafka_errors.RebalanceInProgressError):
            self.leave()
            raise NoMember from None
        self.term = asked

    def _moment(self) -> Term:
        return Term(self._clock.now(), self._clock.monotonic())
