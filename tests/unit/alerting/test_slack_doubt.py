"""Messages whose answer was lost: with the bot none comes twice, whatever was lost and however it was merged since."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from alerting.bundle_words import compose_bundle
from alerting.message import Message, compose
from alerting.parcels import Parcel, SendFailed, pack, pack_bundle
from alerting.slack import SlackBot
from alerting.slack_api import SlackApi
from alerting.slack_lookup import Lookup, metadata
from alerting.states import Facts, Kind, Owed, Ref
from embedwatch.services.slack_standin import Fault, SlackStandIn
from tests.harness.verdicts import verdict

LOST = [
    Fault("drop_after"),
    Fault("hang", seconds=3),
    Fault("status_after", status=500),
    Fault("status_after", status=504),
]
NOT_TAKEN = [Fault("drop"), Fault("status", status=503), Fault("error", error="internal_error")]
IDS = [f"{fault.kind}-{fault.status}" for fault in LOST]


def bot(slack: SlackStandIn, channel: str = "#embedwatch") -> SlackBot:
    return SlackBot("xoxb-1", channel, api_url=slack.api_url, timeout_seconds=1.0)


def parcel(kind: Kind = "firing", number: int = 1, episode: int = 1, ref: Ref | None = None) -> Parcel:
    now = time.time()
    facts = Facts(breach=verdict("breached", now), since_seconds=now, fired_at_seconds=1000.0)
    owed = Owed(number, "slack", kind, episode, now, facts)
    return pack(facts.breach.alert_id, owed, compose(owed), ref)


def send_again(receiver: SlackBot, sent: Parcel) -> Ref | None:
    with pytest.raises(SendFailed) as caught:
        receiver.send(sent)
    assert caught.value.in_doubt
    return receiver.send(replace(sent, doubtful=True))


@pytest.mark.parametrize("fault", LOST, ids=IDS)
def test_a_message_that_arrived_is_found_and_not_sent_again(slack: SlackStandIn, fault: Fault) -> None:
    slack.fail_next([on(fault, "chat.postMessage")])
    ref = send_again(bot(slack), parcel())
    (posted,) = slack.inbox()
    assert ref == Ref(posted.channel, posted.ts)


@pytest.mark.parametrize("fault", NOT_TAKEN, ids=[fault.kind for fault in NOT_TAKEN])
def test_a_message_that_did_not_arrive_is_sent_again(slack: SlackStandIn, fault: Fault) -> None:
    slack.fail_next([on(fault, "chat.postMessage")])
    ref = send_again(bot(slack), parcel())
    (posted,) = slack.inbox()
    assert ref == Ref(posted.channel, posted.ts)


@pytest.mark.parametrize("fault", LOST, ids=IDS)
@pytest.mark.parametrize("method", ["chat.update", "chat.postMessage"])
def test_news_in_the_thread_come_once(slack: SlackStandIn, fault: Fault, method: str) -> None:
    receiver = bot(slack)
    ref = receiver.send(parcel())
    slack.fail_next([on(fault, method)])
    assert send_again(receiver, parcel("resolved", 2, ref=ref)) == ref
    root, reply = slack.inbox()
    assert root.text.startswith("✅")
    assert reply.thread_ts == root.ts


def test_what_was_merged_since_ends_the_message_that_arrived(slack: SlackStandIn) -> None:
    """It fired (answer lost) and cleared: the outbox made "fired and cleared" of both, under a new number."""
    receiver = bot(slack)
    slack.fail_next([Fault("drop_after")])
    with pytest.raises(SendFailed):
        receiver.send(parcel())
    ref = receiver.send(replace(parcel("cleared", 2), doubtful=True))
    root, reply = slack.inbox()
    assert ref == Ref(root.channel, root.ts)
    assert root.text.startswith("✅ Fired and cleared")
    assert reply.thread_ts == root.ts


def test_a_new_episode_is_a_message_of_its_own(slack: SlackStandIn) -> None:
    receiver = bot(slack)
    receiver.send(parcel())
    receiver.send(replace(parcel(number=3, episode=2), doubtful=True))
    assert len(slack.inbox()) == 2


def test_another_process_finds_it_by_the_channels_name(slack: SlackStandIn) -> None:
    sent = parcel()
    ref = bot(slack).send(sent)
    assert bot(slack).send(replace(sent, doubtful=True)) == ref
    assert bot(slack, "C000000001").send(replace(sent, doubtful=True)) == ref
    assert len(slack.inbox()) == 1


def test_it_is_found_behind_many_others(slack: SlackStandIn) -> None:
    sent = parcel()
    receiver = bot(slack)
    ref = receiver.send(sent)
    for number in range(450):
        slack.post_as_other(f"talk {number}")
    assert receiver.send(replace(sent, doubtful=True)) == ref


def test_a_message_of_another_app_is_not_taken_for_ours(slack: SlackStandIn) -> None:
    sent = parcel()
    receiver = bot(slack)
    receiver.send(sent)
    forged = parcel(number=7, episode=7)
    slack.post_as_other("x", metadata={"event_type": "embedwatch_alert", "event_payload": payload_of(forged)})
    receiver.send(replace(forged, doubtful=True))
    assert [message.via for message in slack.inbox()] == ["bot", "other", "bot"]


@pytest.mark.parametrize(
    "fault",
    [Fault("rate_limited", retry_after_seconds=3), Fault("drop"), Fault("status", status=503)],
    ids=["rate_limited", "drop", "status"],
)
def test_while_slack_cannot_say_nothing_is_sent(slack: SlackStandIn, fault: Fault) -> None:
    slack.fail_next([on(fault, "conversations.history")])
    with pytest.raises(SendFailed, match="whether the message arrived is not known yet") as caught:
        bot(slack).send(replace(parcel(), doubtful=True))
    assert (caught.value.in_doubt, caught.value.retryable) == (True, True)
    assert caught.value.retry_after_seconds == (3.0 if fault.kind == "rate_limited" else None)
    assert slack.inbox() == []


def bundle(kind: Kind = "firing", name: str = "bundle|1") -> Parcel:
    now = time.time()
    facts = Facts(breach=verdict("breached", now), since_seconds=now, fired_at_seconds=1000.0)
    owed = [Owed(number, "slack", kind, 1, now, facts, bundle=name) for number in range(3)]
    return pack_bundle(name, compose_bundle(owed), owed)


def test_many_in_one_message_come_once_too(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("drop_after")])
    send_again(bot(slack), bundle())
    (posted,) = slack.inbox()
    assert "3 alerts fire" in posted.text
    bot(slack).send(replace(bundle("resolved", "bundle|2"), doubtful=True))
    assert len(slack.inbox()) == 2


def test_an_app_that_may_not_read_sends_again_and_says_why_once(
    slack: SlackStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    slack.take_scopes("channels:history", "groups:history")
    receiver = bot(slack)
    assert "it lacks the scope channels:history" in receiver.check()
    for number in (1, 2):
        receiver.send(replace(parcel(number=number), doubtful=True))
    assert len(slack.inbox()) == 2
    assert caplog.text.count("give it the scope channels:history") == 1


def test_many_in_doubt_are_looked_up_together(slack: SlackStandIn) -> None:
    """After a restart each message owed is in doubt, and Slack takes 50 reads a minute."""
    clock = [100.0]
    api = SlackApi("xoxb-1", api_url=slack.api_url, timeout_seconds=5)
    lookup = Lookup(api, "#embedwatch", lambda: clock[0])
    for number in range(30):
        assert lookup.message(parcel(number=number)) is None
    assert reads(slack) == 1
    clock[0] += 3.0
    lookup.message(parcel())
    assert reads(slack) == 2
    lookup.forget()
    lookup.message(parcel())
    assert reads(slack) == 3


def reads(slack: SlackStandIn) -> int:
    return sum(request.method == "conversations.history" for request in slack.requests())


def on(fault: Fault, method: str) -> Fault:
    return structs.replace(fault, method=method)


def payload_of(wanted: Parcel) -> dict[str, Any]:
    found = metadata(wanted)
    assert found is not None
    payload: dict[str, Any] = found["event_payload"]
    return payload


def test_a_test_message_carries_nothing_to_be_found_by() -> None:
    assert metadata(Parcel(Message("test", "t", "s", "n"), "k", "k|0")) is None
