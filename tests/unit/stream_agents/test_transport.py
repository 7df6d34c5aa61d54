"""Waiting for the first of several, without tasks where nothing has to be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from mode import Service

from stream_agents.transport import ReadCommittedConsumer, WaitsLittle


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
