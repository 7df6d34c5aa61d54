"""The thread that reads the lag outlives whatever happens to it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from embedwatch.clock import SystemClock
from embedwatch.settings import Settings
from stream_agents import sampler


class NoClients:
    def __init__(self, settings: Settings, clock: Any) -> None:
        pass

    def __enter__(self) -> NoClients:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("error", [KeyError("new in this broker"), OSError("gone")])
def test_an_error_of_any_kind_is_said_and_the_lag_is_read_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    read_again = threading.Event()
    readings: list[Any] = []

    class Sampler(sampler.LagSampler):
        def _publish(self, clients: Any) -> None:
            readings.append(clients)
            if len(readings) == 1:
                raise error
            read_again.set()

    monkeypatch.setattr(sampler, "_Clients", NoClients)
    settings = Settings.model_validate({"agents": {"lag_interval_seconds": 0.2}})
    under_test = Sampler(settings, SystemClock())
    under_test.active = True
    under_test.start()
    try:
        assert read_again.wait(10)
    finally:
        under_test.stop()
    assert "trying again" in caplog.text
