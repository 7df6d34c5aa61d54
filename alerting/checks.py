"""What `embedwatch check` asks of the receivers: would an alert reach anybody? Nothing is posted."""

from __future__ import annotations

from collections.abc import Iterable

from alerting.parcels import SendFailed
from alerting.slack_wiring import app_token
from alerting.wiring import receivers
from embedwatch.checks import Check
from embedwatch.settings import Settings


def check_receivers(settings: Settings) -> Iterable[Check]:
    """Raises `ConfigError` for a token or address that cannot be one."""
    slack = [receiver for receiver in receivers(settings) if receiver.name.split(":")[0] == "slack"]
    if not slack:
        hint = "set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN or EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL"
        yield Check("slack", "skipped", f"not configured, alerts are only printed: {hint}")
    token = app_token(settings)
    if token is not None:
        from alerting.slack_socket import check

        alerts = settings.alerts
        try:
            found = check(token, api_url=alerts.slack_api_url, timeout_seconds=alerts.send_timeout_seconds)
            yield Check("slack buttons", "ok", found)
        except SendFailed as error:
            yield Check("slack buttons", "failed", error.reason, 4)
    for receiver in slack:
        try:
            yield Check("slack", "ok", f"{receiver.check()}; alerts go to {receiver.address}")
        except SendFailed as error:
            yield Check("slack", "failed", f"{receiver.address}: {error.reason}", 4)
