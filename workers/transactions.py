"""Exactly once: the vectors, dead letters, events and offsets of a cycle become visible together, or not at all.

One transactional id a worker, made of its group and its name. A worker that starts again under its name ends what its
predecessor left open at once; what a nameless one left open, the broker ends after the transaction's timeout. The
offsets carry the member's generation (KIP-447), so that a worker whose partitions went to another cannot commit them
any more, however late it wakes up.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from embedwatch import kafka
from embedwatch.errors import ConfigError, ConnectionFailed, DeliveryError
from embedwatch.kafka import describe_error
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TopicSpec
from workers.intake import belongs
from workers.publisher import KafkaPublisher

log = logging.getLogger(__name__)

#: The group has moved on: another worker does these texts.
_LOST = (kafka_errors.CommitFailedError, kafka_errors.FencedInstanceIdError)
#: A newer producer of the same transactional id.
_FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
_PROBE_SECONDS = 15.0


class Fenced(DeliveryError):
    """Another worker of the same name has come: trying again would only throw it out in turn."""


class TransactionalPublisher(KafkaPublisher):
    """`producer` is a `KafkaProducer` with a transactional id. One thread uses it."""

    def __init__(
        self, producer: Any, *, where: str, timeout_seconds: float, transaction_seconds: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Ends what a predecessor of the same id left open. `transaction_seconds`: after that the broker ends one that
        is open. Raises `ConnectionFailed`."""
        super().__init__(producer, where=where, timeout_seconds=timeout_seconds)
        self._transaction_seconds = transaction_seconds
        self._monotonic = monotonic
        self._open = False
        self._since = 0.0
        try:
            producer.init_transactions()
        except kafka_errors.KafkaError as error:
            raise ConnectionFailed(f"Kafka at {where}: no transactions: {describe_error(error)}") from None

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        if not self._open:
            try:
                self._begin()
            except kafka_errors.KafkaError as error:
                raise self._failed("a transaction", error) from None
        super().send(topic, key=key, value=value, headers=headers)

    def finish(self, offsets: Mapping[tuple[str, int], int], membership: Any) -> bool:
        """Commit everything sent since the last call together with the offsets.

        False when the group has given the partitions to another worker: then nothing of it is visible, and nothing is
        lost. Raises `DeliveryError` when the broker did not answer in time. Whether it took the transaction is then
        unknown, and the committed offsets tell the next start.
        """
        ends = {TopicPartition(*log): OffsetAndMetadata(offset, "", -1) for log, offset in offsets.items()}
        try:
            if not self._open:  # a cycle without texts still moves on
                self._begin()
            self.flush()
            if ends and not belongs(membership):
                raise kafka_errors.CommitFailedError("read in a membership of the group that has ended")
            # kafka-python 3.0.12 keeps the offsets of a transaction that was given up, and commits them with the next:
            # of partitions that are another worker's by now, which then does texts twice, or never.
            self._manager._pending_txn_offset_commits.clear()
            self._wait(self._manager.send_offsets_to_transaction(ends, membership))
            self._wait(self._manager.begin_commit())
        except _LOST as error:
            log.warning(
                "worker: a transaction of %d partitions was given up (%s): the group has given them to another worker, "
                "which does these texts again", len(ends), describe_error(error),
            )  # fmt: skip
            try:
                self._abort()
            except kafka_errors.KafkaError as abort_error:
                raise self._failed("the end of a transaction", abort_error) from None
            return False
        except kafka_errors.KafkaError as error:
            raise self._failed("a transaction", error) from None
        self._open = False
        return True

    def close(self, timeout_seconds: float) -> None:
        """Give up what is open: its texts are done again."""
        if self._open:
            with contextlib.suppress(kafka_errors.KafkaError):
                self._abort(timeout_seconds)
        super().close(timeout_seconds)

    def _begin(self) -> None:
        self._producer.begin_transaction()
        self._open, self._since = True, self._monotonic()

    def _failed(self, what: str, error: BaseException) -> DeliveryError:
        if isinstance(error, _FENCED):
            open_seconds = self._monotonic() - self._since if self._open else 0.0
            if open_seconds >= self._transaction_seconds:
                # The broker ends it as another worker of the name would. If there is one, it shows again soon.
                return DeliveryError(
                    f"Kafka at {self._where}: a transaction was open for {open_seconds:.0f} s, and the broker ended it "
                    f"after {self._transaction_seconds:g} (worker.transaction_timeout_seconds). Nothing of this poll "
                    "was committed: its texts are done again",
                    delivered=self._delivered,
                )
            return Fenced(
                f"Kafka at {self._where}: another worker has taken this one's place: two run under one name. Give each "
                "its own --name. Nothing of this poll was committed here",
                delivered=self._delivered,
            )
        return super()._failed(what, error)

    @property
    def _manager(self) -> Any:
        # Its own methods wait without a limit.
        return self._producer._transaction_manager

    def _wait(self, result: Any, timeout_seconds: float | None = None) -> None:
        self._producer._sender.wakeup()
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        if not result.wait(timeout_ms=seconds * 1000):
            raise kafka_errors.KafkaTimeoutError(f"no answer within {seconds:g} s")

    def _abort(self, timeout_seconds: float | None = None) -> None:
        self._wait(self._manager.begin_abort(), timeout_seconds)
        self._futures.clear()
        self._open = False


def refuse_without_isolation(settings: KafkaSettings) -> None:
    """Try an aborted transaction on a topic of its own. Raises `ConfigError` when a reader is shown its record.

    A broker may speak the protocol of transactions and not keep its promise; the embedded one is such.
    """
    topic = f"{settings.topic_prefix}.probe-{uuid.uuid4().hex[:12]}"
    kafka.create_topics(settings, [TopicSpec(topic, "", "", "workers", "delete", 3600, partitions=1)])
    try:
        if not _isolates(settings, topic):
            raise ConfigError(
                f"--delivery exactly_once: the broker at {settings.bootstrap_servers} shows records of aborted "
                "transactions, so nothing is exactly once there. Use Apache Kafka, or --delivery at_least_once"
            )
    except kafka_errors.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.bootstrap_servers}: transactions cannot be tried: {describe_error(error)}"
        ) from None
    finally:
        try:
            admin = kafka.admin_client(settings)
            try:
                admin.delete_topics([topic])
            finally:
                admin.close()
        except (kafka_errors.KafkaError, ConnectionFailed, OSError) as error:
            # One more stays at each start, so whoever can delete them has to know.
            why = error if isinstance(error, ConnectionFailed) else describe_error(error)
            log.warning(
                "worker: topic %s, on which transactions were tried, stays: it could not be deleted: %s. Delete it, "
                "and allow DELETE on topics that begin %s.probe-",
                topic, why, settings.topic_prefix,
            )  # fmt: skip


def _isolates(settings: KafkaSettings, topic: str) -> bool:
    """An aborted record and then a committed one: a reader must see the second alone."""
    client = kafka.producer(settings, "embedwatch-probe", transactional_id=topic, transaction_timeout_ms=10_000)
    try:
        client.init_transactions()
        for value in (b"aborted", b"committed"):
            client.begin_transaction()
            client.send(topic, value, partition=0).get(_PROBE_SECONDS)
            client.abort_transaction() if value == b"aborted" else client.commit_transaction()
    finally:
        kafka.close_producer(client, 5.0)
    reader = kafka.consumer(settings, "embedwatch-probe", group=None)
    try:
        reader.assign([TopicPartition(topic, 0)])
        reader.seek_to_beginning()
        for records in reader.poll(_PROBE_SECONDS * 1000).values():
            return bool(records[0].value == b"committed")
        raise kafka_errors.KafkaTimeoutError("a committed record did not come back")
    finally:
        reader.close()
