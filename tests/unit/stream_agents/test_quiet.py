"""A broker that is away is told, not shouted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stream_agents.quiet import EVERY_SECONDS, OnceInAWhile
from tests.harness.agents_log import SetClock


def record(name: str, text: str, *values: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, text, values, None)


def test_a_librarys_complaint_comes_once_in_a_while_whatever_its_values() -> None:
    clock = SetClock()
    calm = OnceInAWhile(clock)
    text = "Unable connect to node with id %s"
    assert calm.filter(record("aiokafka", text, 1))
    assert not calm.filter(record("aiokafka", text, 2))
    assert calm.filter(record("aiokafka.consumer.fetcher", text, 1)), "another part of it"
    assert calm.filter(record("aiokafka", "Unable to update metadata from %s", [1])), "another complaint"
    clock.passed_seconds += EVERY_SECONDS
    assert calm.filter(record("aiokafka", text, 3))
    assert not calm.filter(record("aiokafka", text, 4))


def test_what_we_say_ourselves_and_what_is_critical_is_never_held_back() -> None:
    calm = OnceInAWhile(SetClock())
    assert all(calm.filter(record("agents", "a gap")) for _ in range(3))
    assert all(calm.filter(record("kafkaesque", "a story")) for _ in range(3))
    assert all(calm.filter(record("faust", "crashed", level=logging.CRITICAL)) for _ in range(3))


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("aiokafka.consumer.group_coordinator", "Heartbeat failed for group %s because it is rebalancing", ("g",)),
        (
            "stream_agents.transport",
            "[^--ReadCommittedConsumer]: exception performing seek when flow not active IllegalStateError: No current "
            "assignment for partition TopicPartition(topic='t', partition=0)",
            (),
        ),
    ],
)
def test_what_belongs_to_a_rebalance_is_no_warning(
    name: str, text: str, values: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, ours = OnceInAWhile(SetClock()), logging.getLogger("agents")
    monkeypatch.setattr(ours, "level", logging.INFO)
    ours.manager._clear_cache()  # type: ignore[attr-defined]
    assert not calm.filter(record(name, text, *values, level=logging.WARNING))
    monkeypatch.setattr(ours, "level", logging.DEBUG)
    ours.manager._clear_cache()  # type: ignore[attr-defined]
    told = record(name, text, *values, level=logging.WARNING)
    assert calm.filter(told)
    assert told.levelname == "DEBUG"
    other = record(name, "exception performing seek when flow not active KafkaTimeoutError", level=logging.WARNING)
    assert calm.filter(other)
    assert other.levelno == logging.WARNING
    monkeypatch.undo()
    ours.manager._clear_cache()  # type: ignore[attr-defined]


def test_its_memory_is_bounded() -> None:
    calm = OnceInAWhile(SetClock())
    for number in range(5000):
        assert calm.filter(record("mode", f"made with a value inside: {number}"))
    assert len(calm._last) <= 1001


def test_a_send_that_was_given_up_is_no_bug_to_show_a_trace_of() -> None:
    calm = OnceInAWhile(SetClock())

    def of(error: BaseException) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, "x", 1, "callback", None, (type(error), error, None))

    assert not calm.filter(of(asyncio.CancelledError()))
    assert calm.filter(of(RuntimeError()))
