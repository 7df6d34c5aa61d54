"""Agents that answer, and the view of what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from console.model import View, view
from console.source import ApiSource, Wish
from embedwatch.agents_api import AgentsApi
from stream_agents.runtime import Runtime
from tests.harness.agents_log import SetClock
from tests.harness.agents_served import ServedAgents
from tests.harness.agents_web import busy_runtime


@pytest.fixture(scope="session")
def busy() -> Runtime:
    """Nobody changes it."""
    return busy_runtime()


@pytest.fixture
def agents() -> Iterator[ServedAgents]:
    with ServedAgents() as served:
        yield served


@pytest.fixture
def busy_url(agents: ServedAgents, busy: Runtime) -> str:
    return agents.serve(busy)


@pytest.fixture(scope="session")
def busy_view(busy: Runtime) -> View:
    """What the view reads from the agents' own routes."""
    with ServedAgents() as served, AgentsApi(served.serve(busy)) as api:
        found = view("http://agents:6066", ApiSource(api, SetClock()).read(Wish()))
    return found
