"""Records of the source topic go together, and waiting makes no tasks where nothing has to be waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from mode import Service

from stream_agents.transport import CHUNK_RECORDS, Chunks, ReadCommittedConsumer, ReadCommittedTransport, WaitsLittle


class Waiter(WaitsLittle):
    """A service of Faust's kind with nothing else to it."""


def scenario(work: Callable[[Service], Awaitable[None]], service: type[Service] = Waiter) -> None:
    async def run() -> None:
        async with service() as started:
            before = asyncio.all_tasks()
            await work(started)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == before, "nothing goes on behind the caller's back"

    asyncio.run(run())


def test_what_does_not_wait_is_done_in_the_callers_own_task() -> None:
    async def hand_on(into: list[object]) -> str:
        into.append(asyncio.current_task())
        return "done"

    async def work(service: Service) -> None:
        into: list[object] = []
        found = await service.wait_first(hand_on(into), asyncio.Event().wait())
        assert (found.results, found.stopped) == (["done"], False)
        assert into == [asyncio.current_task()]

    scenario(work)


# Faust's own way beside ours: the same is to come of both.
both = pytest.mark.parametrize("service", [Waiter, Service], ids=["ours", "fausts"])


@both
def test_what_waits_is_waited_for_to_its_end(service: type[Service]) -> None:
    async def work(started: Service) -> None:
        lock, steps = asyncio.Lock(), []

        async def hand_on() -> str:
            for _ in range(3):
                await asyncio.sleep(0)
            async with lock:
                steps.append("has it")
            with pytest.raises(ZeroDivisionError):
                await asyncio.shield(failing())
            return "done"

        async def failing() -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        await lock.acquire()
        asyncio.get_running_loop().call_later(0.01, lock.release)
        found = await started.wait_first(hand_on(), asyncio.Event().wait())
        assert (found.results, steps) == (["done"], ["has it"])

    scenario(work, service)


@both
def test_when_the_flow_is_suspended_first_what_waits_is_given_up_and_cleans_up(service: type[Service]) -> None:
    async def work(started: Service) -> None:
        suspended, ended = asyncio.Event(), []

        async def hand_on() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        asyncio.get_running_loop().call_later(0.01, suspended.set)
        found = await started.wait_first(hand_on(), suspended.wait())
        assert found.results == [True]
        await asyncio.sleep(0.01)
        assert ended == [True]

    scenario(work, service)


@both
@pytest.mark.parametrize("waits", [False, True])
def test_an_error_reaches_the_caller(service: type[Service], waits: bool) -> None:
    async def work(started: Service) -> None:
        async def hand_on() -> None:
            if waits:
                await asyncio.sleep(0)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await started.wait_first(hand_on(), asyncio.Event().wait())

    scenario(work, service)


@both
def test_a_service_that_stops_waits_no_longer(service: type[Service]) -> None:
    async def work(started: Service) -> None:
        asyncio.get_running_loop().call_later(0.01, started.set_shutdown)
        asyncio.get_running_loop().call_later(0.01, started._stopped.set)
        found = await started.wait_first(asyncio.Event().wait(), asyncio.Event().wait())
        assert found.stopped

    scenario(work, service)


def test_the_consumer_of_the_agents_is_one_of_these() -> None:
    assert ReadCommittedConsumer.wait_first is WaitsLittle.wait_first


SOURCE, OTHER = TP("source", 1), TP("changelog", 1)


def record(tp: TP, offset: int) -> Any:
    return ConsumerRecord(tp.topic, tp.partition, offset, 1000, 0, b"key", b"value %d" % offset, None, 3, 7, ())


class Fetched:
    """The consumer's thread, with what it has fetched."""

    def __init__(self, records: dict[TP, list[Any]]) -> None:
        self.records = records

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        return self.records


def with_consumer(folder: Path, work: Callable[[Any, Any], Awaitable[None]]) -> None:
    """A consumer of an app that is not started: nothing is connected to."""

    async def run() -> None:
        app: Any = faust.App("test", broker="kafka://127.0.0.1:1", datadir=str(folder), loop=asyncio.get_running_loop())
        app.transport = ReadCommittedTransport(app.conf.broker, app, loop=app.loop)
        app.transport.source = SOURCE.topic
        app.topics._acking_topics |= {SOURCE.topic, OTHER.topic}
        app.consumer._thread.thread_loop.close()  # made with it, and never run
        await work(app, app.consumer)

    asyncio.run(run())


def test_records_of_the_source_are_handed_on_many_at_once_and_others_one_by_one(tmp_path: Path) -> None:
    async def work(app: Any, consumer: Any) -> None:
        offsets = [*range(CHUNK_RECORDS), CHUNK_RECORDS + 5, CHUNK_RECORDS + 6]
        consumer._thread = Fetched({tp: [record(tp, o) for o in offsets] for tp in (SOURCE, OTHER)})
        found = await consumer._getmany({SOURCE, OTHER}, 1.0)
        messages = [consumer._to_message(SOURCE, each) for each in found[SOURCE]]
        assert [message.offset for message in messages] == [CHUNK_RECORDS - 1, CHUNK_RECORDS + 6]
        handed_on = [pair for message in messages for pair in message.value]
        assert handed_on == [(o, b"value %d" % o) for o in offsets]
        event = await app.topic(SOURCE.topic, schema=Chunks()).decode(messages[1])
        assert event.value == handed_on[CHUNK_RECORDS:]
        assert [consumer._to_message(OTHER, each).value for each in found[OTHER]] == [v for _, v in handed_on]
        consumer._thread = Fetched({})
        assert await consumer._getmany({SOURCE}, 1.0) == {}

    with_consumer(tmp_path, work)


def test_chunks_are_committed_up_to_the_last_one_acknowledged(tmp_path: Path) -> None:
    """Faust's way, for every other topic: up to the first offset that is not acknowledged."""

    async def work(_: Any, consumer: Any) -> None:
        for tp in (SOURCE, OTHER):
            assert consumer._new_offset(tp) is None
        messages = [consumer._to_message(SOURCE, [record(SOURCE, o) for o in chunk]) for chunk in ((3, 4), (7, 8, 9))]
        messages += [consumer._to_message(OTHER, record(OTHER, o)) for o in (3, 4, 9)]
        for message in messages:
            message.incref()
            assert message.ack(consumer)
        assert consumer._new_offset(SOURCE) == 10
        assert consumer._new_offset(SOURCE) is None, "nothing new"
        assert consumer._new_offset(OTHER) == 5
        for tp in (SOURCE, OTHER):
            await consumer._add_gap(tp, 100, 200)
        assert [tp for tp, gap in consumer._gap.items() if gap] == [OTHER]

    with_consumer(tmp_path, work)


class FetchingClient:
    """aiokafka's consumer, as far as Faust's thread looks at it; `during` happens while it waits for records."""

    def __init__(self, records: dict[TP, list[Any]], during: Callable[[], object]) -> None:
        self._closed = False
        self._fetcher = self._subscriptions = self
        self.records, self.during = records, during
        self.sought: dict[TP, int] = {}

    def fetch_context(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    async def fetched_records(self, partitions: set[TP], timeout: float, max_records: int) -> dict[TP, list[Any]]:
        self.during()
        # To aiokafka no partitions are all partitions.
        return {tp: found for tp, found in self.records.items() if not partitions or tp in partitions}

    def assignment(self) -> set[TP]:
        return {SOURCE, OTHER}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought[tp] = offset


def test_records_that_nobody_wants_any_more_stay_where_they_were(tmp_path: Path) -> None:
    """A rebalance pauses all partitions while a request waits. The changelog's records are those of its recovery."""

    async def work(_: Any, consumer: Any) -> None:
        gone = TP("source", 9)
        records = {SOURCE: [record(SOURCE, 5)], OTHER: [record(OTHER, 7), record(OTHER, 8)], gone: [record(gone, 1)]}
        active = {SOURCE}
        client = FetchingClient(records, active.clear)
        assert await consumer._thread._fetch_records(client, active, 1.0, 100) == {}
        assert client.sought == {SOURCE: 5, OTHER: 7}
        active, client = {OTHER}, FetchingClient(records, consumer.stop_flow)
        assert await consumer._thread._fetch_records(client, active, 1.0, 100) == {}
        assert client.sought == {OTHER: 7}

    with_consumer(tmp_path, work)


def test_records_that_are_wanted_are_handed_on_those_of_a_full_buffer_too(tmp_path: Path) -> None:
    async def work(_: Any, consumer: Any) -> None:
        records = {SOURCE: [record(SOURCE, 5)], OTHER: [record(OTHER, 7)]}
        active = {SOURCE, OTHER}
        client = FetchingClient(records, lambda: None)
        assert await consumer._thread._fetch_records(client, active, 1.0, 100) == records
        consumer._active_partitions = active
        client.during = lambda: consumer.on_buffer_full(SOURCE)
        assert await consumer._thread._fetch_records(client, active, 1.0, 100) == {OTHER: [record(OTHER, 7)]}
        client.during = active.clear
        assert await consumer._thread._fetch_records(client, active, 1.0, 100) == {SOURCE: [record(SOURCE, 5)]}
        assert client.sought == {OTHER: 7}

    with_consumer(tmp_path, work)
