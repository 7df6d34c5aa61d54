"""A producer that cannot be closed in order, because its broker is gone: the trouble told is the broker's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from alerting.store import Store
from embedwatch.acts import ActWriter
from embedwatch.errors import ConnectionFailed
from embedwatch.settings import Settings
from tests.harness.actions import action


class Lost:
    """As kafka-python 3.0.12: nothing is acknowledged, and `close` raises what `flush` raises."""

    _closed = False

    def send(self, *_: Any, **__: Any) -> Any:
        raise KafkaTimeoutError("no answer")

    def close(self, timeout: float) -> None:
        raise KafkaTimeoutError("Timeout waiting for future")


def save(settings: Settings) -> None:
    Store(settings).save({"latency|all": None})


def act(settings: Settings) -> None:
    ActWriter(settings, "test").write(action("acknowledge", 1.0, alert_id="latency|all"))


@pytest.mark.parametrize(("module", "write"), [("alerting.store", save), ("embedwatch.acts", act)])
def test_what_could_not_be_written_is_told_and_not_how_the_client_was_closed(
    module: str, write: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Lost()
    monkeypatch.setattr(f"{module}.producer", lambda *_, **__: lost)
    with pytest.raises(ConnectionFailed, match="could not be stored"):
        write(Settings())
    assert lost._closed  # else its destructor flushes again, and prints how that failed
