"""`embedwatch silence` against a broker."""

from __future__ import annotations

import json
import time
from pathlib import Path

from embedwatch.events import Silence
from embedwatch.services.slack_standin import SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.silences import DAY_SECONDS
from embedwatch.silencing import forget, read, write
from tests.harness.alerting import alerting, of_alert
from tests.harness.commands import say


def test_a_silence_is_added_listed_and_ended(embedded_settings: KafkaSettings) -> None:
    kafka = embedded_settings
    assert "there is no silence" in say(kafka, "silence", "list")
    weekly = say(
        kafka, "silence", "add", "--all", "--weekdays", "sun", "--at", "02:00", "--for", "2h", "--timezone",
        "Europe/Berlin",
    )  # fmt: skip
    assert "every alert (sun 02:00 for 2 h, Europe/Berlin)" in weekly
    added = json.loads(say(kafka, "silence", "add", "--match", "model=mini*", "--for", "2h", "--by", "ada", "--json"))
    shown = say(kafka, "silence", "list")
    assert added["silence_id"] in shown
    assert "holds until" in shown
    assert "begins" in shown
    assert "has ended" in say(kafka, "silence", "end", added["silence_id"])
    assert "was over already" in say(kafka, "silence", "end", added["silence_id"])
    assert json.loads(say(kafka, "silence", "end", added["silence_id"], "--json"))["silence_id"] == added["silence_id"]
    assert "over" in say(kafka, "silence", "list")
    listed = {each["silence_id"]: each for each in json.loads(say(kafka, "silence", "list", "--json"))}
    assert listed[added["silence_id"]]["ends_seconds"] < added["ends_seconds"]
    assert len(listed) == 2
    assert "there is no silence 'nobody'" in say(kafka, "silence", "end", "nobody", code=3)


def test_old_silences_are_taken_out_of_the_topic_by_the_next_one(embedded_settings: KafkaSettings) -> None:
    kafka = embedded_settings
    settings = Settings(kafka=kafka)
    now = time.time()

    def add(name: str, ends_seconds: float) -> None:
        write(settings, Silence(name, 0.0, "ada", {"rule": name}, 0.0, ends_seconds))

    for name, ago_seconds in (("older", 30 * DAY_SECONDS), ("old", 8 * DAY_SECONDS), ("lately", 6 * DAY_SECONDS)):
        add(name, now - ago_seconds)
    say(kafka, "silence", "list")
    assert set(read(settings)) == {"older", "old", "lately"}  # who only looks changes nothing
    added = json.loads(say(kafka, "silence", "add", "--all", "--for", "2h", "--json"))["silence_id"]
    assert set(read(settings)) == {"lately", added}
    add("old", now - 8 * DAY_SECONDS)
    say(kafka, "silence", "end", added)
    assert set(read(settings)) == {"lately", added}
    assert forget(settings, now) == 0
    assert forget(settings, now + 9 * DAY_SECONDS) == 2
    assert read(settings) == {}


def test_alerting_obeys_a_silence_and_tells_what_still_fires_when_it_is_ended(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    kafka = embedded_settings
    asked = ("silence", "add", "--match", "severity=warning", "--for", "2h", "--json")
    with SlackStandIn(messages_per_second=None) as slack, alerting(kafka, slack, tmp_path) as bench:
        silence = json.loads(say(kafka, *asked))["silence_id"]
        bench.start()
        bench.say("breached", "quiet", severity="warning")
        bench.say("breached", "loud")
        bench.wait_for(lambda inbox: of_alert(inbox, "loud"))
        assert not of_alert(slack.inbox(), "quiet")
        say(kafka, "silence", "end", silence)
        bench.wait_for(lambda inbox: of_alert(inbox, "quiet"))
