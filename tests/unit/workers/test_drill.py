from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from workers.backends.hashing import HashingEmbedder
from workers.drill import SlowPhase


@pytest.fixture
def drill(clock: Any) -> SlowPhase:
    return SlowPhase(
        HashingEmbedder(dims=4), after_seconds=5.0, for_seconds=10.0, delay_seconds=1.5, clock=clock,
        sleep=clock.pass_by,
    )  # fmt: skip


def seconds_of_a_batch(drill: SlowPhase, clock: Any) -> float:
    begun = clock.monotonic()
    drill.embed(["text"])
    return float(clock.monotonic() - begun)


def test_batches_are_slow_from_its_beginning_to_its_end_counted_from_the_first_batch(
    drill: SlowPhase, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock.pass_by(100.0)  # before the first batch nothing counts
    assert drill.tick() is False
    with caplog.at_level(logging.WARNING):
        took = []
        for _ in range(12):
            took.append(seconds_of_a_batch(drill, clock))
            clock.pass_by(2.0)
    assert took == [0, 0, 0, 1.5, 1.5, 1.5, 0, 0, 0, 0, 0, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "fire drill: begins; each batch takes 1.5 s longer for 10 s",
        "fire drill: over; batches run at full speed again",
    ]


def test_its_end_is_said_also_when_no_batch_comes(
    drill: SlowPhase, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    drill.embed(["text"])
    clock.pass_by(5.0)
    drill.tick()
    clock.pass_by(10.0)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        drill.tick()
        drill.tick()
    assert [record.getMessage() for record in caplog.records] == ["fire drill: over; batches run at full speed again"]


def test_everything_else_is_the_models_own(drill: SlowPhase) -> None:
    plain = HashingEmbedder(dims=4)
    assert (drill.name, drill.fingerprint, drill.dims) == (plain.name, plain.fingerprint, 4)
    assert np.array_equal(drill.embed(["a b"]), plain.embed(["a b"]))
