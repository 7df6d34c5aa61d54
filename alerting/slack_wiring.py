"""From settings to the receivers of Slack."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from alerting.receivers import Receiver
from alerting.routes import Router
from alerting.routing import SLACK_PREFIX, routes, slack_channels
from embedwatch.agents_api import default_url
from embedwatch.clock import SystemClock
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings

log = logging.getLogger(__name__)


def build(settings: Settings) -> list[Receiver]:
    """The bot, one receiver for each channel, or else the webhook, or else nobody.

    Raises `ConfigError` for a token or address that cannot be one, and for a channel that a webhook cannot post into.
    """
    alerts = settings.alerts
    timeout = alerts.send_timeout_seconds
    channels = slack_channels(settings)
    if alerts.slack_bot_token is not None:
        from alerting.slack import SlackBot

        token = _bot_token(alerts.slack_bot_token.get_secret_value())
        if alerts.slack_webhook_url is not None:
            log.warning("alerting: a bot token and a webhook are set: the bot token is used, the webhook is not")
        mentions = Router(routes(settings), ("slack",)).mentions
        named = {"slack": alerts.slack_channel, **{SLACK_PREFIX + channel: channel for channel in channels}}
        return [
            SlackBot(
                token,
                channel,
                name=name,
                api_url=alerts.slack_api_url,
                timeout_seconds=timeout,
                mentions=mentions,
                buttons=alerts.slack_app_token is not None,
            )
            for name, channel in named.items()
        ]
    if channels:
        raise ConfigError(
            f"alerts.routes names {SLACK_PREFIX}{channels[0]}: only a bot token posts into channels of one's choice, "
            "set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN"
        )
    if alerts.slack_webhook_url is not None:
        from alerting.slack import SlackWebhook

        url = _webhook_url(alerts.slack_webhook_url.get_secret_value())
        mentions = Router(routes(settings), ("slack-webhook",)).mentions
        return [SlackWebhook(url, timeout_seconds=timeout, mentions=mentions)]
    return []


def app_token(settings: Settings) -> str | None:
    """None: no buttons. Raises `ConfigError` for one that cannot be one, or that is of no use."""
    alerts = settings.alerts
    if alerts.slack_app_token is None:
        return None
    if alerts.slack_bot_token is None:
        raise ConfigError(
            "EMBEDWATCH_ALERTS_SLACK_APP_TOKEN is set, and buttons stand only under messages of a bot: set "
            "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN too"
        )
    token = alerts.slack_app_token.get_secret_value()
    if not re.fullmatch(r"xapp-[A-Za-z0-9-]+", token):
        raise ConfigError(
            "EMBEDWATCH_ALERTS_SLACK_APP_TOKEN (alerts.slack_app_token) is not an app token: one begins with xapp-, "
            "has the scope connections:write and stands on the page Basic Information of the Slack app"
        )
    return token


@contextmanager
def buttons(settings: Settings) -> Iterator[None]:
    """Presses of buttons are heard and kept while this is open. Raises `ConfigError` as `app_token` does."""
    token = app_token(settings)
    if token is None:
        yield
        return
    from alerting.slack_socket import Buttons
    from embedwatch.acts import ActWriter

    alerts, writer = settings.alerts, ActWriter(settings)
    found = Buttons(
        token,
        api_url=alerts.slack_api_url,
        timeout_seconds=alerts.send_timeout_seconds,
        publish=writer.write,
        clock=SystemClock(),
        zone=ZoneInfo(settings.budget.timezone),
    )
    found.start()
    try:
        yield
    finally:
        found.stop()
        writer.close()


@contextmanager
def charts(settings: Settings, receivers: Iterable[Receiver]) -> Iterator[None]:
    """Messages of bots get their charts while this is open."""
    alerts = settings.alerts
    if alerts.slack_bot_token is None or not alerts.slack_charts:
        yield
        return
    from alerting.charting import Charts, last_hour
    from alerting.slack import SlackBot
    from alerting.slack_api import SlackApi

    timeout = alerts.send_timeout_seconds
    api = SlackApi(
        _bot_token(alerts.slack_bot_token.get_secret_value()), api_url=alerts.slack_api_url, timeout_seconds=timeout
    )
    windows = last_hour(alerts.agents_url or default_url(settings), timeout, settings.agents.web_token)
    found = Charts(api, windows, ZoneInfo(settings.budget.timezone))
    for receiver in receivers:
        if isinstance(receiver, SlackBot):
            receiver.chart = found.offer
    found.start()
    try:
        yield
    finally:
        found.stop()


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
