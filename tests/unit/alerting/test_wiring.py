from __future__ import annotations

import os
import signal

import pytest

from alerting.wiring import policy, receivers, stop_signals
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings, load

TOKEN = "xoxb-1234-secretsecret"
WEBHOOK = "https://hooks.slack.com/services/T0/B0/secretsecret"


def settings(**environ: str) -> Settings:
    return load(None, {}, {f"EMBEDWATCH_ALERTS_{name}": value for name, value in environ.items()})


def names(found: Settings) -> list[str]:
    return [receiver.name for receiver in receivers(found)]


def test_without_slack_the_console_is_told() -> None:
    assert names(settings()) == ["console"]


def test_a_bot_token_or_a_webhook_reaches_slack() -> None:
    assert names(settings(SLACK_BOT_TOKEN=TOKEN)) == ["slack", "console"]
    assert names(settings(SLACK_WEBHOOK_URL=WEBHOOK, CONSOLE="false")) == ["slack-webhook"]


def test_one_message_a_problem_also_with_both(caplog: pytest.LogCaptureFixture) -> None:
    assert names(settings(SLACK_BOT_TOKEN=TOKEN, SLACK_WEBHOOK_URL=WEBHOOK)) == ["slack", "console"]
    assert "the bot token is used, the webhook is not" in caplog.text


def test_nobody_to_tell_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nobody would be told"):
        receivers(settings(CONSOLE="false"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLACK_BOT_TOKEN", "xoxp-secretsecret"),
        ("SLACK_BOT_TOKEN", "secretsecret"),
        ("SLACK_BOT_TOKEN", "xoxb-secret\nsecret"),
        ("SLACK_WEBHOOK_URL", "hooks.slack.com/services/T0/B0/secretsecret"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/secret\nsecretsecret"),
        ("SLACK_API_URL", "ftp://slack.com"),
        ("DASHBOARD_URL", "javascript:alert(1)"),
        ("NO_DATA_GRACE_SECONDS", "0"),
    ],
)
def test_a_wrong_setting_is_told_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"EMBEDWATCH_ALERTS_{name}") as caught:
        receivers(settings(**{name: value}))
    assert "secretsecret" not in str(caught.value)


def test_secrets_may_end_in_a_newline_as_files_do() -> None:
    found = settings(SLACK_BOT_TOKEN=TOKEN + "\n", SLACK_WEBHOOK_URL=WEBHOOK + "\n").alerts
    assert found.slack_bot_token is not None
    assert found.slack_bot_token.get_secret_value() == TOKEN
    assert found.slack_webhook_url is not None
    assert found.slack_webhook_url.get_secret_value() == WEBHOOK
    assert "secretsecret" not in repr(found) + str(found) + found.model_dump_json()


def test_the_policy_follows_the_settings() -> None:
    found = policy(
        load(
            None,
            {},
            {
                "EMBEDWATCH_ALERTS_REPEAT_INTERVAL_SECONDS": "60",
                "EMBEDWATCH_ALERTS_NO_DATA_RESOLVE_SECONDS": "90",
                "EMBEDWATCH_BUDGET_TIMEZONE": "Europe/Berlin",
            },
        ),
        ("slack",),
    )
    assert (found.receivers, found.repeat_interval_seconds, found.no_data_resolve_seconds) == (("slack",), 60.0, 90.0)
    assert str(found.timezone) == "Europe/Berlin"


def test_the_first_signal_asks_and_the_second_ends_at_once() -> None:
    with stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
