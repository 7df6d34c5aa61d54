from __future__ import annotations

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
