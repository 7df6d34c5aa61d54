from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from alerting.cli import app
from embedwatch.errors import ConfigError, ConnectionFailed, DeliveryError
from embedwatch.processes import free_port
from embedwatch.services.slack_standin import SlackStandIn
from tests.harness.http_receiver import HttpReceiver
from tests.harness.raw_http import Script, drips, raw_server, silence


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with HttpReceiver() as found:
        yield found


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command sets up the root logger of its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def run(*arguments: str, **environ: Any) -> Result:
    return CliRunner().invoke(app, list(arguments), env={f"EMBEDWATCH_{k}": str(v) for k, v in environ.items()})


def test_a_test_message_goes_through_each_receiver(slack: SlackStandIn) -> None:
    result = run("test", ALERTS_SLACK_BOT_TOKEN="xoxb-1", ALERTS_SLACK_API_URL=slack.api_url)
    assert result.exit_code == 0, result.output
    assert "slack: delivered to #embedwatch" in result.output
    assert "console: delivered to standard output" in result.output
    assert len(slack.inbox()) == 1


def test_what_fails_is_said_in_words_and_by_the_exit_status(slack: SlackStandIn) -> None:
    result = run("test", ALERTS_SLACK_BOT_TOKEN="xoxb-invalid", ALERTS_SLACK_API_URL=slack.api_url)
    assert isinstance(result.exception, DeliveryError)
    assert result.exception.delivered == 1
    assert "slack: not delivered to #embedwatch: Slack refuses the bot token" in str(result.exception)
    assert "console: delivered" in result.output


def test_what_came_of_each_receiver_is_told_to_programs_alone_on_standard_output(slack: SlackStandIn) -> None:
    for token, delivered in (("xoxb-1", True), ("xoxb-invalid", False)):
        result = run("test", "--json", ALERTS_SLACK_BOT_TOKEN=token, ALERTS_SLACK_API_URL=slack.api_url)
        told = {each["receiver"]: each for each in json.loads(result.stdout)}
        assert told["console"]["delivered"]
        assert told["slack"]["delivered"] == delivered
        assert (told["slack"]["reason"] is None) == delivered
        assert isinstance(result.exception, DeliveryError) != delivered


KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
ROUTING_KEY = "secretsecret" * 2


def machines(url: str, **more: Any) -> dict[str, Any]:
    return {
        "ALERTS_WEBHOOK_URL": f"{url}/hook?token=secretsecret",
        "ALERTS_WEBHOOK_SECRET": SECRET,
        "ALERTS_ALERTMANAGER_URL": url,
        "ALERTS_PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
        "ALERTS_PAGERDUTY_URL": f"{url}/v2/enqueue",
        **more,
    }


def refusals(result: Result) -> dict[str, str]:
    """Why, by receiver; nothing that was printed holds a secret."""
    assert isinstance(result.exception, DeliveryError)
    assert result.exception.exit_code == 5
    said = str(result.exception)
    assert not [word for word in ("secretsecret", SECRET) if word in said + result.output]
    return dict(line.split(": not delivered to 127.0.0.1: ") for line in said.splitlines())


def test_each_machine_takes_a_test_message_and_each_test_is_another(server: HttpReceiver) -> None:
    for _ in range(2):
        result = run("test", **machines(server.url))
        assert result.exit_code == 0, result.output
        for name in ("webhook", "alertmanager", "pagerduty"):
            assert f"{name}: delivered to 127.0.0.1\n" in result.output
    assert len(server.seen) == 8  # PagerDuty's incident is opened and resolved
    first, second = (headers for path, headers, _ in server.seen if path.startswith("/hook"))
    assert first["webhook-id"] != second["webhook-id"]  # who takes each id once takes both
    signed = f"{first['webhook-id']}.{first['webhook-timestamp']}.".encode() + server.seen[0][2]
    assert first["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert len({document["dedup_key"] for document in server.documents if "routing_key" in document}) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "fails (status 500)"), (401, "refuses the key, token or signature"), (404, "has nothing at this address")],
)
def test_what_a_machine_refuses_is_told_of_each(server: HttpReceiver, status: int, words: str) -> None:
    server.answers = [(status, {})] * 3
    result = run("test", **machines(server.url))
    found = refusals(result)
    assert set(found) == {"webhook", "alertmanager", "pagerduty"}
    assert all(words in why for why in found.values()), found
    assert "console: delivered to standard output" in result.output


def test_a_wrong_key_of_pagerduty_is_told_as_one_and_the_others_are_delivered(server: HttpReceiver) -> None:
    server.answers = [(202, {}), (202, {}), (400, {})]
    server.body = b'{"status": "invalid event", "errors": ["Invalid routing key"]}'
    result = run("test", **machines(server.url))
    found = refusals(result)
    assert set(found) == {"pagerduty"}
    assert "does not know the routing key: take the integration key" in found["pagerduty"]
    assert "webhook: delivered" in result.output
    assert "alertmanager: delivered" in result.output


@pytest.mark.parametrize("script", [silence, drips(b"HTTP/1.1 200 ")])
def test_who_hangs_is_told_and_holds_up_nobody(script: Script) -> None:
    with raw_server(script) as hanging:
        result = run("test", **machines(hanging.url, ALERTS_SEND_TIMEOUT_SECONDS="0.5"))
    found = refusals(result)
    assert set(found) == {"webhook", "alertmanager", "pagerduty"}
    assert all("does not answer in time" in why for why in found.values()), found
    assert "console: delivered" in result.output


def test_nobody_there_is_told() -> None:
    found = refusals(run("test", **machines(f"http://127.0.0.1:{free_port()}")))
    assert set(found) == {"webhook", "alertmanager", "pagerduty"}
    assert all("is not reached: check address and network" in why for why in found.values()), found


def test_a_bug_in_one_receiver_keeps_no_other_from_being_tried(
    server: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secretsecret")

    monkeypatch.setattr("alerting.webhook.WebhookReceiver.send", broken)
    result = run("test", **machines(server.url))
    assert "unexpected RuntimeError at test_cli.py" in refusals(result)["webhook"]
    assert "pagerduty: delivered" in result.output


def test_one_receiver_can_be_chosen(slack: SlackStandIn) -> None:
    environ = {"ALERTS_SLACK_BOT_TOKEN": "xoxb-1", "ALERTS_SLACK_API_URL": slack.api_url}
    result = run("test", "--receiver", "console", **environ)
    assert result.exit_code == 0, result.output
    assert slack.inbox() == []
    result = run("test", ALERTS_TEST_RECEIVER="pager", **environ)
    assert isinstance(result.exception, ConfigError)
    assert "there are: slack, console" in str(result.exception)


@pytest.mark.parametrize("command", [(), ("list",), ("show", "a"), ("ack", "a"), ("snooze", "a"), ("history",)])
def test_a_broker_that_is_not_there_is_told(command: tuple[str, ...]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    result = run(*command, KAFKA_BOOTSTRAP_SERVERS=servers, KAFKA_CONNECT_TIMEOUT_SECONDS="0.2")
    assert isinstance(result.exception, ConnectionFailed)
    assert servers in str(result.exception)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("snooze", "a", "--for", "soon"), "--for is a duration"),
        (("snooze", "a", "--for", "0s"), "--for is between 1s and 30d"),
        (("snooze", "a", "--for", "90d"), "--for is between 1s and 30d"),
        (("ack", "a", "--note", "x" * 257), "--note has at most 256 characters"),
        (("ack", "a", "--by", " "), "--by is empty"),
        (("history", "--since", "soon"), "--since"),
    ],
)
def test_what_cannot_be_asked_is_told_before_kafka_is(command: tuple[str, ...], words: str) -> None:
    result = run(*command, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_options_before_a_command_are_not_silently_dropped() -> None:
    result = run("--slack-channel", "#x", "list")
    assert isinstance(result.exception, ConfigError)
    assert "options stand after the command" in str(result.exception)


def test_secrets_are_no_options() -> None:
    assert "--slack-bot-token" not in run("--help").output
    assert "--slack-webhook-url" not in run("--help").output
