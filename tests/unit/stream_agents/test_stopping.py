"""A stop has a time limit, and the second signal none."""

from __future__ import annotations

import logging
import signal
import threading

import pytest

from stream_agents.stopping import TIMED_OUT, BoundedStop
from tests.harness.agents_log import SetClock


def test_the_first_signal_begins_and_the_second_ends_at_once_and_says_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codes: list[int] = []
    clock = SetClock()
    stop = BoundedStop(lambda: 7, clock, 3600, codes.append)
    with caplog.at_level(logging.ERROR, "agents"):
        assert stop.asked(signal.SIGINT)
        assert not stop.asked(signal.SIGINT), "`timeout` signals a process, then its group"
        assert codes == []
        clock.passed_seconds += 1
        assert not stop.asked(signal.SIGTERM)
    assert stop.timer is not None
    stop.timer.cancel()
    assert codes == [128 + signal.SIGTERM]
    said = "SIGTERM came a second time; ended at once, 7 records are counted and not written"
    assert caplog.messages == [f"agents: {said}: the next start reads them again"]


@pytest.mark.parametrize("error", [BrokenPipeError, RuntimeError])
def test_it_ends_also_where_nobody_reads_what_it_says(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        flush = write

    def unwritten() -> int:
        if error is RuntimeError:
            threading.Event().wait()  # blocks as a full pipe does
        raise error

    monkeypatch.setattr("stream_agents.stopping.TELL_SECONDS", 0.05)
    monkeypatch.setattr("threading.excepthook", lambda caught: None)
    monkeypatch.setattr("sys.stderr", Gone())
    clock = SetClock()
    stop = BoundedStop(unwritten, clock, 3600, codes.append)
    assert stop.asked(signal.SIGTERM)
    clock.passed_seconds += 1
    assert not stop.asked(signal.SIGTERM)
    assert stop.timer is not None
    stop.timer.cancel()
    assert codes == [128 + signal.SIGTERM]


def test_a_stop_that_takes_too_long_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    codes: list[int] = []
    ended = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    with caplog.at_level(logging.ERROR, "agents"):
        assert BoundedStop(lambda: 0, SetClock(), 0.0, leave).asked(signal.SIGTERM)
        assert ended.wait(30)
    assert codes == [TIMED_OUT]
    assert caplog.messages[0].endswith("Kafka does not answer; ended at once, all that was counted is written")
