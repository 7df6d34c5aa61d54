"""The HTTP API against its own description, by Schemathesis: on the file of the docs and a served application."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from embedwatch.processes import free_port
from stream_agents.web.api import add_routes
from tests.harness.agents_log import SetClock
from tests.harness.agents_web import busy_runtime

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs/reference/openapi.json").read_text(encoding="utf-8")
)
#: A stream has no end, and is asked in tests of its own.
PATHS = sorted(set(DOCUMENT["paths"]) - {"/events"})
#: Which windows are closed is a setting, that no schema can name.
NOT_DESCRIBED = {"/api/v1/windows": [positive_data_acceptance]}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The real application on loopback, over numbers that are known."""
    loop, port = asyncio.new_event_loop(), free_port()
    app, clock = web.Application(), SetClock()
    add_routes(app.router, busy_runtime(clock), clock)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, "positive") for path in PATHS]
    # Where there are no parameters, none can be wrong.
    + [(path, "negative") for path in PATHS if DOCUMENT["paths"][path]["get"].get("parameters")],
)
def test_every_answer_is_as_the_description_says(path: str, mode: str, address: str) -> None:
    """No 5xx but an unready 503, statuses, content types and bodies as described; what does not fit is refused."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = schema[path]["GET"]
    wanted = schemathesis.GenerationMode(mode)

    @settings(
        max_examples=8, derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=wanted))
    def run(case: schemathesis.Case) -> None:
        asked = urlencode(case.as_transport_kwargs(base_url=address)["params"] or {}, doseq=True)
        assume(len(asked) < 7000)  # the server itself refuses a longer line, in its own words
        case.call_and_validate(base_url=address, excluded_checks=NOT_DESCRIBED.get(path, []))

    run()
