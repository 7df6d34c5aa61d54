"""What `embedwatch check` asks of the receivers: would an alert reach anybody? Nothing is posted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alerting.parcels import SendFailed
from alerting.receivers import Receiver
from alerting.slack_wiring import app_token
from alerting.wiring import receivers
from embedwatch.checks import Check
from embedwatch.settings import Settings


def check_receivers(settings: Settings) -> Iterable[Check]:
    """Raises `ConfigError` for a token or address that cannot be one."""
    found = receivers(settings)
    slack = [receiver for receiver in found if receiver.name.startswith("slack")]
    machines = [receiver for receiver in found if receiver not in slack and receiver.name != "console"]
    if not slack:
        only = "" if machines else ", alerts are only printed"
        hint = "set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN or EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL"
        yield Check("slack", "skipped", f"not configured here{only}: {hint}")
    token = app_token(settings)
    if token is not None:
        from alerting.slack_socket import check

        alerts = settings.alerts
        try:
            words = check(token, api_url=alerts.slack_api_url, timeout_seconds=alerts.send_timeout_seconds)
            yield Check("slack buttons", "ok", words)
        except SendFailed as error:
            yield Check("slack buttons", "failed", error.reason, 4)
    for receiver in slack:
        yield from _asked("slack", receiver)
    for receiver in machines:
        yield from _asked(receiver.name, receiver)
    yield from _heartbeat(settings)


def _asked(name: str, receiver: Receiver) -> Iterator[Check]:
    try:
        yield Check(name, "ok", f"{receiver.check()}; alerts go to {receiver.address}")
    except SendFailed as error:
        yield Check(name, "failed", f"{receiver.address}: {error.reason}", 4)


def _heartbeat(settings: Settings) -> Iterator[Check]:
    """Its address is looked at, not asked: each request there is a sign of life. Raises `ConfigError`."""
    from alerting.http_wiring import heartbeat

    if heartbeat(settings) is not None:
        yield Check(
            "heartbeat", "skipped",
            "an address is set and was not tried: each request to it says that alerting works. Start `embedwatch "
            f"alerts`, and see there whether it is heard of every {settings.alerts.heartbeat_seconds:g} s",
        )  # fmt: skip
