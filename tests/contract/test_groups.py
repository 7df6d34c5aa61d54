"""Consumer groups: commit and resume, sharing partitions, leaving, dying."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import IncompatibleBrokerVersion
from kafka.structs import OffsetAndMetadata

from embedwatch.kafka import TopicPartition, admin_client, consumer
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from tests.harness.kafka_io import make_topic, opened, poll_until, read, send_all

ROOT = Path(__file__).resolve().parents[2]
#: Apache Kafka needs the session timeout (6 s) and a rebalance; the embedded broker was seen to need 12 s.
TAKE_OVER_SECONDS = 40.0


def test_a_group_resumes_after_what_it_committed(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [str(number).encode() for number in range(20)])
    with opened(consumer(kafka_settings, "first", group=topic, max_poll_records=10)) as first:
        first.subscribe([topic])
        assert [record.offset for record in read(first, 10)] == list(range(10))
        first.commit()
        assert first.committed(TopicPartition(topic, 0)) == 10
    with opened(consumer(kafka_settings, "second", group=topic)) as second:
        second.subscribe([topic])
        assert [record.offset for record in read(second, 10)] == list(range(10, 20))


def test_what_was_read_but_not_committed_is_delivered_again(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 20)
    for client_id in ("first", "second"):
        with opened(consumer(kafka_settings, client_id, group=topic)) as client:
            client.subscribe([topic])
            assert [record.offset for record in read(client, 20)] == list(range(20))
            assert client.committed(TopicPartition(topic, 0)) is None


def test_two_groups_each_get_everything(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 5)
    for group in (f"{topic}.a", f"{topic}.b"):
        with opened(consumer(kafka_settings, "test", group=group)) as client:
            client.subscribe([topic])
            assert len(read(client, 5)) == 5
            client.commit()


def test_two_members_share_the_partitions_and_one_that_leaves_hands_its_own_over(
    kafka_settings: KafkaSettings,
) -> None:
    topic = make_topic(kafka_settings, partitions=4)
    with opened(consumer(kafka_settings, "stays", group=topic)) as stays:
        stays.subscribe([topic])
        assert poll_until(lambda: len(stays.assignment()) == 4, stays, timeout_seconds=TAKE_OVER_SECONDS)
        with opened(consumer(kafka_settings, "leaves", group=topic)) as leaves:
            leaves.subscribe([topic])
            shared = poll_until(
                lambda: len(stays.assignment()) == len(leaves.assignment()) == 2,
                stays, leaves, timeout_seconds=TAKE_OVER_SECONDS,
            )  # fmt: skip
            assert shared
            assert not stays.assignment() & leaves.assignment()
        assert poll_until(lambda: len(stays.assignment()) == 4, stays, timeout_seconds=TAKE_OVER_SECONDS)


def test_a_member_that_polls_in_short_looks_is_given_its_partitions(kafka_settings: KafkaSettings) -> None:
    """Its first rebalance finds no metadata of the topic, so a second follows, in the midst of which a poll ends."""
    topic = make_topic(kafka_settings, partitions=4)
    with opened(consumer(kafka_settings, "hasty", group=topic)) as hasty:
        hasty.subscribe([topic])
        assert poll_until(lambda: len(hasty.assignment()) == 4, hasty, timeout_seconds=TAKE_OVER_SECONDS, poll_ms=3)


def test_after_a_rebalance_a_member_goes_on_from_what_was_committed_also_where_it_was_before(
    kafka_settings: KafkaSettings,
) -> None:
    topic = make_topic(kafka_settings, partitions=4)
    for partition in range(4):
        send_all(kafka_settings, topic, [b"x"] * 5, partition=partition)
    with opened(consumer(kafka_settings, "stays", group=topic)) as stays:
        stays.subscribe([topic])
        assert len(read(stays, 20)) == 20  # and nothing of it is committed
        with opened(consumer(kafka_settings, "comes", group=topic)) as comes:
            comes.subscribe([topic])
            again: dict[Any, list[int]] = {}
            deadline = time.monotonic() + TAKE_OVER_SECONDS
            while sum(map(len, again.values())) < 20 and time.monotonic() < deadline:
                for member in (stays, comes):
                    for log, records in member.poll(100).items():
                        again.setdefault(log.partition, []).extend(record.offset for record in records)
    assert again == {partition: [0, 1, 2, 3, 4] for partition in range(4)}


def test_what_was_committed_is_asked_for_anew_after_a_rebalance(kafka_settings: KafkaSettings) -> None:
    """An answer on its way from before tells of what was committed then."""
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 3)
    with opened(consumer(kafka_settings, "member", group=topic)) as member:
        coordinator = member._coordinator
        ask, asked, let_go = coordinator._send_offset_fetch_request, [], []

        async def late(partitions: Any) -> Any:
            answer = await ask(partitions)
            asked.append(answer)
            while len(asked) == 1 and not let_go:
                await coordinator._net.sleep(0.01)
            return answer

        coordinator._send_offset_fetch_request = late
        member.subscribe([topic])
        assert poll_until(lambda: bool(asked), member, timeout_seconds=TAKE_OVER_SECONDS)
        member.commit({TopicPartition(topic, 0): OffsetAndMetadata(2, "", -1)})
        let_go.append(True)
        coordinator.request_rejoin()
        assert [record.offset for record in read(member, 1)] == [2]


def test_members_that_are_seldom_there_when_the_group_answers_share_all_the_same(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=4)
    with (
        opened(consumer(kafka_settings, "one", group=topic)) as one,
        opened(consumer(kafka_settings, "two", group=topic)) as two,
    ):
        for member in (one, two):
            member.subscribe([topic])
        assert poll_until(
            lambda: len(one.assignment()) == len(two.assignment()) == 2,
            one, two, timeout_seconds=TAKE_OVER_SECONDS, poll_ms=1,
        )  # fmt: skip
        assert not one.assignment() & two.assignment()


@pytest.mark.promise("add_partitions")
def test_partitions_added_under_a_member_are_given_to_it(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=2)
    with opened(consumer(kafka_settings, "grows", group=topic, metadata_max_age_ms=500)) as grows:
        grows.subscribe([topic])
        assert poll_until(lambda: len(grows.assignment()) == 2, grows, timeout_seconds=TAKE_OVER_SECONDS, poll_ms=3)
        with opened(admin_client(kafka_settings)) as admin:
            try:
                admin.create_partitions({topic: 4})
            except IncompatibleBrokerVersion as error:
                raise AssertionError(str(error)) from None
        assert poll_until(lambda: len(grows.assignment()) == 4, grows, timeout_seconds=TAKE_OVER_SECONDS, poll_ms=3)


def test_the_partitions_of_a_killed_member_go_to_the_survivor_and_nothing_committed_comes_again(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    topic = make_topic(kafka_settings, partitions=4)
    for partition in range(4):
        send_all(kafka_settings, topic, [b"before"] * 10, partition=partition)
    command = [sys.executable, "-m", "tests.harness.member", kafka_settings.bootstrap_servers, topic, topic]
    with (
        Child("member", command, tmp_path / "member.log", cwd=ROOT) as member,
        opened(consumer(kafka_settings, "survivor", group=topic)) as survivor,
    ):

        def said(word: str) -> list[str]:
            return [line for line in member.log.read_text().splitlines() if line.startswith(word)]

        member.wait_until(lambda: len(said("record")) == 40, 30.0, "its 40 records")
        survivor.subscribe([topic])
        assert poll_until(lambda: len(survivor.assignment()) == 2, survivor, timeout_seconds=TAKE_OVER_SECONDS)
        member.process.kill()
        assert poll_until(lambda: len(survivor.assignment()) == 4, survivor, timeout_seconds=TAKE_OVER_SECONDS)
        for partition in range(4):
            send_all(kafka_settings, topic, [b"after"] * 10, partition=partition)
        records = read(survivor, 40)
        assert {record.value for record in records} == {b"after"}
        assert len({(record.partition, record.offset) for record in records}) == len(records) == 40
