from __future__ import annotations

import io

import pytest

from alerting.message import Detail, Link, Message, trial_message
from alerting.parcels import SendFailed, trial
from alerting.receivers import ConsoleReceiver, text, utc
from tests.harness.parcels import parcel


def test_the_console_prints_a_message_in_a_few_lines() -> None:
    stream = io.StringIO()
    message = Message(
        "firing",
        "🔴 Critical: high latency",
        "P95 latency is 1,240 ms, limit 800 ms.",
        "news",
        details=(Detail("Scope", "model a"), Detail("Since", moment_seconds=0.0)),
        cause="mostly queue",
        action="Add workers.",
        note="ask Ada",
        links=(Link("Dashboard", "https://d.example"),),
    )
    assert ConsoleReceiver(stream).send(parcel(message)) is None
    assert stream.getvalue() == (
        "🔴 Critical: high latency\n"
        "  P95 latency is 1,240 ms, limit 800 ms.\n"
        "  scope model a; since 1970-01-01 00:00:00 UTC\n"
        "  likely cause: mostly queue\n"
        "  what to do: Add workers.\n"
        "  note: ask Ada\n"
        "  Dashboard: https://d.example\n"
    )


def test_a_console_that_is_gone_is_a_failure_and_no_crash() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(SendFailed, match="standard output is not there") as caught:
        ConsoleReceiver(stream).send(trial("console"))
    assert not caught.value.retryable


def test_times_no_calendar_knows_are_unknown() -> None:
    assert utc(1e300) == "unknown"
    assert text(trial_message("x")).count("\n") == 1
