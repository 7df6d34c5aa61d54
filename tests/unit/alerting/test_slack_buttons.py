"""Buttons under an alert, from the message to the act that is kept, through slack-sdk's own Socket Mode client."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.checks import check_receivers
from alerting.message import compose
from alerting.parcels import Parcel, pack, trial
from alerting.slack import SlackBot
from alerting.slack_blocks import render
from alerting.slack_buttons import ACKNOWLEDGE, OPEN, SNOOZE_HOUR, SNOOZE_TOMORROW, actions, asked, tomorrow
from alerting.slack_socket import Buttons
from alerting.slack_wiring import app_token
from alerting.states import Facts, Kind, Owed, Ref
from embedwatch.clock import SystemClock
from embedwatch.codec import decode_action, encode
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.events import AlertAction
from embedwatch.processes import free_port
from embedwatch.services.slack_rules import check_message
from embedwatch.services.slack_socket import press
from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import load
from tests.harness.verdicts import verdict
from tests.harness.waiting import eventually

BERLIN = ZoneInfo("Europe/Berlin")
APP_TOKEN = "xapp-1-A0-verysecret"


def parcel(
    kind: Kind = "firing", ref: Ref | None = None, url: str | None = "https://dash.example/?a=1", **fields: Any
) -> Parcel:
    facts = Facts(breach=verdict(**fields), since_seconds=1000.0, fired_at_seconds=1000.0)
    owed = Owed(1, "slack", kind, 3, 1000.0, facts)
    return pack(facts.breach.alert_id, owed, compose(owed, url), ref)


def pressed(**fields: Any) -> dict[str, Any]:
    """What Slack sends for a press at second 5000."""
    action = {
        "action_id": ACKNOWLEDGE,
        "value": '{"alert_id":"a","episode":3}',
        "action_ts": "5000.5",
        "type": "button",
    }
    return {
        "type": "block_actions",
        "user": {"id": "U1", "username": "ada"},
        "container": {"channel_id": "C1", "message_ts": "1.0"},
        "actions": [action | fields],
    }


# --- pure ---


def test_an_alert_can_be_acknowledged_snoozed_and_looked_at() -> None:
    block = actions(parcel())
    assert block is not None
    assert [(each["action_id"], each["text"]["text"]) for each in block["elements"]] == [
        (ACKNOWLEDGE, "Acknowledge"),
        (SNOOZE_HOUR, "Snooze 1 h"),
        (SNOOZE_TOMORROW, "Snooze until tomorrow 08:00"),
        (OPEN, "Open dashboard"),
    ]
    assert block["elements"][3]["url"] == "https://dash.example/?a=1"


def test_only_a_dashboard_is_opened_as_one() -> None:
    """Where none is set the runbook is the first link."""
    for url, expected in ((None, None), ("https://dash.example/?a=1", "https://dash.example/?a=1")):
        sent = parcel(url=url, runbook="https://wiki.example/latency")
        assert any(link.url == "https://wiki.example/latency" for link in sent.message.links)
        block = actions(sent)
        assert block is not None
        opened = [each["url"] for each in block["elements"] if each["action_id"] == OPEN]
        assert opened == ([] if expected is None else [expected])


@pytest.mark.parametrize("kind", ["resolved", "cleared"])
def test_what_is_over_has_no_buttons(kind: Kind) -> None:
    assert actions(parcel(kind)) is None
    assert actions(trial("slack")) is None


@given(st.text(max_size=256), st.text(max_size=200))
def test_a_press_names_the_alert_whatever_it_is_called(alert_id: str, tenant: str) -> None:
    sent = parcel(alert_id=alert_id, scope={"tenant": tenant})
    block = actions(sent)
    text, blocks = render(sent.message, (), block)
    assert check_message(text, blocks) is None
    assert block is not None
    action = asked(pressed(value=block["elements"][0]["value"]), 5001.0, UTC)
    assert action is not None
    assert (action.alert_id, action.episode) == (alert_id, 3)
    assert decode_action(encode(action)) == action


def test_what_is_pressed_is_what_is_asked() -> None:
    expected = AlertAction("slack-U1-C1-1.0-5000.5", 5000.5, "a", 3, "acknowledge", "ada", "slack")
    assert asked(pressed(), 5001.0, UTC) == expected
    hour = asked(pressed(action_id=SNOOZE_HOUR), 5001.0, UTC)
    assert hour is not None
    assert (hour.do, hour.until_seconds) == ("snooze", 5000.5 + 3600)
    day = asked(pressed(action_id=SNOOZE_TOMORROW), 5001.0, UTC)
    assert day is not None
    assert day.until_seconds == datetime(1970, 1, 2, 8, tzinfo=UTC).timestamp()


def test_a_press_that_comes_twice_is_one_act() -> None:
    assert asked(pressed(), 5001.0, UTC) == asked(pressed(), 5900.0, UTC)
    other = asked(pressed(action_ts="5002.0"), 5003.0, UTC)
    first = asked(pressed(), 5001.0, UTC)
    assert other is not None
    assert first is not None
    assert other.action_id != first.action_id


@pytest.mark.parametrize("value", ["x", None, "nan", "1e30", "5000000"])
def test_a_time_that_cannot_be_is_now(value: Any) -> None:
    action = asked(pressed(action_ts=value), 5001.0, UTC)
    assert action is not None
    assert action.time_seconds == 5001.0


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "view_submission"},
        {"type": "block_actions", "actions": "x"},
        {"type": "block_actions", "actions": []},
        pressed(action_id=OPEN),
        pressed(action_id="somebody.elses"),
        pressed(value="no json"),
        pressed(value='{"alert_id":1}'),
        pressed(value=f'{{"alert_id":"{"x" * 257}","episode":1}}'),  # the topic takes no longer one
        pressed(value='{"alert_id":"\ud800","episode":1}'),
    ],
)
def test_what_is_not_ours_asks_for_nothing(payload: dict[str, Any]) -> None:
    assert asked(payload, 5000.0, UTC) is None


def test_names_are_cleaned_and_clipped() -> None:
    payload = pressed() | {"user": {"id": "U1", "username": "x" * 5000}}
    action = asked(payload, 5000.0, UTC)
    assert action is not None
    assert len(action.by) <= 100
    assert decode_action(encode(action)) == action
    nameless = asked(pressed() | {"user": None}, 5000.0, UTC)
    assert nameless is not None
    assert nameless.by == "somebody"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-28T23:00:00+01:00", "2026-03-29T08:00:00+02:00"),  # the clock goes forward in that night
        ("2026-10-24T23:00:00+02:00", "2026-10-25T08:00:00+01:00"),  # and back
        ("2026-06-01T00:00:00+02:00", "2026-06-02T08:00:00+02:00"),
    ],
)
def test_tomorrow_is_on_the_budgets_clock(now: str, expected: str) -> None:
    at = datetime.fromisoformat(now).timestamp()
    assert tomorrow(at, BERLIN) == datetime.fromisoformat(expected).timestamp()


# --- through Slack ---


class Pressing:
    """The bot and what hears its buttons. `acts` are what was kept; `refuse` makes keeping fail."""

    def __init__(self, slack: SlackStandIn, token: str = APP_TOKEN) -> None:
        self.acts: queue.SimpleQueue[AlertAction] = queue.SimpleQueue()
        self.refuse = threading.Event()
        self.bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5, buttons=True)
        self.buttons = Buttons(
            token, api_url=slack.api_url, timeout_seconds=5, publish=self._keep, clock=SystemClock(), zone=BERLIN
        )

    def _keep(self, action: AlertAction) -> None:
        if self.refuse.is_set():
            raise ConnectionFailed("Kafka at broker: the act could not be stored: it is away")
        self.acts.put(action)


@pytest.fixture
def pressing(slack: SlackStandIn) -> Iterator[Pressing]:
    found = Pressing(slack)
    found.buttons.start()
    assert eventually(lambda: slack.socket_connections == 1)
    yield found
    found.buttons.stop()


def test_a_press_is_kept_and_then_acknowledged(slack: SlackStandIn, pressing: Pressing) -> None:
    pressing.bot.send(parcel())
    assert slack.press(slack.inbox()[0], ACKNOWLEDGE, "grace")
    action = pressing.acts.get(timeout=10)
    assert (action.do, action.by, action.alert_id) == ("acknowledge", "grace", "latency_p95_ms|model=minilm")


def test_opening_the_dashboard_is_acknowledged_and_asks_for_nothing(slack: SlackStandIn, pressing: Pressing) -> None:
    pressing.bot.send(parcel())
    assert slack.press(slack.inbox()[0], OPEN)
    assert pressing.acts.empty()


def test_a_press_that_cannot_be_kept_is_not_acknowledged_and_comes_again(
    slack: SlackStandIn, pressing: Pressing, caplog: pytest.LogCaptureFixture
) -> None:
    pressing.bot.send(parcel())
    payload = press(slack.inbox()[0], SNOOZE_HOUR, "ada")
    pressing.refuse.set()
    assert not slack.deliver(payload, 0.5)
    assert "ada's press of a button is not kept: Kafka at broker" in caplog.text
    pressing.refuse.clear()
    assert slack.deliver(payload)
    assert slack.deliver(payload)
    assert pressing.acts.get(timeout=10) == pressing.acts.get(timeout=10)


@pytest.mark.parametrize("lose", [SlackStandIn.refresh_sockets, SlackStandIn.drop_sockets])
def test_the_connection_is_made_again(
    slack: SlackStandIn, pressing: Pressing, lose: Callable[[SlackStandIn], None]
) -> None:
    pressing.bot.send(parcel())
    before = opened(slack)
    lose(slack)
    assert eventually(lambda: opened(slack) > before and slack.socket_connections == 1)
    assert eventually(lambda: slack.press(slack.inbox()[0], ACKNOWLEDGE, timeout_seconds=1))
    assert pressing.acts.get(timeout=10).do == "acknowledge"


def opened(slack: SlackStandIn) -> int:
    return sum(each.method == "apps.connections.open" and each.status == 200 for each in slack.requests())


def test_without_buttons_a_message_has_none(slack: SlackStandIn) -> None:
    SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5).send(parcel())
    assert "actions" not in [block["type"] for block in slack.inbox()[0].blocks]


def test_an_end_takes_the_buttons_away(slack: SlackStandIn) -> None:
    bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5, buttons=True)
    ref = bot.send(parcel())
    assert "actions" in [block["type"] for block in slack.inbox()[0].blocks]
    bot.send(parcel("resolved", ref))
    assert "actions" not in [block["type"] for block in slack.inbox()[0].blocks]


@pytest.mark.parametrize(
    ("token", "fault", "words"),
    [
        ("xapp-invalid", None, "Slack refuses the app token: set EMBEDWATCH_ALERTS_SLACK_APP_TOKEN"),
        (APP_TOKEN, Fault("status", status=503), "status 503"),
        (APP_TOKEN, Fault("drop"), "connection to Slack was dropped"),
    ],
)
def test_why_buttons_do_not_work_is_said_once_and_without_the_token(
    slack: SlackStandIn, caplog: pytest.LogCaptureFixture, token: str, fault: Fault | None, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    slack.fail_next([] if fault is None else [fault])
    found = Pressing(slack, token)
    found.buttons.start()
    assert eventually(lambda: words in caplog.text)
    found.buttons.stop()
    assert caplog.text.count("buttons do not work") == 1
    assert "verysecret" not in caplog.text


def test_it_stops_while_slack_is_away(slack: SlackStandIn) -> None:
    dead = f"http://127.0.0.1:{free_port()}/api/"
    found = Buttons(APP_TOKEN, api_url=dead, timeout_seconds=1, publish=print, clock=SystemClock(), zone=UTC)
    found.start()
    found.stop()
    assert not found.alive


# --- configuration ---


def test_an_app_token_is_checked_at_the_start() -> None:
    environ = {"EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN": "xoxb-1", "EMBEDWATCH_ALERTS_SLACK_APP_TOKEN": APP_TOKEN}
    assert app_token(load(None, {}, environ)) == APP_TOKEN
    assert app_token(load(None, {}, {})) is None
    with pytest.raises(ConfigError, match="is not an app token") as caught:
        app_token(load(None, {}, environ | {"EMBEDWATCH_ALERTS_SLACK_APP_TOKEN": "xoxb-verysecret"}))
    assert "verysecret" not in str(caught.value)
    del environ["EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN"]
    with pytest.raises(ConfigError, match="buttons stand only under messages of a bot"):
        app_token(load(None, {}, environ))


def test_the_check_asks_whether_buttons_would_work(slack: SlackStandIn) -> None:
    def found(token: str) -> list[tuple[str, str]]:
        environ = {
            "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN": "xoxb-1",
            "EMBEDWATCH_ALERTS_SLACK_APP_TOKEN": token,
            "EMBEDWATCH_ALERTS_SLACK_API_URL": slack.api_url,
        }
        return [(each.name, each.state) for each in check_receivers(load(None, {}, environ))]

    assert found(APP_TOKEN) == [("slack buttons", "ok"), ("slack", "ok")]
    assert found("xapp-invalid") == [("slack buttons", "failed"), ("slack", "ok")]
