"""The Slack receivers against the stand-in, over real HTTP on the loopback interface."""

from __future__ import annotations

import logging
import queue
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from alerting.message import Message
from alerting.parcels import Job, Result, SendFailed, trial
from alerting.receivers import Receiver
from alerting.sending import Sender
from alerting.slack import SlackBot, SlackWebhook
from alerting.states import Ref
from embedwatch.processes import free_port
from embedwatch.services.slack_standin import Fault, SlackStandIn
from tests.harness.parcels import parcel
from tests.harness.waiting import eventually

TOKEN = "xoxb-1234-verysecret"


def bot(
    slack: SlackStandIn, token: str = TOKEN, channel: str = "#embedwatch", timeout_seconds: float = 5.0
) -> SlackBot:
    return SlackBot(token, channel, api_url=slack.api_url, timeout_seconds=timeout_seconds)


def webhook(slack: SlackStandIn) -> SlackWebhook:
    return SlackWebhook(slack.webhook_url, timeout_seconds=5.0)


def message(kind: Any = "firing", title: str = "🔴 Critical: high latency") -> Message:
    return Message(kind, title, "P95 latency is 1,240 ms.", f"news of {kind}", alert_id="rule|all", episode=1)


def test_a_firing_message_is_posted_with_blocks_text_and_the_alerts_id(slack: SlackStandIn) -> None:
    ref = bot(slack).send(parcel(message()))
    (posted,) = slack.inbox()
    assert ref == Ref(posted.channel, posted.ts)
    assert posted.channel_name == "embedwatch"
    assert posted.text == "🔴 Critical: high latency: P95 latency is 1,240 ms."
    assert [block["type"] for block in posted.blocks] == ["header", "section", "context"]
    assert posted.metadata is not None
    payload = posted.metadata["event_payload"]
    assert posted.metadata["event_type"] == "embedwatch_alert"
    assert {name: payload[name] for name in ("alert_id", "episode", "kind")} == {
        "alert_id": "rule|all",
        "episode": 1,
        "kind": "firing",
    }


@pytest.mark.parametrize("kind", ["resolved", "repeat", "no_data", "data_back"])
def test_news_edits_the_message_and_adds_a_line_to_its_thread(slack: SlackStandIn, kind: str) -> None:
    receiver = bot(slack)
    ref = receiver.send(parcel(message()))
    assert receiver.send(parcel(message(kind, "✅ changed"), ref)) == ref
    root, reply = slack.inbox()
    assert root.text.startswith("✅ changed")
    assert [edit.text for edit in root.edits] == ["🔴 Critical: high latency: P95 latency is 1,240 ms."]
    assert (reply.thread_ts, reply.text) == (root.ts, f"news of {kind}")
    assert reply.reply_broadcast == (kind == "repeat")


def test_fired_and_cleared_is_a_message_of_its_own(slack: SlackStandIn) -> None:
    assert bot(slack).send(parcel(message("cleared"))) is not None
    (posted,) = slack.inbox()
    assert posted.thread_ts is None


NOT_CHANGED = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "is_archived",
    "channel_not_found",
    "not_in_channel",
    "restricted_action",
    "something_new",
]


@pytest.mark.parametrize("error", NOT_CHANGED)
def test_a_message_that_cannot_be_edited_is_said_anew(slack: SlackStandIn, error: str) -> None:
    receiver = bot(slack)
    ref = receiver.send(parcel(message()))
    slack.fail_next([Fault("error", error=error, method="chat.update")])
    new = receiver.send(parcel(message("resolved"), ref))
    assert new is not None
    assert new != ref
    assert len(slack.inbox()) == 2
    assert slack.inbox()[1].thread_ts is None


def test_an_alert_whose_channel_is_gone_holds_up_no_other(slack: SlackStandIn) -> None:
    """It fired in a channel that was archived since; alerting was restarted with another one, and it ends."""
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    sender = Sender(bot(slack, channel="#alerts"), results, random.Random(1))
    ended, other = parcel(message("resolved"), Ref("C0GONE", "1.000000")), parcel(message(), number=2)
    for number, each in enumerate((ended, other)):
        assert sender.ready(time.monotonic())
        sender.offer(Job("slack", ((f"alert {number}", 1),), each))
        result = results.get(timeout=20)
        assert sender.settle(result, time.monotonic()) is None
        assert result.ref is not None
        assert result.ref.channel != "C0GONE"
    assert sender.close(10)
    assert [posted.channel_name for posted in slack.inbox()] == ["alerts", "alerts"]


@pytest.mark.parametrize("error", ["is_archived", "channel_not_found", "invalid_auth"])
def test_only_a_refused_post_is_the_receivers_fault(slack: SlackStandIn, error: str) -> None:
    faults = [Fault("error", error=error, method=method) for method in ("chat.update", "chat.postMessage")]
    slack.fail_next(faults)
    with pytest.raises(SendFailed, match=error) as caught:
        bot(slack).send(parcel(message("resolved"), Ref("C000000001", "1.000000")))
    assert not caught.value.of_message
    assert [each.method for each in slack.requests()] == ["chat.update", "chat.postMessage"]


@pytest.mark.parametrize("error", ["internal_error", "msg_too_long"])
def test_an_edit_that_may_work_later_or_is_wrong_in_itself_is_not_said_anew(slack: SlackStandIn, error: str) -> None:
    slack.fail_next([Fault("error", error=error, method="chat.update")])
    with pytest.raises(SendFailed, match=error):
        bot(slack).send(parcel(message("resolved"), Ref("C000000001", "1.000000")))
    assert slack.inbox() == []


def test_a_message_someone_deleted_is_said_anew(slack: SlackStandIn) -> None:
    assert bot(slack).send(parcel(message("resolved"), Ref("C000000001", "1.000000"))) is not None
    assert len(slack.inbox()) == 1


@pytest.mark.parametrize("error", ["invalid_blocks", "msg_blocks_too_long"])
def test_a_refused_layout_is_sent_as_plain_text(slack: SlackStandIn, error: str) -> None:
    for receiver, method in ((bot(slack), "chat.postMessage"), (webhook(slack), "webhook")):
        slack.fail_next([Fault("error", error=error, method=method)])
        receiver.send(parcel(message()))
    assert [(m.via, m.blocks) for m in slack.inbox()] == [("bot", []), ("webhook", [])]


def test_a_webhook_only_posts(slack: SlackStandIn) -> None:
    receiver = webhook(slack)
    assert receiver.send(parcel(message())) is None
    assert receiver.send(parcel(message("resolved"))) is None
    assert [(m.via, m.thread_ts, m.edits) for m in slack.inbox()] == [("webhook", None, [])] * 2


def test_check_asks_without_posting(slack: SlackStandIn) -> None:
    assert bot(slack).check() == "Slack knows the token: embedwatch of stand-in"
    with pytest.raises(SendFailed, match="Slack refuses the bot token") as caught:
        bot(slack, "xoxb-invalid").check()
    assert not caught.value.retryable
    assert slack.inbox() == []


FAULTS: list[tuple[Fault, str, bool, float | None]] = [
    (Fault("rate_limited", retry_after_seconds=7), "asks to wait 7 s", True, 7.0),
    (Fault("status", status=500), "status 500", True, None),
    (Fault("status", status=503), "status 503", True, None),
    (Fault("status", status=404), "status 404", False, None),
    (Fault("drop"), "connection to Slack was dropped", True, None),
    (Fault("drop_after"), "connection to Slack was dropped", True, None),
    (Fault("slow", seconds=2.5), "does not answer in time", True, None),
    (Fault("hang", seconds=2.5), "does not answer in time", True, None),
    (Fault("status_after", status=502), "status 502", True, None),
]
IN_DOUBT = ("status 50", "dropped", "in time")


@pytest.mark.parametrize(("fault", "words", "retryable", "retry_after"), FAULTS, ids=[f[0].kind for f in FAULTS])
@pytest.mark.parametrize("kind", ["bot", "webhook"])
def test_one_attempt_is_made_and_its_failure_explained(
    slack: SlackStandIn, kind: str, fault: Fault, words: str, retryable: bool, retry_after: float | None
) -> None:
    receiver: Receiver = bot(slack, timeout_seconds=1.0)
    if kind == "webhook":
        receiver = SlackWebhook(slack.webhook_url, timeout_seconds=1.0)
    slack.fail_next([fault])
    with pytest.raises(SendFailed, match=words) as caught:
        receiver.send(parcel(message()))
    assert (caught.value.retryable, caught.value.retry_after_seconds) == (retryable, retry_after)
    assert caught.value.in_doubt == any(part in words for part in IN_DOUBT)
    if fault.kind not in ("slow", "hang"):  # it is still being answered
        assert len(slack.requests()) == 1
    assert len(slack.inbox()) == (1 if fault.kind in ("drop_after", "hang", "status_after") else 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"token": "xoxb-invalid"}, "invalid_auth"),
        ({"channel": "#nowhere"}, "channel_not_found"),
    ],
)
def test_what_slack_refuses_is_told_in_words(slack: SlackStandIn, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(SendFailed, match=words) as caught:
        bot(slack, **arguments).send(parcel(message()))  # type: ignore[arg-type]
    assert not caught.value.retryable


def test_a_page_that_is_not_slack_is_called_so(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("status", status=200)])
    with pytest.raises(SendFailed, match="not Slack"):
        bot(slack).send(parcel(message()))
    slack.fail_next([Fault("status", status=200)])
    with pytest.raises(SendFailed, match="not Slack"):
        webhook(slack).send(parcel(message()))


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    receiver = SlackBot(TOKEN, "#c", api_url=f"http://127.0.0.1:{free_port()}/api/", timeout_seconds=1.0)
    with pytest.raises(SendFailed, match="refuses the connection") as caught:
        receiver.send(parcel(message()))
    assert caught.value.retryable


def test_an_edit_that_worked_is_harmless_to_repeat(slack: SlackStandIn) -> None:
    """The edit arrived, the line for the thread did not: all is done again, and there is one line."""
    receiver = bot(slack)
    ref = receiver.send(parcel(message()))
    slack.fail_next([Fault("rate_limited", method="chat.postMessage")])
    with pytest.raises(SendFailed):
        receiver.send(parcel(message("resolved"), ref))
    receiver.send(parcel(message("resolved"), ref))
    assert len(slack.inbox()) == 2


def _every_path(slack: SlackStandIn) -> list[tuple[str, Callable[[], object]]]:
    ref = Ref("C000000001", "1.000000")
    dead = f"http://127.0.0.1:{free_port()}"
    secret_path = slack.webhook_url.removeprefix(slack.url)
    return [
        ("bot", lambda: bot(slack, timeout_seconds=1.0).send(parcel(message()))),
        ("bot edit", lambda: bot(slack, timeout_seconds=1.0).send(parcel(message("resolved"), ref))),
        ("bot check", lambda: bot(slack, timeout_seconds=1.0).check()),
        ("webhook", lambda: SlackWebhook(slack.webhook_url, timeout_seconds=1.0).send(parcel(message()))),
        ("dead bot", lambda: SlackBot(TOKEN, "#c", api_url=f"{dead}/", timeout_seconds=1.0).send(parcel(message()))),
        ("dead webhook", lambda: SlackWebhook(dead + secret_path, timeout_seconds=1.0).send(parcel(message()))),
        ("no webhook", lambda: SlackWebhook("x" + slack.webhook_url, timeout_seconds=1.0).send(parcel(message()))),
    ]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_no_secret_is_in_any_log_error_or_repr(
    slack: SlackStandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], level: int
) -> None:
    """Over every path a request can take, with every library's log at its most talkative."""
    caplog.set_level(level)
    for name in ("slack_sdk", "urllib3", "asyncio", "alerting"):
        caplog.set_level(level, logger=name)
    secrets = ("verysecret", slack.webhook_url.rsplit("/", 1)[1])
    seen: list[str] = [repr(bot(slack)), repr(webhook(slack)), bot(slack).address, webhook(slack).address]
    faults = [
        None,
        *(fault for fault, *_ in FAULTS if fault.kind not in ("slow", "hang")),
        Fault("error", error="invalid_auth"),
    ]
    for fault in faults:
        for _, path in _every_path(slack):
            slack.clear_faults()
            if fault is not None:
                slack.fail_next([fault])
            try:
                seen.append(repr(path()))
            except SendFailed as error:
                chained = [error.__cause__, None if error.__suppress_context__ else error.__context__]
                seen += [str(error), repr(error), *(repr(e) for e in chained if e is not None)]
    output = capfd.readouterr()
    everything = "\n".join([*seen, caplog.text, output.out, output.err])
    assert not [secret for secret in secrets if secret in everything]


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, dead)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "example.org")
    bot(slack).send(parcel(message()))
    webhook(slack).send(parcel(message()))
    assert len(slack.inbox()) == 2


def test_a_test_message_reaches_the_channel(slack: SlackStandIn) -> None:
    bot(slack).send(trial("slack"))
    (posted,) = slack.inbox()
    assert posted.text.startswith("🧪 Test message of embedwatch")
    assert posted.metadata is None


def test_slack_never_has_to_ask_to_slow_down() -> None:
    """The stand-in takes one a second, five at once, as Slack does; what we send stays below that by itself."""
    with SlackStandIn() as slack:
        results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        sender = Sender(bot(slack), results, random.Random(1))
        for number in range(7):
            assert eventually(lambda: sender.ready(time.monotonic()))
            sender.offer(Job("slack", (("a", number),), parcel(message(), number=number)))
            sender.settle(results.get(timeout=20), time.monotonic())
        assert sender.close(10)
        assert [each.status for each in slack.requests() if each.method == "chat.postMessage"] == [200] * 7
