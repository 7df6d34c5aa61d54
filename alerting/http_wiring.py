"""From settings to the receivers that are machines: webhook, Alertmanager, PagerDuty."""

from __future__ import annotations

import base64
import binascii
import re

from alerting.alertmanager import AlertmanagerReceiver
from alerting.heartbeat import Heartbeat
from alerting.pagerduty import PagerDutyReceiver
from alerting.receivers import Receiver
from alerting.webhook import WebhookReceiver
from embedwatch.clock import SystemClock
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings


def build(settings: Settings) -> list[Receiver]:
    """Those that are configured. Raises `ConfigError`, without the value, for an address or key that cannot be one."""
    alerts = settings.alerts
    timeout = alerts.send_timeout_seconds
    found: list[Receiver] = []
    if alerts.webhook_url is not None:
        url = address(alerts.webhook_url.get_secret_value(), "webhook_url", "https://example.com/hooks/embedwatch")
        secret = None if alerts.webhook_secret is None else _secret(alerts.webhook_secret.get_secret_value())
        found.append(WebhookReceiver(url, secret, timeout_seconds=timeout))
    elif alerts.webhook_secret is not None:
        raise ConfigError(
            "EMBEDWATCH_ALERTS_WEBHOOK_SECRET (alerts.webhook_secret) signs what goes to a webhook, and there is none: "
            "set EMBEDWATCH_ALERTS_WEBHOOK_URL, too"
        )
    if alerts.alertmanager_url is not None:
        url = address(alerts.alertmanager_url.get_secret_value(), "alertmanager_url", "http://alertmanager:9093")
        repeat = alerts.repeat_interval_seconds
        found.append(AlertmanagerReceiver(url, repeat_interval_seconds=repeat, timeout_seconds=timeout))
    if alerts.pagerduty_routing_key is not None:
        key = alerts.pagerduty_routing_key.get_secret_value()
        if not re.fullmatch(r"[A-Za-z0-9_+-]{16,64}", key):
            raise ConfigError(
                "EMBEDWATCH_ALERTS_PAGERDUTY_ROUTING_KEY (alerts.pagerduty_routing_key) is not an integration key: it "
                "has 32 letters and digits and stands with the service's integration Events API V2"
            )
        found.append(PagerDutyReceiver(key, alerts.pagerduty_url, timeout_seconds=timeout))
    return found


def heartbeat(settings: Settings) -> Heartbeat | None:
    """None where nobody watches. Raises `ConfigError`, without the value, for an address that cannot be one."""
    alerts = settings.alerts
    if alerts.heartbeat_url is None:
        return None
    url = address(alerts.heartbeat_url.get_secret_value(), "heartbeat_url", "https://hc-ping.com/your-uuid")
    return Heartbeat(
        url, alerts.heartbeat_seconds, SystemClock(), timeout_seconds=min(alerts.send_timeout_seconds, 10.0)
    )


def address(url: str, setting: str, example: str) -> str:
    """Checked before it is used: an HTTP library would name it in its error."""
    if not re.fullmatch(r"https?://[A-Za-z0-9._~%\[\]:@!$&'()*+,;=-]+(/[\x21-\x7e]*)?", url):
        raise ConfigError(f"EMBEDWATCH_ALERTS_{setting.upper()} (alerts.{setting}) is not an address such as {example}")
    return url


def _secret(text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ConfigError(
            "EMBEDWATCH_ALERTS_WEBHOOK_SECRET (alerts.webhook_secret) is not a key of Standard Webhooks: whsec_ and "
            'the base64 of 24 to 64 random bytes; `echo "whsec_$(openssl rand -base64 32)"` makes one'
        )
    return key
