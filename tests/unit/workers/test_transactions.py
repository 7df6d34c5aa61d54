"""The end of a transaction when the group has moved on and the broker does not even take the abort."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from kafka import errors as kafka_errors

from embedwatch.errors import ConnectionFailed, DeliveryError
from embedwatch.settings import KafkaSettings
from workers import transactions
from workers.transactions import Fenced, TransactionalPublisher, refuse_without_isolation


class Result:
    def __init__(self, error: Exception | None = None, answered: bool = True) -> None:
        self.error, self.answered = error, answered

    def wait(self, timeout_ms: float) -> bool:
        assert timeout_ms > 0, "without a limit it would wait for ever"
        if self.error is not None:
            raise self.error
        return self.answered


class Future:
    def succeeded(self) -> bool:
        return True


class Refused:
    def __init__(self, exception: Exception) -> None:
        self.exception = exception

    def succeeded(self) -> bool:
        return False


class Broker:
    """A producer, its transaction manager and its sender in one; `abort` is what it answers to an abort."""

    def __init__(self) -> None:
        self.offsets, self.commit, self.abort = Result(), Result(), Result()
        self.begun = self.aborts = self.closed = 0
        self._transaction_manager = self._sender = self
        self._closed = False
        #: As kafka-python does it: offsets that were refused stay, and are sent with those of the next transaction.
        self._pending_txn_offset_commits: dict[Any, Any] = {}
        self.sent: list[set[int]] = []

    def init_transactions(self) -> None: ...
    def wakeup(self) -> None: ...
    def flush(self, timeout: float) -> None: ...

    def begin_transaction(self) -> None:
        self.begun += 1

    def send(self, topic: str, **_: Any) -> Future:
        return Future()

    def send_offsets_to_transaction(self, offsets: Any, membership: Any) -> Result:
        self._pending_txn_offset_commits |= offsets
        self.sent.append({log.partition for log in self._pending_txn_offset_commits})
        return self.offsets

    def begin_commit(self) -> Result:
        return self.commit

    def begin_abort(self) -> Result:
        self.aborts += 1
        return self.abort

    def close(self, timeout: float) -> None:
        self.closed += 1


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sink(broker: Broker) -> TransactionalPublisher:
    made = TransactionalPublisher(broker, where="broker:9092", timeout_seconds=1.0)
    made.send("vectors", key=None, value=b"v", headers=[])
    return made


def test_partitions_that_went_away_are_given_up_and_the_next_cycle_begins_a_transaction_of_its_own(
    broker: Broker, sink: TransactionalPublisher
) -> None:
    broker.offsets = Result(kafka_errors.CommitFailedError())
    assert not sink.finish({("texts", 0): 1}, None)
    assert broker.aborts == 1
    broker.offsets = Result()
    sink.send("vectors", key=None, value=b"next", headers=[])
    assert sink.finish({("texts", 1): 2}, None)
    assert broker.begun == 2
    assert broker.sent == [{0}, {1}]


@pytest.mark.parametrize("abort", [Result(answered=False), Result(kafka_errors.BrokerNotAvailableError())])
def test_an_abort_that_fails_stops_the_worker_in_words_rather_than_go_on_in_a_transaction_that_is_open(
    broker: Broker, sink: TransactionalPublisher, abort: Result
) -> None:
    broker.offsets, broker.abort = Result(kafka_errors.CommitFailedError()), abort
    with pytest.raises(DeliveryError, match="the end of a transaction") as stopped:
        sink.finish({("texts", 0): 1}, None)
    assert "\n" not in str(stopped.value)
    # Closing tries once more, whatever comes of it: what stays open the broker ends by itself.
    sink.close(1.0)
    assert (broker.aborts, broker.closed) == (2, 1)


def test_the_older_of_two_workers_of_one_name_is_told_so_wherever_it_shows(broker: Broker) -> None:
    for place in ("flush", "offsets"):
        sink = TransactionalPublisher(broker, where="broker:9092", timeout_seconds=1.0)
        sink.send("vectors", key=None, value=b"v", headers=[])
        fenced = kafka_errors.ProducerFencedError()
        if place == "flush":
            sink._futures = [Refused(fenced)]
        else:
            broker.offsets = Result(fenced)
        with pytest.raises(DeliveryError, match="two run under one name"):
            sink.finish({("texts", 0): 1}, None)


def test_who_stood_still_until_the_broker_ended_its_transaction_is_no_second_worker(broker: Broker, clock: Any) -> None:
    sink = TransactionalPublisher(
        broker, where="broker:9092", timeout_seconds=1.0, transaction_seconds=15.0, monotonic=clock.monotonic
    )
    for stood_seconds, twin in ((15.0, False), (14.0, True)):
        sink.send("vectors", key=None, value=b"v", headers=[])
        clock.pass_by(stood_seconds)
        broker.offsets = Result(kafka_errors.InvalidProducerEpochError())
        with pytest.raises(DeliveryError) as stopped:
            sink.finish({("texts", 0): 1}, None)
        assert isinstance(stopped.value, Fenced) == twin
        if not twin:
            assert "open for 15 s, and the broker ended it after 15" in str(stopped.value)
        sink._open = False


def test_a_commit_without_an_answer_is_no_success(broker: Broker, sink: TransactionalPublisher) -> None:
    broker.commit = Result(answered=False)
    with pytest.raises(DeliveryError, match="a transaction"):
        sink.finish({("texts", 0): 1}, None)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (None, None),
        (kafka_errors.TopicAuthorizationFailedError(), "not allowed to use this topic"),
        (ConnectionFailed("no broker at x:9092"), "no broker at x:9092"),
    ],
)
def test_a_topic_of_the_trial_that_cannot_be_deleted_is_named_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception | None, words: str | None
) -> None:
    made: list[str] = []

    class Admin:
        def delete_topics(self, topics: list[str]) -> None:
            assert topics == made
            if trouble is not None:
                raise trouble

        def close(self) -> None: ...

    monkeypatch.setattr(transactions.kafka, "create_topics", lambda _, specs: made.extend(s.name for s in specs))
    monkeypatch.setattr(transactions.kafka, "admin_client", lambda _: Admin())
    monkeypatch.setattr(transactions, "_isolates", lambda *_: True)
    with caplog.at_level(logging.WARNING):
        refuse_without_isolation(KafkaSettings(topic_prefix="t"))
    if words is None:
        assert not caplog.records
        return
    (record,) = caplog.records
    told = record.getMessage()
    assert made[0].startswith("t.probe-")
    assert all(part in told for part in (made[0], words, "allow DELETE on topics that begin t.probe-"))
    assert "\n" not in told
