"""The question to the log itself, where the client that was kept knows a leader that is none any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from embedwatch.settings import KafkaSettings
from stream_agents import probe
from stream_agents.probe import LogProbe


class Client:
    """Has the records 5 and 7. As kafka-python, it waits for 30 s where nobody says for how long."""

    def __init__(self, *, stale: bool = False, mute: bool = False) -> None:
        self.stale, self.mute, self.closed = stale, mute, False
        self.waited_ms: list[float] = []

    def unsubscribe(self) -> None: ...
    def assign(self, partitions: Any) -> None: ...
    def seek(self, tp: Any, offset: int) -> None: ...

    def beginning_offsets(self, partitions: list[Any], timeout_ms: float = 30_000) -> dict[Any, int]:
        self.waited_ms.append(timeout_ms)
        if self.stale:
            raise KafkaTimeoutError("no offsets")
        return dict.fromkeys(partitions, 0)

    def poll(self, timeout_ms: float) -> dict[Any, list[Any]]:
        if self.mute:
            return {}
        tp = probe.kafka.TopicPartition("metrics", 1)
        return {tp: [SimpleNamespace(offset=offset) for offset in (5, 7)]}

    def highwater(self, tp: Any) -> int | None:
        return None

    def close(self) -> None:
        self.closed = True


def asked(monkeypatch: pytest.MonkeyPatch, *clients: Client) -> LogProbe:
    waiting = list(clients)
    monkeypatch.setattr(probe.kafka, "consumer", lambda *_, **__: waiting.pop(0))
    return LogProbe(KafkaSettings(), "metrics")


def test_a_client_that_knows_another_leader_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Client(), Client()
    log = asked(monkeypatch, old, new)
    assert log.existing_offsets(1, 5) == [5, 7]
    old.stale = True
    assert log.existing_offsets(1, 5) is None
    assert old.closed
    assert max(old.waited_ms) <= probe.TIMEOUT_SECONDS * 1000
    assert log.existing_offsets(1, 6) == [7]


def test_a_client_that_brings_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.01)
    mute = Client(mute=True)
    log = asked(monkeypatch, mute, Client())
    assert log.existing_offsets(1, 5) is None
    assert mute.closed
    assert log.existing_offsets(1, 5) == [5, 7]
