"""A run of `embedwatch produce` whose broker takes nothing any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from embedwatch.errors import DeliveryError
from embedwatch.settings import Settings
from producers import service
from producers.service import Order, produce
from tests.unit.producers.test_publish import Clock, Producer


class Lost(Producer):
    """Nothing is ever acknowledged, and it cannot be closed in order."""

    _closed = False

    def close(self, timeout: float) -> None:
        raise KafkaTimeoutError("Timeout waiting for future")


def test_a_producer_that_cannot_be_closed_leaves_no_stack_trace_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = Lost()
    monkeypatch.setattr(service, "_connect", lambda *_: lost)
    (tmp_path / "in.txt").write_text("one text\n")
    order = Order([str(tmp_path / "in.txt")], delivery_timeout_seconds=1.0)
    clock: Any = Clock()
    with pytest.raises(DeliveryError):
        produce(order, Settings(), as_json=True, clock=clock)
    assert '"texts_unknown":1' in capsys.readouterr().out
    # What kafka-python's destructor asks: a producer that is not closed it flushes again, and prints how that failed.
    assert lost._closed
