"""No secret of alerting is in a log line, an error or a `repr`, whatever goes wrong: one test over all receivers."""

from __future__ import annotations

import base64
import json
import logging
import queue
import random
import traceback
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from alerting.http_wiring import heartbeat
from alerting.parcels import Job, Parcel, Result, SendFailed
from alerting.receivers import Receiver
from alerting.sending import Sender
from alerting.wiring import BUILDERS
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings, load
from embedwatch.settings_alerts import AlertSettings
from tests.harness.http_receiver import HttpReceiver
from tests.unit.alerting.test_machines import told

#: In every secret, and in nothing else.
MARK = "secretsecret"
KEY = base64.b64encode(f"{MARK}-{MARK}-{MARK}".encode()).decode()
WORDS = (MARK, KEY)


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with HttpReceiver() as found:
        yield found


def secrets(url: str) -> dict[str, str]:
    """A value that works for each secret setting there is."""
    return {
        "slack_bot_token": f"xoxb-1-{MARK}",
        "slack_app_token": f"xapp-1-{MARK}",
        "slack_webhook_url": f"{url}/services/T0/B0/{MARK}",
        "webhook_url": f"{url}/hook?token={MARK}",
        "webhook_secret": f"whsec_{KEY}",
        "alertmanager_url": url.replace("://", f"://user:{MARK}@"),
        "pagerduty_routing_key": f"{MARK}-{MARK}-1",
        "heartbeat_url": f"{url}/beat/{MARK}",
    }


SECRET_SETTINGS = [name for name, field in AlertSettings.model_fields.items() if "SecretStr" in str(field.annotation)]


def configured(url: str, *without: str) -> Settings:
    given = {name: value for name, value in secrets(url).items() if name in SECRET_SETTINGS and name not in without}
    given |= {"slack_api_url": f"{url}/api/", "pagerduty_url": f"{url}/enqueue", "send_timeout_seconds": "2"}
    return load(None, {}, {f"EMBEDWATCH_ALERTS_{name.upper()}": value for name, value in given.items()})


def every_receiver(url: str) -> list[Receiver]:
    """With the bot the webhook of Slack is not used: both ways of it are built."""
    found = [each for build in BUILDERS for each in build(configured(url))]
    others = [each for build in BUILDERS for each in build(configured(url, "slack_bot_token", "slack_app_token"))]
    return [*found, *(each for each in others if each.name not in {one.name for one in found})]


def test_every_secret_setting_is_tried_here() -> None:
    """One that is new must be tried, too."""
    assert set(SECRET_SETTINGS) <= set(secrets("http://h"))
    settings = configured("http://127.0.0.1:9")
    for name in SECRET_SETTINGS:
        assert isinstance(getattr(settings.alerts, name), SecretStr)
    shown = repr(settings) + str(settings.alerts) + settings.model_dump_json()
    assert not [word for word in WORDS if word in shown]


def clean(text: str) -> None:
    assert not [word for word in WORDS if word in text], text


def send(receiver: Receiver, parcel: Parcel) -> str:
    """All that could be printed of the attempt."""
    said = f"{receiver!r} {receiver.name} {receiver.address}"
    for attempt in (lambda: receiver.check(), lambda: receiver.send(parcel)):
        try:
            said += f" {attempt()!r}"
        except SendFailed as failure:
            trace = "".join(traceback.format_exception(failure))
            # Source lines of the trace hold no values.
            said += f" {failure.reason} {failure!r} {failure.args!r} {trace}"
    return said


def test_whatever_goes_wrong_no_secret_is_shown(server: HttpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "slack_sdk", "urllib3"):
        assert not logging.getLogger(name).propagate or logging.getLogger(name).getEffectiveLevel() >= logging.DEBUG
    receivers = every_receiver(server.url)
    assert {each.name.partition(":")[0] for each in receivers} >= {
        "slack", "slack-webhook", "webhook", "alertmanager", "pagerduty", "console",
    }  # fmt: skip
    for receiver in receivers:
        for answer in (200, 301, 400, 401, 403, 404, 413, 429, 500, 503, 0):
            server.answers = [(answer, {"location": f"{server.url}/{MARK}", "retry-after": "0"})] * 4
            clean(send(receiver, told()))
            clean(send(receiver, told("resolved", 2)))
    assert server.seen
    clean(caplog.text)


def test_a_receiver_that_is_not_there_is_told_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with HttpReceiver() as server:
        url = server.url
    for receiver in every_receiver(url):  # nobody listens there any more
        clean(send(receiver, told()))
    beats = heartbeat(configured(url))
    assert beats is not None
    assert not beats.beat()
    assert "no heartbeat: who watches the heartbeat is not reached" in caplog.text
    clean(caplog.text)


def test_a_bug_in_a_receiver_is_told_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    class Broken:
        name, address = "broken", "nowhere"
        from alerting.parcels import Traits

        traits = Traits()

        def check(self) -> str:
            raise RuntimeError(MARK)

        def send(self, parcel: Parcel) -> None:
            raise RuntimeError(MARK)

    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    sender = Sender(Broken(), results, random.Random(1))
    job = Job("broken", (("a", 1),), told())
    sender.offer(job)
    result = results.get(timeout=30)
    sender.settle(result, 0.0)
    assert sender.close(30)
    assert result.failure is not None
    clean(result.failure.reason)
    clean(caplog.text)
    assert "unexpected RuntimeError" in caplog.text


@pytest.mark.parametrize("name", SECRET_SETTINGS)
@pytest.mark.parametrize(
    "value", [f"{MARK}\n{MARK}", f"ftp://{MARK}", f"http://[{MARK}", f"whsec_{MARK}", f"{MARK} {MARK}"]
)
def test_a_wrong_secret_is_refused_or_used_but_never_shown(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = {f"EMBEDWATCH_ALERTS_{name.upper()}": value}
    if name == "webhook_secret":
        given["EMBEDWATCH_ALERTS_WEBHOOK_URL"] = "http://127.0.0.1:9/"
    if name == "slack_app_token":
        given["EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN"] = "xoxb-1-2"
    said, named = "", name.upper()
    try:
        settings = load(None, {}, given)
        for build in BUILDERS:
            said += repr(build(settings))
        said += repr(heartbeat(settings))
    except ConfigError as error:
        said += "".join(traceback.format_exception(error))
        named = str(error)
    assert name.upper() in named
    clean(said + caplog.text + json.dumps(said))
