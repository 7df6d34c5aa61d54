"""Settings of alerting (section `alerts`), one class a subject. A secret's form is checked by who uses it."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from pydantic import Field, SecretStr, field_validator

from embedwatch.section import Section, without_user
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.settings_routes import RouteSettings


class LifeSettings(Section):
    """How an alert lives."""

    repeat_interval_seconds: float = Field(4 * 3600.0, ge=1, description="a firing alert is said again after this")
    no_data_grace_seconds: float = Field(60.0, ge=1, description="a firing alert without data is marked after this")
    agents_silent_seconds: float = Field(
        50.0, ge=5, le=86_400, description="no verdict of the agents for so long is an alert: nothing is judged then"
    )
    no_data_resolve_seconds: float | None = Field(
        86_400.0, ge=1, description="a firing alert without data is closed after this: its rule may be gone"
    )
    flapping_changes: int | None = Field(
        6, ge=3, le=10, description="an alert that fires or clears more often than this is told once, as flapping"
    )
    flapping_window_seconds: float = Field(1800.0, ge=10, description="within which those changes count")
    flapping_calm_seconds: float = Field(
        600.0, ge=1, description="an alert that did not change for so long is not flapping any more, and told how it is"
    )
    forget_after_seconds: float = Field(7 * 86_400.0, ge=60, description="how long alerts that are over are kept")


class CalmSettings(Section):
    """How much of people's attention alerts may take."""

    bundle_from: int = Field(5, ge=2, le=1000, description="so many messages that wait for one receiver are one")
    cap_posts: int | None = Field(
        20, ge=2, le=10_000, description="most new messages for one receiver in cap_seconds: half at once, then spread"
    )
    cap_seconds: float = Field(300.0, ge=1, le=86_400, description="the time in which cap_posts counts")


class DigestSettings(Section):
    digest_at: str | None = Field(
        "09:00",
        description="when everybody gets the digest of the day, in budget.timezone: HH:MM or HH:MM:SS; off: never",
    )
    digest_quiet: bool = Field(False, description="a digest also of a day without anything to tell")

    @field_validator("digest_at", mode="before")
    @classmethod
    def _digest_time(cls, value: Any) -> str | None:
        # Without quotes YAML takes `off` for false, and 10:30 for a number to the base of 60.
        if value is None or value is False or str(value).strip().lower() in ("", "off", "none"):
            return None
        if type(value) is int and value >= 0:
            hours, minutes = divmod(value, 60)
            value = f"{hours}:{minutes:02}" if hours < 24 else f"{hours // 60}:{hours % 60:02}:{minutes:02}"
        found = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", str(value).strip())
        try:
            hour, minute, second = (int(part or 0) for part in found.groups()) if found else (24, 0, 0)
            at = time(hour, minute, second)
        except ValueError:
            raise ValueError("is not a time of day such as 09:00, nor off") from None
        return at.isoformat("auto" if at.second else "minutes")


class SlackSettings(Section):
    slack_bot_token: SecretStr | None = Field(None, description="xoxb-...; from environment or file only")
    slack_app_token: SecretStr | None = Field(
        None, description="xapp-...: buttons to acknowledge and snooze (Socket Mode); from environment or file only"
    )
    slack_charts: bool = Field(
        True, description="with a bot token: the last hour of the number as a picture in the thread"
    )
    agents_url: str | None = Field(
        None,
        max_length=1000,
        description="where charts are asked for; from agents.web_host and agents.web_port by default",
    )
    slack_channel: str = Field("#embedwatch", min_length=1, max_length=100, description="channel's name or id")
    slack_webhook_url: SecretStr | None = Field(None, description="incoming webhook; not used beside a bot token")
    slack_api_url: str = Field("https://slack.com/api/", description="where the Slack API lives; a stand-in in tests")

    @field_validator("slack_bot_token", "slack_app_token", "slack_webhook_url")
    @classmethod
    def _slack_stripped(cls, value: SecretStr | None) -> SecretStr | None:
        return stripped(value)

    @field_validator("slack_api_url", "agents_url")
    @classmethod
    def _slack_address(cls, value: str | None) -> str | None:
        return None if value is None else address(value)


class MachineSettings(Section):
    """Receivers that are no people. Addresses may hold a password or a token."""

    webhook_url: SecretStr | None = Field(None, description="each message is posted there as JSON")
    webhook_secret: SecretStr | None = Field(
        None, description="whsec_ and base64: signs what goes to the webhook, by the rules of Standard Webhooks"
    )
    alertmanager_url: SecretStr | None = Field(
        None, description="Prometheus Alertmanager, e.g. http://alertmanager:9093; told by its API v2"
    )
    pagerduty_routing_key: SecretStr | None = Field(None, description="integration key of an Events API v2 integration")
    pagerduty_url: str = Field("https://events.pagerduty.com/v2/enqueue", description="where PagerDuty takes events")

    heartbeat_url: SecretStr | None = Field(
        None,
        description="posted to at a steady pace while an alert would come; who watches it tells when it falls silent",
    )
    heartbeat_seconds: float = Field(60.0, ge=1, le=3600, description="how often")

    @field_validator("webhook_url", "webhook_secret", "alertmanager_url", "pagerduty_routing_key", "heartbeat_url")
    @classmethod
    def _machine_stripped(cls, value: SecretStr | None) -> SecretStr | None:
        return stripped(value)

    @field_validator("pagerduty_url")
    @classmethod
    def _pagerduty_address(cls, value: str) -> str:
        return address(value)


class RoutesSettings(Section):
    routes: tuple[RouteSettings, ...] = Field(
        (),
        max_length=500,
        description="who is told of what: a list of routes, the first that matches decides; a list in YAML or JSON",
    )


class DeliverySettings(Section):
    """What holds for every receiver, and those that need no subject of their own."""

    console: bool = Field(True, description="also print each message")
    send_timeout_seconds: float = Field(10.0, gt=0, le=120, description="how long one attempt to send may take")
    drain_seconds: float = Field(5.0, ge=0, le=300, description="how long SIGTERM waits for messages owed")
    dashboard_url: str | None = Field(
        None, max_length=1000, description="linked in each message; {model}, {tenant}, {worker}, {rule} are filled in"
    )

    @field_validator("dashboard_url")
    @classmethod
    def _dashboard_address(cls, value: str | None) -> str | None:
        return None if value is None else address(value)


class AlertSettings(
    LifeSettings, CalmSettings, DigestSettings, SlackSettings, RoutesSettings, MachineSettings, DeliverySettings,
    MetricsSettings,
):  # fmt: skip
    """All of them, under one name in file and environment."""

    group: str = Field(
        "embedwatch-alerts",
        description="consumer group of the alerting service; begins with the topic prefix unless named",
    )


def stripped(value: SecretStr | None) -> SecretStr | None:
    """A secret read from a file ends in a newline."""
    return None if value is None else SecretStr(value.get_secret_value().strip())


def address(value: str) -> str:
    if not re.fullmatch(r"https?://[\x21-\x7e]+", value):
        raise ValueError("is not an address that begins with http:// or https://")
    return without_user(value)
