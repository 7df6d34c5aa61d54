"""What agents say to others waits for the broker, and no longer than a bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from embedwatch.settings import Settings
from stream_agents import app as app_module
from stream_agents.app import FaustEdges
from tests.harness.verdicts import verdict


class Topic:
    """`stuck`: a batch of the partition does not go out, so that a send waits, or its acknowledgement does."""

    def __init__(self, stuck: str | None) -> None:
        self.stuck = stuck
        self.sent: list[bytes] = []

    async def send(self, *, key: bytes, value: bytes, **_: Any) -> Any:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.stuck == "send":
            await never
        self.sent.append(key)
        if self.stuck is None:
            never.set_result(None)
        return never


@pytest.mark.parametrize("stuck", ["send", "acknowledgement"])
def test_a_send_that_does_not_end_is_given_up(stuck: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "SEND_TIMEOUT_SECONDS", 0.01)
    edges = FaustEdges(None, None, Settings(), {"verdicts": Topic(stuck)})
    with pytest.raises(TimeoutError):
        asyncio.run(edges.publish([verdict("ok")]))


def test_what_is_acknowledged_is_sent_in_order() -> None:
    topic = Topic(None)
    edges = FaustEdges(None, None, Settings(), {"verdicts": topic})
    asyncio.run(edges.publish([verdict("ok", alert_id=name) for name in ("a", "b")]))
    assert topic.sent == [b"a", b"b"]
