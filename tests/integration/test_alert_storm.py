"""A thousand alerts at once, through the real process: few messages, none lost, and the digest accounts for each."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.store import load as load_states
from embedwatch.services.slack_standin import Fault, InboxMessage, SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from tests.harness.alerting import Alerting, alerting, roots
from tests.harness.commands import say
from tests.harness.digests import sums
from tests.harness.workers import until

pytestmark = pytest.mark.timeout(240)

ALERTS = 1000
CAP_POSTS = 20  # in 5 minutes, the default
ENDED = 300
#: Of the severities in turn; a silence is on the last.
SEVERITIES = ("critical", "warning", "info")


@pytest.fixture
def bench(embedded_settings: KafkaSettings, tmp_path: Path) -> Iterator[Alerting]:
    with SlackStandIn(messages_per_second=None) as slack, alerting(embedded_settings, slack, tmp_path) as found:
        yield found


def test_a_thousand_at_once_are_few_messages_and_each_is_accounted_for(bench: Alerting) -> None:
    say(bench.kafka, "silence", "add", "--match", "severity=info", "--for", "2h")
    silenced = sum(severity_of(number) == "info" for number in range(ALERTS))
    told = ALERTS - silenced
    first = bench.start(ALERTS_DIGEST_AT=_clock(time.time() + 12 * 3600), ALERTS_CONSOLE="false")
    bench.say_all("breached", {f"a{number}": {"severity": severity_of(number)} for number in range(ALERTS)})
    bench.wait_for(lambda inbox: counted(inbox, "fire") >= told, 60)
    ended = {f"a{number}": {"severity": severity_of(number)} for number in range(ENDED)}
    bench.say_all("ok", ended)
    loud = sum(fields["severity"] != "info" for fields in ended.values())
    bench.wait_for(lambda inbox: counted(inbox, "over") >= loud, 60)
    # Not in the log: of so many lines of a kind it has the first of a minute.
    until(lambda: load_states(Settings(kafka=bench.kafka))[f"latency|a{ENDED - 1}"].status == "resolved", 60)
    bench.kill(first)
    # What fired and is over before anybody is there is told as that, in the same few messages.
    bench.say_all("breached", {"late": {}, "later": {}})
    bench.say_all("ok", {"late": {}, "later": {}})

    at = _clock(time.time() + 1)
    second = bench.start(ALERTS_DIGEST_AT=at, ALERTS_CONSOLE="false")
    bench.wait_for_line(second, "(digest)")
    bench.wait_for(lambda inbox: counted(inbox, "cleared") >= 2)
    # By itself, or with the other where the cap, which outlives a restart, leaves no room for both.
    until(lambda: not any(state.owed for state in load_states(Settings(kafka=bench.kafka)).values()), 60)
    inbox = roots(bench.slack.inbox())
    assert len(inbox) <= CAP_POSTS, [message.text for message in inbox]
    assert (counted(inbox, "fire"), counted(inbox, "over"), counted(inbox, "cleared")) == (told, loud, 2)
    states = load_states(Settings(kafka=bench.kafka))
    assert len(states) == ALERTS + 2
    open_ = {name for name, state in states.items() if state.told.get("slack") and state.told["slack"].open}
    assert open_ == {f"latency|a{n}" for n in range(ENDED, ALERTS) if severity_of(n) != "info"}
    assert not any(state.owed for state in states.values())

    (digest,) = digests(inbox)
    read = sums(sentence(digest))
    assert read.agree
    assert (read.fired, read.carried) == (ALERTS + 2, 0)
    in_bundles = {name: count for name, count in read.parts.items() if name.startswith("told in bundles")}
    alone = sum(kind_of(message) == "firing" for message in inbox)
    assert read.parts.get("told one by one", 0) == alone
    assert alone + sum(in_bundles.values()) == told
    hidden = {name: count for name, count in read.parts.items() if name.startswith("silenced")}
    assert hidden == {"silenced": ENDED - loud, "silenced for now": silenced - (ENDED - loud)}
    waiting = {name: count for name, count in read.parts.items() if name.startswith("still waiting")}
    merged = read.parts.get("told when over already, merged with its end", 0)
    assert merged + sum(waiting.values()) == 2
    still = told - loud + hidden["silenced for now"]
    assert digest.text.startswith(f"📋 Digest: {ALERTS + 2:,} alerts fired, {ENDED + 2} resolved, {still} still fire")

    bench.kill(second)
    third = bench.start(ALERTS_DIGEST_AT=at, ALERTS_CONSOLE="false")
    bench.say("breached", "probe")
    bench.wait_for_line(third, "slack: told of latency|probe (firing)")
    assert len(digests(bench.slack.inbox())) == 1, "told twice"


def test_a_digest_whose_answer_is_lost_with_its_sender_is_not_told_twice(bench: Alerting) -> None:
    first = bench.start(ALERTS_DIGEST_AT=_clock(time.time() + 12 * 3600))
    bench.say("breached")
    bench.wait_for_line(first, "slack: told of latency|all (firing)")
    bench.kill(first)
    bench.slack.fail_next([Fault("hang", seconds=20, method="chat.postMessage")])
    at = _clock(time.time() + 1)
    second = bench.start(ALERTS_DIGEST_AT=at, ALERTS_SEND_TIMEOUT_SECONDS="60")
    bench.wait_for(digests)
    bench.kill(second)
    assert "slack: told of digest|0 (digest)" not in bench.logs()
    third = bench.start(ALERTS_DIGEST_AT=at)
    bench.wait_for_line(third, "slack: told of digest|0 (digest)")
    (digest,) = digests(bench.slack.inbox())
    assert sums(sentence(digest)).fired == 1


def severity_of(number: int) -> str:
    return SEVERITIES[number % len(SEVERITIES)]


def digests(inbox: list[InboxMessage]) -> list[InboxMessage]:
    return [message for message in roots(inbox) if message.text.startswith("📋 Digest")]


def sentence(message: InboxMessage) -> str:
    return str(message.blocks[1]["text"]["text"])


def kind_of(message: InboxMessage) -> str:
    """As it was posted."""
    return str(message.metadata["event_payload"]["kind"]) if message.metadata else ""


def counted(inbox: list[InboxMessage], what: str) -> int:
    """Of how many alerts Slack's messages say that they fire, are over, or fired and are over.

    A single one's message is edited when it is over: it has said both.
    """
    words = {"fire": r"fires?", "over": r"(?:is|are) over", "cleared": r"fired and (?:is|are) over"}
    total = 0
    for message in roots(inbox):
        kind = kind_of(message)
        if kind != "bundle":
            over = message.text.startswith("✅ Resolved")
            total += {"fire": kind == "firing", "over": over, "cleared": kind == "cleared"}[what]
            continue
        title = message.text.split(": They came at once")[0]
        found = re.search(rf"([\d,]+) (?:alerts )?{words[what]}\b", title)
        total += int(found[1].replace(",", "")) if found else 0
    return total


def _clock(seconds: float) -> str:
    """A time of day in UTC, where the day of these processes begins."""
    return time.strftime("%H:%M:%S", time.gmtime(seconds))
