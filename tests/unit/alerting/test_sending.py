from __future__ import annotations

import logging
import queue
import random
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.parcels import Job, Parcel, Result, SendFailed, Traits, trial
from alerting.sending import LONGEST_WAIT_SECONDS, MENDING_WAIT_SECONDS, Bucket, Pace, Sender
from alerting.states import Ref

AWAY = SendFailed("Slack is away", retryable=True)


def test_waits_grow_and_are_bounded() -> None:
    pace = Pace()
    waits = [pace.failed(AWAY, 0.0, jitter=1.0) for _ in range(10)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert Pace().failed(AWAY, 0.0, jitter=0.0) == 0.25
    for _ in range(5000):
        assert pace.failed(AWAY, 0.0, 1.0) == LONGEST_WAIT_SECONDS


def test_the_receiver_is_left_alone_until_then() -> None:
    pace = Pace()
    wait = pace.failed(AWAY, 100.0, 1.0)
    assert pace.not_before == 100.0 + wait
    assert pace.succeeded()
    assert pace.not_before == 0.0
    assert not pace.succeeded()
    assert pace.failed(AWAY, 200.0, 1.0) == 0.5


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_is_never_shortened(jitter: float) -> None:
    pace = Pace()
    asked = SendFailed("slow down", retryable=True, retry_after_seconds=30.0)
    assert 30.0 <= pace.failed(asked, 0.0, jitter) <= 31.0
    assert pace.not_before >= 30.0


def test_what_a_person_has_to_mend_is_tried_rarely_but_for_ever() -> None:
    pace = Pace()
    refused = SendFailed("invalid_auth", retryable=False)
    waits = [pace.failed(refused, 0.0, 1.0) for _ in range(8)]
    assert waits[0] == MENDING_WAIT_SECONDS[0]
    assert waits[-1] == MENDING_WAIT_SECONDS[1]


def test_a_fault_of_one_message_holds_up_no_other() -> None:
    pace = Pace()
    wait = pace.failed(SendFailed("too long", retryable=False, of_message=True), 50.0, 1.0)
    assert wait > 0
    assert pace.not_before == 0.0


@given(
    st.floats(0.1, 50), st.integers(1, 20), st.lists(st.floats(0, 30), min_size=1, max_size=200), st.floats(-1e6, 1e6)
)
def test_a_bucket_never_gives_more_than_its_rate(
    per_second: float, burst: int, waits: list[float], start: float
) -> None:
    bucket, now, taken = Bucket(per_second, burst), start, []
    for wait in waits:
        now += wait
        if bucket.ready(now):
            bucket.take(now)
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * per_second + 1e-3


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket, taken = Bucket(1.0, 3), []
    for tenth in range(100):
        if bucket.ready(tenth / 10):
            bucket.take(tenth / 10)
            taken.append(tenth / 10)
    assert taken == pytest.approx([0.0, 0.1, 0.2, *range(1, 10)], abs=0.11)
    assert Bucket(None, 1).ready(0.0)


def test_a_reason_is_told_once_and_again_after_a_while() -> None:
    pace = Pace()
    told = [pace.is_news("away", now) for now in (0.0, 1.0, 899.0, 900.0, 901.0)]
    assert told == [True, False, False, True, False]
    assert pace.is_news("another", 901.0)


class Scripted:
    """A receiver that does what it is told to."""

    name = "scripted"
    address = "nowhere"
    traits = Traits()

    def __init__(self, *outcomes: Any, check: Exception | None = None) -> None:
        self.outcomes = list(outcomes)
        self.check_error = check
        self.sent: list[Parcel] = []
        self.release = threading.Event()
        self.release.set()

    def check(self) -> str:
        if self.check_error is not None:
            raise self.check_error
        return "fine"

    def send(self, parcel: Parcel) -> Ref | None:
        self.release.wait(10)
        self.sent.append(parcel)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def job(number: int = 1) -> Job:
    return Job("scripted", (("a", number),), trial("x"))


def sender_of(receiver: Scripted) -> tuple[Sender, queue.SimpleQueue[Result]]:
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    return Sender(receiver, results, random.Random(1)), results


def test_a_job_comes_back_with_its_reference() -> None:
    sender, results = sender_of(Scripted(Ref("C1", "1.0")))
    assert sender.ready(0.0)
    sender.offer(job())
    assert not sender.ready(0.0)
    result = results.get(timeout=10)
    assert (result.ref, result.failure) == (Ref("C1", "1.0"), None)
    assert sender.settle(result, 0.0) is None
    assert sender.ready(0.0)
    assert sender.close(10)


def test_a_receiver_gets_no_more_than_it_takes() -> None:
    receiver = Scripted()
    receiver.traits = Traits(per_second=1.0, burst=2)
    sender, results = sender_of(receiver)
    for _ in range(2):
        assert sender.ready(100.0)
        sender.offer(job())
        assert not sender.waits_its_turn(100.0)
        sender.settle(results.get(timeout=10), 100.0)
    assert (sender.ready(100.0), sender.waits_its_turn(100.0)) == (False, True)
    assert (sender.ready(101.0), sender.waits_its_turn(101.0)) == (True, False)
    assert sender.close(10)


def test_a_bug_in_a_receiver_is_named_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    sender, results = sender_of(Scripted(KeyError("xoxb-secret-token")))
    sender.offer(job())
    result = results.get(timeout=10)
    assert result.failure is not None
    assert result.failure.retryable
    sender.settle(result, 0.0)
    assert "unexpected KeyError at test_sending.py:" in caplog.text
    assert "xoxb-secret-token" not in caplog.text + str(result.failure)
    sender.close(10)


def test_a_wrong_token_is_reported_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        sender, _ = sender_of(Scripted(check=SendFailed("Slack refuses the bot token", retryable=False)))
        assert sender.close(10)
    assert "scripted: Slack refuses the bot token; alerts are kept until it works" in caplog.text


def test_a_receiver_that_hangs_does_not_hold_up_the_end() -> None:
    receiver = Scripted()
    receiver.release.clear()
    sender, _ = sender_of(receiver)
    sender.offer(job())
    assert not sender.close(0.05)
    receiver.release.set()


def test_trouble_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    sender, results = sender_of(Scripted(AWAY, AWAY, None))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            sender.offer(job())
            sender.settle(results.get(timeout=10), 0.0)
    assert caplog.text.count("Slack is away") == 1
    assert caplog.text.count("works again") == 1
    sender.close(10)
