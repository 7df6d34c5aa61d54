from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors

from embedwatch.errors import ConnectionFailed
from workers.decode import Decoder
from workers.intake import MAX_CYCLE_BYTES, Intake

TP0, TP1 = TopicPartition("embedwatch.texts", 0), TopicPartition("embedwatch.texts", 1)


class FakeConsumer:
    """A consumer whose records wait in a list. `before_poll` runs inside a poll, as a rebalance does."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.waiting: list[Any] = []
        self.polls: list[tuple[int, int]] = []
        self.committed: list[dict[Any, int]] = []
        self.commit_error: Exception | None = None
        self.poll_error: Exception | None = None
        self.before_poll: Any = lambda: None
        self.listener: Any = None
        self._coordinator = SimpleNamespace(need_rejoin=lambda: self.rejoins, poll=self.serve)
        self.rejoins = False
        self.served: list[float] = []
        self.generation = 1

    def group_metadata(self) -> Any:
        return SimpleNamespace(generation_id=self.generation, member_id="m" if self.generation >= 0 else "")

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def assignment(self) -> set[Any]:
        return {TP0, TP1}

    def serve(self, timeout_ms: float) -> bool:
        self.served.append(timeout_ms)
        if self.poll_error is not None:
            raise self.poll_error
        self.before_poll()
        return True

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        self.polls.append((timeout_ms, max_records))
        if self.poll_error is not None:
            raise self.poll_error
        self.before_poll()
        taken, self.waiting = self.waiting[:max_records], self.waiting[max_records:]
        if not taken:
            self.clock.pass_by(timeout_ms / 1000)
        out: dict[Any, list[Any]] = {}
        for record in taken:
            out.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return out

    def commit(self, offsets: dict[Any, Any], timeout_ms: float) -> None:
        if self.commit_error is not None:
            raise self.commit_error
        self.committed.append({tp: entry.offset for tp, entry in offsets.items()})


class Setup:
    def __init__(self, rig: Any, **limits: Any) -> None:
        self.rig = rig
        self.consumer = FakeConsumer(rig.clock)
        options: dict[str, Any] = {"max_texts": 10, "max_messages": 5, "max_wait_seconds": 0.05, **limits}
        self.intake = Intake(
            self.consumer, "embedwatch.texts", Decoder({"moody"}, 10**8, rig.clock.monotonic),
            commit_timeout_seconds=5.0, clock=rig.clock, where="broker:9092", **options,
        )  # fmt: skip

    def singles(self, count: int, size: int = 4, partition: int = 0) -> None:
        for _ in range(count):
            record = self.rig.record(b"k", b"x" * size)
            record.partition = partition
            self.consumer.waiting.append(record)

    def chunks(self, count: int, texts: int) -> None:
        for _ in range(count):
            message = self.rig.record(
                b"k", b'{"ids":[' + b",".join([b'"i"'] * texts) + b'],"texts":[' + b",".join([b'"t"'] * texts) + b"]}",
                [("format", b"texts.v1")],
            )  # fmt: skip
            self.consumer.waiting.append(message)


@pytest.fixture
def setup(rig: Any) -> Setup:
    return Setup(rig)


def test_a_thin_poll_waits_for_more_and_no_longer_than_allowed(setup: Setup) -> None:
    setup.singles(2)
    begun = setup.rig.clock.monotonic()
    assert len(setup.intake.take(0.25)) == 2
    assert setup.rig.clock.monotonic() - begun == pytest.approx(0.05, abs=0.002)


def test_nothing_waiting_takes_the_idle_time_and_gives_nothing(setup: Setup) -> None:
    begun = setup.rig.clock.monotonic()
    assert setup.intake.take(0.25) == []
    assert setup.rig.clock.monotonic() - begun == pytest.approx(0.25)


def test_what_was_read_before_the_group_threw_us_out_is_not_taken(setup: Setup) -> None:
    """The heartbeat hears of it first; the partitions are given up in the next poll."""
    setup.singles(12)
    assert len(setup.intake.take(0.25)) == 5
    assert setup.intake.membership() == SimpleNamespace(generation_id=1, member_id="m")
    setup.consumer.generation = -1
    assert setup.intake.take(0.25) == []
    setup.consumer.before_poll = lambda: setup.consumer.listener.on_partitions_lost({TP0})
    setup.consumer.waiting.clear()
    assert setup.intake.take(0.25) == []
    assert setup.intake.pending_texts == 0


def test_what_was_given_up_before_the_generation_was_asked_for_is_not_taken_with_it(setup: Setup) -> None:
    setup.singles(12)
    setup.intake.take(0.25)
    asked = setup.consumer.group_metadata

    def joined_anew() -> Any:
        setup.consumer.listener.on_partitions_revoked({TP0})
        setup.consumer.generation = 2
        return asked()

    setup.consumer.group_metadata = joined_anew  # type: ignore[method-assign]
    assert setup.intake.take(0.25) == []
    assert setup.intake.revocations == 1


def test_a_full_cycle_does_not_wait(setup: Setup) -> None:
    setup.intake = Setup(setup.rig, max_messages=100).intake
    setup.consumer = setup.intake._consumer
    setup.singles(30)
    begun = setup.rig.clock.monotonic()
    assert [len(setup.intake.take(0.25)) for _ in range(3)] == [10, 10, 10]
    assert setup.rig.clock.monotonic() == begun


def test_messages_are_limited_too(setup: Setup) -> None:
    setup.singles(12)
    assert [len(setup.intake.take(0.25)) for _ in range(4)] == [5, 5, 2, 0]


def test_chunks_are_taken_whole_and_the_first_one_is_not_followed_by_dozens(setup: Setup) -> None:
    setup.chunks(6, texts=8)
    taken = [setup.intake.take(0.25) for _ in range(6)]
    assert [[len(m.items) for m in messages] for messages in taken] == [[8]] * 6
    assert max(records for _, records in setup.consumer.polls) <= 5
    assert setup.intake.pending_texts == 0


def test_a_chunk_larger_than_a_cycle_is_a_cycle(setup: Setup) -> None:
    setup.chunks(2, texts=25)
    assert [len(m.items) for m in setup.intake.take(0.25)] == [25]
    assert [len(m.items) for m in setup.intake.take(0.25)] == [25]


def test_huge_texts_make_small_cycles(setup: Setup) -> None:
    setup.singles(3, size=MAX_CYCLE_BYTES // 2 + 1)
    assert [len(setup.intake.take(0.25)) for _ in range(3)] == [1, 1, 1]


def test_as_many_bytes_as_may_be_are_one_cycle_and_one_byte_more_waits_for_the_next(setup: Setup) -> None:
    half = MAX_CYCLE_BYTES // 2
    for sizes, taken in (((half, half), [2, 0]), ((half, half + 1), [1, 1]), ((1, MAX_CYCLE_BYTES + 1), [1, 1])):
        for size in sizes:
            setup.singles(1, size=size)
        assert [len(setup.intake.take(0.25)) for _ in range(2)] == taken


def test_the_group_is_served_before_every_cycle_even_when_enough_is_pending(setup: Setup) -> None:
    setup.chunks(1, texts=2)
    setup.intake.take(0.25)
    setup.chunks(4, texts=9)  # asked for as if of 2 texts each
    while setup.intake.take(0.25):
        pass
    before = len(setup.consumer.polls)
    setup.chunks(3, texts=9)
    for _ in range(3):
        polls = len(setup.consumer.polls)
        setup.intake.take(0.25)
        assert len(setup.consumer.polls) > polls
    assert len(setup.consumer.polls) > before


def test_partitions_that_go_take_their_fetched_messages_with_them(setup: Setup) -> None:
    setup.singles(5, partition=0)
    setup.intake._poll(0.0)
    setup.singles(4, partition=1)
    setup.intake._texts_per_message = 1.0
    setup.intake._poll(0.0)
    assert setup.intake.pending_texts > 4
    setup.consumer.before_poll = lambda: setup.consumer.listener.on_partitions_revoked([TP0])
    messages = setup.intake.take(0.25)
    assert {message.partition for message in messages} == {1}
    setup.consumer.before_poll = lambda: setup.consumer.listener.on_partitions_lost([TP1])
    assert setup.intake.take(0.25) == []
    assert setup.intake.pending_texts == 0


def test_a_worker_holds_partitions_only_between_being_given_them_and_giving_them_up(setup: Setup) -> None:
    listener = setup.consumer.listener
    assert not setup.intake.holds_partitions()
    assert setup.intake.assigned_partitions is None, "the group has not said"
    listener.on_partitions_assigned([])
    assert not setup.intake.holds_partitions()
    assert setup.intake.assigned_partitions == 0, "it stands by"
    listener.on_partitions_assigned([TP0])
    assert setup.intake.holds_partitions()
    assert setup.intake.assigned_partitions == 1
    listener.on_partitions_revoked([TP0])
    assert not setup.intake.holds_partitions()


def test_the_offset_after_the_last_message_of_each_partition_is_committed(setup: Setup) -> None:
    setup.singles(2, partition=0)
    setup.singles(1, partition=1)
    messages = setup.intake.take(0.25)
    assert setup.intake.commit(messages)
    assert setup.consumer.committed == [{TP0: messages[1].offset + 1, TP1: messages[2].offset + 1}]


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.CommitFailedError(), kafka_errors.IllegalGenerationError(), kafka_errors.UnknownMemberIdError(),
        kafka_errors.RebalanceInProgressError(),
    ],
)  # fmt: skip
def test_a_commit_refused_after_a_rebalance_is_said_and_the_work_goes_on(
    setup: Setup, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    setup.singles(1)
    messages = setup.intake.take(0.25)
    setup.consumer.commit_error = error
    with caplog.at_level(logging.WARNING):
        assert setup.intake.commit(messages) is False
    assert "embedwatch.texts-0 not committed" in caplog.text


def test_a_commit_that_the_broker_does_not_take_ends_the_worker_in_words(setup: Setup) -> None:
    setup.singles(1)
    messages = setup.intake.take(0.25)
    setup.consumer.commit_error = kafka_errors.KafkaTimeoutError()
    with pytest.raises(ConnectionFailed, match="broker:9092: offsets could not be committed: no answer in time"):
        setup.intake.commit(messages)


def test_a_passing_trouble_of_a_poll_is_tried_again_and_a_lasting_one_is_an_error(setup: Setup) -> None:
    setup.consumer.poll_error = kafka_errors.NodeNotReadyError()
    assert setup.intake.take(0.25) == []
    setup.consumer.poll_error = kafka_errors.TopicAuthorizationFailedError()
    with pytest.raises(ConnectionFailed, match="texts could not be read: not allowed to use this topic"):
        setup.intake.take(0.25)


def test_a_poll_that_fails_after_giving_up_partitions_hands_out_nothing_of_theirs(setup: Setup) -> None:
    setup.chunks(3, texts=8)
    setup.intake.take(0.25)
    assert setup.intake.pending_texts > 0

    def gives_up_and_fails() -> None:
        setup.consumer.listener.on_partitions_revoked({TP0})
        raise kafka_errors.NodeNotReadyError

    setup.consumer.before_poll = gives_up_and_fails
    assert setup.intake.take(0.25) == []
    assert (setup.intake.pending_texts, setup.intake.revocations) == (0, 1)


def test_it_can_stay_in_the_group_without_taking_more(setup: Setup) -> None:
    setup.singles(3)
    setup.intake.serve(0.05)
    assert (setup.consumer.served, setup.consumer.polls, setup.intake.pending_texts) == ([50.0], [], 0)
    assert len(setup.intake.take(0.25)) == 3


def test_partitions_that_go_while_it_takes_nothing_take_their_messages_along(setup: Setup) -> None:
    setup.chunks(3, texts=8)
    setup.intake.take(0.25)
    assert setup.intake.pending_texts > 0
    setup.consumer.before_poll = lambda: setup.consumer.listener.on_partitions_revoked({TP0})
    setup.intake.serve(0.05)
    assert (setup.intake.pending_texts, setup.intake.revocations) == (0, 1)


def test_a_connection_that_breaks_while_the_group_is_served_is_tried_again(setup: Setup) -> None:
    setup.singles(1)
    setup.consumer.poll_error = kafka_errors.KafkaConnectionError("socket disconnected")
    setup.intake.serve(0.05)
    setup.consumer.poll_error = None
    assert len(setup.intake.take(0.25)) == 1


def test_a_trouble_that_comes_back_all_the_time_is_not_said_all_the_time(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.consumer.poll_error = kafka_errors.NodeNotReadyError()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            setup.intake.take(0.25)
            setup.rig.clock.pass_by(0.1)
    assert caplog.text.count("trying again") == 2


def test_a_group_that_cannot_be_served_is_an_error_in_words(setup: Setup) -> None:
    setup.consumer.poll_error = kafka_errors.GroupAuthorizationFailedError()
    with pytest.raises(ConnectionFailed, match="not allowed to use this consumer group"):
        setup.intake.serve(0.05)


def test_a_rebalance_is_due_only_for_partitions_that_are_held(setup: Setup) -> None:
    setup.consumer.rejoins = True
    assert not setup.intake.rebalance_due()
    setup.consumer.listener.on_partitions_assigned({TP0})
    assert setup.intake.rebalance_due()
    setup.consumer.rejoins = False
    assert not setup.intake.rebalance_due()


def test_every_revocation_is_counted(setup: Setup) -> None:
    setup.consumer.before_poll = lambda: setup.consumer.listener.on_partitions_revoked({TP0})
    setup.intake.take(0.1)
    setup.consumer.before_poll = lambda: None
    setup.intake.take(0.1)
    assert setup.intake.revocations == 1


def test_a_cycle_grows_with_what_the_cache_knows_and_shrinks_again(rig: Any) -> None:
    growth = [2.0, 4.0, 1.0, 0.5]
    setup = Setup(rig, max_texts=10, max_messages=5, growth=lambda: growth.pop(0))
    setup.singles(100)
    assert [len(setup.intake.take(0.25)) for _ in range(4)] == [10, 20, 5, 5]
