"""The heartbeat is there while an alert would come, and not one beat longer."""

from __future__ import annotations

import logging

import httpx
import pytest

from alerting.heartbeat import VERDICTS_SECONDS, Heartbeat, Pulse
from tests.harness.agents_log import SetClock


@pytest.mark.parametrize(
    ("stored", "heard", "age", "trouble"),
    [
        (100.0, 100.0, 0.0, None),
        (40.0, 100.0, 0.0, None),
        (39.0, 100.0, 0.0, "what is decided cannot be stored"),
        (100.0, 100.0, VERDICTS_SECONDS, None),
        (100.0, 100.0, VERDICTS_SECONDS + 1, "alerting is 121 s behind"),
        (100.0, 100.0 - VERDICTS_SECONDS, 0.0, None),
        (100.0, 99.0 - VERDICTS_SECONDS, 0.0, "agents have given no verdict for 121 s"),
    ],
)
def test_each_trouble_has_its_words(stored: float, heard: float, age: float, trouble: str | None) -> None:
    pulse = Pulse(60.0, 0.0)
    pulse.heard(heard, age)
    pulse.stored(stored)
    assert pulse.trouble(100.0) == trouble


def test_a_process_that_stands_by_needs_no_verdicts() -> None:
    pulse = Pulse(60.0, 0.0)
    pulse.heard(0.0, 999.0)
    pulse.stands_by(500.0)
    pulse.stored(500.0)
    assert pulse.trouble(510.0) is None


def test_it_asks_while_all_is_well_and_says_once_what_is_not(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    answers = [200, 200, 500, 500, 200]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url}")
        return httpx.Response(answers.pop(0))

    clock = SetClock()
    beats = Heartbeat(
        "https://hc.example/uuid", 60.0, clock, timeout_seconds=1.0, transport=httpx.MockTransport(answer)
    )

    def alive() -> None:
        beats.pulse.stored(clock.monotonic())
        beats.pulse.heard(clock.monotonic(), 0.0)

    with caplog.at_level(logging.INFO, "alerting.heartbeat"):
        alive()
        assert beats.beat()
        clock.passed_seconds += VERDICTS_SECONDS + 1
        beats.pulse.stored(clock.monotonic())
        assert not beats.beat()
        assert not beats.beat()
        alive()
        assert beats.beat()
        assert not beats.beat()
        assert not beats.beat()
        assert beats.beat()
    assert asked == ["POST https://hc.example/uuid"] * 5
    assert [message.partition(" 121")[0] for message in caplog.messages] == [
        "alerting: no heartbeat: agents have given no verdict for",
        "alerting: the heartbeat goes on",
        "alerting: no heartbeat: who watches the heartbeat fails (status 500); trying again in 60 s",
    ]
