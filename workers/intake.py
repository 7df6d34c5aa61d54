"""From Kafka to the messages of the next cycle, and their offsets back.

One thread polls and commits. Between two cycles the group is always served, so that another worker that joins does
not wait for all that has been fetched here; partitions that go to it take their fetched messages with them.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from embedwatch.clock import Clock
from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import describe_error
from embedwatch.rebalances import rebalance_due, serve_group
from workers.decode import Decoder, Message

log = logging.getLogger(__name__)

#: Raw bytes of one cycle: a bound on memory when texts are huge. At least one message is always taken.
MAX_CYCLE_BYTES = 16 * 1024 * 1024

#: Troubles that pass are said no more often than this.
SAY_SECONDS = 5.0


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes which partitions were taken away, and whether any are held. kafka-python calls it from its own thread.

    `KafkaConsumer.assignment` does not tell: it shows the old partitions until the group has agreed on new ones.
    """

    def __init__(self) -> None:
        self.holding = False
        self.assigned: int | None = None
        self._lock = threading.Lock()
        self._revoked: set[Any] = set()

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        with self._lock:
            self._revoked.update(revoked)
            self.holding, self.assigned = False, None

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self.holding, self.assigned = bool(assigned), len(list(assigned))
        log.info("worker: partitions assigned: %s", _listed(assigned) or "none (more workers than partitions?)")

    def take(self) -> set[Any]:
        with self._lock:
            revoked, self._revoked = self._revoked, set()
        return revoked


class Intake:
    """`consumer` is a `KafkaConsumer` without automatic commits; `where` names the broker in errors.

    A cycle takes up to `max_texts` and `max_messages`, times what `growth` says then (1 or more).
    """

    def __init__(
        self,
        consumer: Any,
        topic: str,
        decoder: Decoder,
        *,
        max_texts: int,
        max_messages: int,
        max_wait_seconds: float,
        commit_timeout_seconds: float,
        clock: Clock,
        where: str,
        growth: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._consumer = consumer
        self._decoder = decoder
        self._least_texts = self._max_texts = max_texts
        self._least_messages = self._max_messages = max_messages
        self._growth = growth
        self._max_wait_seconds = max_wait_seconds
        self._commit_timeout_seconds = commit_timeout_seconds
        self._clock = clock
        self._where = where
        self._pending: deque[Message] = deque()
        self._pending_texts = 0
        # Until a message has been seen, it may be a chunk that fills a cycle alone: ask for one.
        self._texts_per_message = float(max_texts)
        self._said: float | None = None
        self._rebalances = _Rebalances()
        self._membership: object = None
        #: How often partitions were taken away. What was read before the last time belongs to others now.
        self.revocations = 0
        consumer.subscribe([topic], listener=self._rebalances)

    @property
    def pending_texts(self) -> int:
        """Texts fetched and not yet in a cycle."""
        return self._pending_texts

    def holds_partitions(self) -> bool:
        """False before the group has given any, and while it shares them out anew."""
        return self._rebalances.holding

    @property
    def assigned_partitions(self) -> int | None:
        """0: the group has none for this worker. None before it has said, and while it shares them out anew."""
        return self._rebalances.assigned

    def membership(self) -> object:
        """The generation of the group in which what was taken last was read. Offsets that are committed with it are
        refused once the group has moved on."""
        return self._membership

    def rebalance_due(self) -> bool:
        """The next poll gives up partitions that are held now: the moment to finish and commit what was taken."""
        return self._rebalances.holding and rebalance_due(self._consumer)

    def serve(self, seconds: float) -> None:
        """Stay a member of the group without taking any more texts."""
        try:
            serve_group(self._consumer, seconds)
        except kafka_errors.KafkaError as error:
            self._pass_over(error)
        finally:
            self._drop_revoked()  # as after a poll

    def take(self, idle_seconds: float) -> list[Message]:
        """The messages of the next cycle; empty when none came for `idle_seconds`.

        A thin poll waits for more until `max_wait_seconds` after its first message.
        """
        growth = max(1.0, self._growth())
        self._max_texts, self._max_messages = int(self._least_texts * growth), int(self._least_messages * growth)
        # Also when enough is pending: it serves the group, and adds at most the one message that a cycle takes.
        self._poll(0.0 if self._pending else idle_seconds)
        deadline = self._clock.monotonic() + self._max_wait_seconds
        while self._pending and not self._full():
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            self._poll(left)
        return self._slice() if self._is_member() else []

    def _is_member(self) -> bool:
        """Whether what is pending is ours to take. It may have been read in a membership that has ended since: the
        group's own thread hears of that at any time, and of what was lost the next poll tells."""
        # The generation first: whatever was given up before it is dropped now, and what is given up later does not fit
        # to it.
        self._membership = self._consumer.group_metadata()
        self._drop_revoked()
        return belongs(self._membership)

    def commit(self, messages: Sequence[Message]) -> bool:
        """Commit the offsets after these messages. False when the group gave the partitions to another worker.

        Raises `ConnectionFailed` when the broker does not take it in time.
        """
        offsets: dict[Any, Any] = {}
        for message in messages:
            offsets[TopicPartition(message.topic, message.partition)] = OffsetAndMetadata(message.offset + 1, "", -1)
        try:
            self._consumer.commit(offsets, timeout_ms=self._commit_timeout_seconds * 1000)
        except (
            kafka_errors.CommitFailedError,
            kafka_errors.IllegalGenerationError,
            kafka_errors.RebalanceInProgressError,
            kafka_errors.UnknownMemberIdError,
        ) as error:
            log.warning(
                "worker: offsets of %s not committed (%s): the group has given them to another worker, which does "
                "these texts again",
                _listed(offsets), describe_error(error),
            )  # fmt: skip
            return False
        except kafka_errors.KafkaError as error:
            raise ConnectionFailed(
                f"Kafka at {self._where}: offsets could not be committed: {describe_error(error)}. The vectors are "
                "out; these texts will be done again"
            ) from None
        return True

    def close(self, timeout_seconds: float) -> None:
        """Leave the group."""
        self._consumer.close(autocommit=False, timeout_ms=timeout_seconds * 1000)

    def _full(self) -> bool:
        return self._pending_texts >= self._max_texts or len(self._pending) >= self._max_messages

    def _poll(self, timeout_seconds: float) -> None:
        wanted = int((self._max_texts - self._pending_texts) / self._texts_per_message)
        room = self._max_messages - len(self._pending)
        records = self._ask(timeout_seconds, max(1, min(wanted, room)))
        fetched = [self._decoder.decode(record) for batch in records.values() for record in batch]
        if not fetched:
            return
        texts = sum(len(message.items) for message in fetched)
        self._texts_per_message = max(1.0, texts / len(fetched))
        self._pending.extend(fetched)
        self._pending_texts += texts

    def _ask(self, timeout_seconds: float, max_records: int) -> dict[Any, list[Any]]:
        try:
            records: dict[Any, list[Any]] = self._consumer.poll(
                timeout_ms=math.ceil(timeout_seconds * 1000), max_records=max_records
            )
        except kafka_errors.KafkaError as error:
            self._pass_over(error)
            return {}
        finally:
            self._drop_revoked()  # a poll that ends in an error may have given up partitions before
        return records

    def _pass_over(self, error: Exception) -> None:
        """A trouble that passes is tried again: of a broker that stays away hears who waits for acknowledgements."""
        if not getattr(error, "retriable", False):
            raise ConnectionFailed(
                f"Kafka at {self._where}: texts could not be read: {describe_error(error)}"
            ) from None
        now = self._clock.monotonic()
        if self._said is None or now - self._said >= SAY_SECONDS:  # it comes back ten times a second
            self._said = now
            log.warning("worker: poll: %s; trying again", describe_error(error))

    def _drop_revoked(self) -> None:
        revoked = self._rebalances.take()
        if revoked:
            self.revocations += 1
            log.info("worker: partitions given up: %s", _listed(revoked))
            self._pending = deque(m for m in self._pending if TopicPartition(m.topic, m.partition) not in revoked)
            self._pending_texts = sum(len(m.items) for m in self._pending)

    def _slice(self) -> list[Message]:
        """Whole messages from the head of what is pending, up to the limits; at least one."""
        taken: list[Message] = []
        texts = size = 0
        while self._pending and len(taken) < self._max_messages:
            message = self._pending[0]
            message_bytes = sum(len(item.raw) for item in message.items)
            if taken and (texts + len(message.items) > self._max_texts or size + message_bytes > MAX_CYCLE_BYTES):
                break
            taken.append(self._pending.popleft())
            texts += len(message.items)
            size += message_bytes
        self._pending_texts -= texts
        return taken


def belongs(membership: Any) -> bool:
    """Whether it is one of a group. Who has fallen out of it (or was never in) has no generation, and a broker that is
    told of none takes offsets from anybody (KIP-447 keeps that for older clients)."""
    return getattr(membership, "generation_id", 0) >= 0 and getattr(membership, "member_id", None) != ""


def _listed(partitions: Iterable[Any]) -> str:
    return ", ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(partitions))
