"""Answers that take long are made once for all who ask, and events and verdicts have their turn meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from stream_agents.runtime import Runtime
from stream_agents.web import api
from stream_agents.web.problems import Busy
from stream_agents.web.routes import MAX_WAITING
from stream_agents.web.shared import VALID_SECONDS, Shared
from tests.harness.agents_log import SetClock, batch_event, deliver, log_of, runtime_on
from tests.harness.agents_web import serving

Client = TestClient[web.Request, web.Application]
TENANTS = 40
BASELINE, LEDGER = "/api/v1/baseline?window_seconds=3600", "/api/v1/ledger"


def runtime_of(clock: SetClock) -> Runtime:
    """So many tenants of one model, each with a batch."""
    log = log_of(*[batch_event(n, tenant=f"t{n}") for n in range(TENANTS)])
    runtime = runtime_on(log, clock=clock)
    runtime.recover({}, {0})
    asyncio.run(deliver(log, runtime, TENANTS))
    return runtime


def counting(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How often a piece of work of the API was begun."""
    calls: list[int] = []
    really = getattr(api, name)
    monkeypatch.setattr(api, name, lambda *args, **kwargs: (calls.append(1), really(*args, **kwargs))[1])
    return calls


def asked(runtime: Runtime, clock: SetClock, what: Callable[[Client], Awaitable[Any]]) -> Any:
    async def asking() -> Any:
        async with serving(runtime, clock=clock) as client:
            return await what(client)

    return asyncio.run(asking())


async def body(client: Client, path: str) -> bytes:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize(("path", "work", "each"), [(BASELINE, "measured", 1), (LEDGER, "_ledger_keys", 1)])
def test_of_many_who_ask_at_once_each_has_the_answer_that_was_made_once(
    path: str, work: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SetClock()
    calls = counting(monkeypatch, work)

    async def ten(client: Client) -> None:
        found = await asyncio.gather(*(body(client, path) for _ in range(10)))
        assert len(set(found)) == 1
        assert len(calls) == each
        assert await body(client, path) == found[0]
        assert len(calls) == each, "for two seconds it is the answer"
        clock.passed_seconds += VALID_SECONDS
        await body(client, path)
        assert len(calls) == 2 * each

    asked(runtime_of(clock), clock, ten)


@pytest.mark.parametrize(
    ("path", "work", "together"), [(BASELINE, "measured", 1), (LEDGER, "day_summary", api.LEDGER_ROWS_TOGETHER)]
)
def test_the_loop_has_its_turn_between_a_few_scopes(
    path: str, work: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, runtime = SetClock(), runtime_of(SetClock())
    turns, seen = [0], list[int]()
    really = getattr(api, work)

    def noting(*args: Any, **kwargs: Any) -> Any:
        made = really(*args, **kwargs)
        if isinstance(made, dict):
            seen.append(turns[0])
            return made
        return (seen.append(turns[0]) or row for row in made)

    monkeypatch.setattr(api, work, noting)

    async def beside(client: Client) -> None:
        async def turn() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(turn())
        await body(client, path)
        others.cancel()

    asked(runtime, clock, beside)
    assert len(seen) > TENANTS
    assert all(seen.count(at) <= together for at in seen), "no more than a few in one turn"


def test_one_who_goes_away_takes_nothing_from_the_others_and_an_error_is_not_kept() -> None:
    async def run() -> None:
        shared, go = Shared(SetClock()), asyncio.Event()

        async def make() -> dict[str, Any]:
            await go.wait()
            return {"made": True}

        async def fail() -> dict[str, Any]:
            raise RuntimeError("a mistake")

        first, second = (asyncio.create_task(shared.answer("a", make)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        go.set()
        assert (await second).body == b'{"made":true}'
        with pytest.raises(RuntimeError):
            await shared.answer("b", fail)
        assert (await shared.answer("b", make)).body == b'{"made":true}'

    asyncio.run(run())


def test_so_many_answers_are_made_and_one_more_is_refused() -> None:
    async def run() -> None:
        shared, go, at_once = Shared(SetClock()), asyncio.Event(), [0, 0]

        async def make() -> dict[str, Any]:
            at_once[0] += 1
            at_once[1] = max(at_once)
            await go.wait()
            at_once[0] -= 1
            return {}

        waiting = [asyncio.create_task(shared.answer(number, make)) for number in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="try again later"):
            await shared.answer("one more", make)
        go.set()
        await asyncio.gather(*waiting)
        assert at_once[1] == 1, "one after another"
        assert (await shared.answer("one more", make)).status == 200

    asyncio.run(run())


def test_too_much_is_told_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock()
    monkeypatch.setattr("stream_agents.web.shared.MAX_WAITING", 0)

    async def ask(client: Client) -> tuple[int, Any]:
        async with client.get(BASELINE) as response:
            return response.status, (await response.json())["error"]

    assert asked(runtime_of(clock), clock, ask) == (503, "0 answers are being made already; try again later")
