"""Topics that are not as expected: what differs, and the command that mends it."""

from __future__ import annotations

import re

import pytest

from embedwatch.topic_check import differences, too_few_copies
from embedwatch.topics import Topics, TopicSpec

SPECS = {spec.name.removeprefix("embedwatch."): spec for spec in Topics().specs()}


def found(spec: TopicSpec, partitions: int | None = None, **config: str | None) -> list[tuple[str, str, bool]]:
    given = {**spec.config(), **{name.replace("_", "."): value for name, value in config.items()}}
    wanted = spec.partitions or 4
    is_ = differences(spec, wanted, wanted if partitions is None else partitions, given, "broker:9092")
    return [(each.what, each.fix, each.harmful) for each in is_]


@pytest.mark.parametrize("name", list(SPECS))
def test_a_topic_as_we_make_it_has_no_difference_nor_one_of_which_nothing_is_told(name: str) -> None:
    assert found(SPECS[name]) == []
    assert differences(SPECS[name], 1, 1, {}, "b:1") == []


def test_alerts_that_are_not_compacted_are_forgotten() -> None:
    ((what, fix, harmful),) = found(SPECS["alerts"], cleanup_policy="delete")
    assert what == "cleanup.policy is delete, expected compact"
    assert fix == (
        "`kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics --entity-name embedwatch.alerts "
        "--add-config cleanup.policy=compact`"
    )
    assert harmful


def test_two_policies_are_the_same_in_any_order_and_stand_in_brackets() -> None:
    assert found(SPECS["windows"], cleanup_policy="delete, compact") == []
    ((_, fix, _),) = found(SPECS["windows"], cleanup_policy="delete")
    assert "cleanup.policy=[compact,delete]" in fix


def test_another_retention_is_a_warning() -> None:
    ((what, fix, harmful),) = found(SPECS["texts"], retention_ms="3600000")
    assert what == "retention.ms is 3600000, expected 604800000"
    assert "--add-config retention.ms=604800000" in fix
    assert not harmful


def test_a_topic_that_takes_smaller_messages_is_told_and_one_that_takes_larger_is_not() -> None:
    assert len(found(SPECS["texts"], max_message_bytes="1048588")) == 1
    assert found(SPECS["texts"], max_message_bytes="99999999") == []


@pytest.mark.parametrize(
    ("name", "partitions", "fix", "harmful"),
    [
        ("texts", 2, "--alter --topic embedwatch.texts --partitions 4", False),
        ("metrics", 12, "EMBEDWATCH_KAFKA_PARTITIONS=12", False),
        ("alerts", 3, "embedwatch topics create", True),
    ],
)
def test_other_partitions_say_how_to_come_to_one_number(name: str, partitions: int, fix: str, harmful: bool) -> None:
    ((what, told, worse),) = found(SPECS[name], partitions)
    assert re.match(rf"{partitions} partitions, ", what)
    assert fix in told
    assert worse == harmful


def copies(replicas: int, wanted: int, in_sync: str | None) -> list[tuple[str, str]]:
    config = {"min.insync.replicas": in_sync}
    return [(each.what, each.fix) for each in too_few_copies("state", replicas, wanted, config, "broker:9092")]


def test_a_topic_that_one_broker_has_beside_others_that_three_have_is_told() -> None:
    ((what, fix),) = copies(1, 3, "1")
    assert what.startswith("1 replicas, expected 3: a broker that is away stops it")
    assert "kafka-reassign-partitions.sh --bootstrap-server broker:9092" in fix


def test_three_copies_of_which_one_is_enough_to_acknowledge_are_told() -> None:
    ((what, fix),) = copies(3, 3, "1")
    assert what.startswith("min.insync.replicas is 1, expected 2")
    assert "--add-config min.insync.replicas=2" in fix
    assert copies(3, 3, "2") == copies(3, 3, "3") == copies(3, 3, None) == []
    assert copies(1, 1, "1") == copies(2, 2, "1") == []
