"""From settings to a running service."""

from __future__ import annotations

import logging
import random
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from alerting.lifecycle import Policy
from alerting.receivers import ConsoleReceiver, Receiver
from embedwatch.clock import SystemClock
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings

log = logging.getLogger(__name__)

NO_SLACK = (
    "alerting: Slack is not configured, alerts are only printed here; set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN (or "
    "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL)"
)


def receivers(settings: Settings) -> list[Receiver]:
    """Who is told, as configured. Raises `ConfigError` when nobody is."""
    alerts = settings.alerts
    found: list[Receiver] = []
    if alerts.slack_bot_token is not None:
        from alerting.slack import SlackBot

        token = _bot_token(alerts.slack_bot_token.get_secret_value())
        timeout = alerts.send_timeout_seconds
        found.append(SlackBot(token, alerts.slack_channel, api_url=alerts.slack_api_url, timeout_seconds=timeout))
        if alerts.slack_webhook_url is not None:
            log.warning("alerting: a bot token and a webhook are set: the bot token is used, the webhook is not")
    elif alerts.slack_webhook_url is not None:
        from alerting.slack import SlackWebhook

        url = _webhook_url(alerts.slack_webhook_url.get_secret_value())
        found.append(SlackWebhook(url, timeout_seconds=alerts.send_timeout_seconds))
    if alerts.console:
        found.append(ConsoleReceiver())
    if not found:
        raise ConfigError(
            "nobody would be told of an alert: set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN or "
            "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL, or leave --console on"
        )
    return found


def _bot_token(token: str) -> str:
    """Checked before it is used, and never shown: a line break in it would end up in an HTTP library's error."""
    if not re.fullmatch(r"(xoxe\.)?xoxb-[A-Za-z0-9-]+", token):
        raise ConfigError(
            "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN (alerts.slack_bot_token) is not a bot token: one begins with xoxb- and "
            "stands on the page OAuth & Permissions of the Slack app"
        )
    return token


def _webhook_url(url: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+/[\x21-\x7e]+", url):
        raise ConfigError(
            "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL (alerts.slack_webhook_url) is not an address such as "
            "https://hooks.slack.com/services/T.../B.../..."
        )
    return url


def policy(settings: Settings, names: tuple[str, ...]) -> Policy:
    alerts = settings.alerts
    return Policy(
        receivers=names,
        repeat_interval_seconds=alerts.repeat_interval_seconds,
        no_data_grace_seconds=alerts.no_data_grace_seconds,
        no_data_resolve_seconds=alerts.no_data_resolve_seconds,
        forget_after_seconds=alerts.forget_after_seconds,
        timezone=ZoneInfo(settings.budget.timezone),
    )


def run(settings: Settings) -> None:
    """Until SIGTERM or Ctrl-C. Raises `ConnectionFailed` or `ConfigError`."""
    from alerting.service import AlertingService

    told = receivers(settings)
    if all(receiver.name == "console" for receiver in told):
        log.warning(NO_SLACK)
    names = tuple(receiver.name for receiver in told)
    # Only the spread of retries depends on it.
    rng = random.Random()  # noqa: S311
    with stop_signals() as stop:
        AlertingService(settings, policy(settings, names), told, SystemClock(), rng).run(stop)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Set by the first SIGTERM, SIGHUP or Ctrl-C; the second ends at once.

    An exception out of nowhere, as the default is, could cut a request to Kafka in two.
    """
    stop = threading.Event()

    def ask(signum: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
