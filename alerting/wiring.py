"""From settings to a running service."""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import time
from zoneinfo import ZoneInfo

from alerting import http_wiring, own_metrics, slack_wiring
from alerting.calm import Calm
from alerting.digest_time import Schedule
from alerting.policy import Policy
from alerting.receivers import ConsoleReceiver, Receiver
from alerting.routing import router
from embedwatch.clock import SystemClock
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings
from embedwatch.stage_endpoint import serving

log = logging.getLogger(__name__)

NO_SLACK = (
    "alerting: Slack is not configured, alerts are only printed here; set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN (or "
    "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL)"
)


def _console(settings: Settings) -> list[Receiver]:
    return [ConsoleReceiver()] if settings.alerts.console else []


#: Each gives back the receivers of its kind that are configured, or raises `ConfigError`. They are told in this order.
BUILDERS: tuple[Callable[[Settings], list[Receiver]], ...] = (slack_wiring.build, http_wiring.build, _console)


def receivers(settings: Settings) -> list[Receiver]:
    """Who is told, as configured. Raises `ConfigError` when nobody is."""
    found = [receiver for build in BUILDERS for receiver in build(settings)]
    if not found:
        raise ConfigError(
            "nobody would be told of an alert: set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN, or _SLACK_WEBHOOK_URL, "
            "_WEBHOOK_URL, _ALERTMANAGER_URL or _PAGERDUTY_ROUTING_KEY of the same name, or leave --console on"
        )
    return found


def policy(settings: Settings, names: tuple[str, ...]) -> Policy:
    """Raises `ConfigError` for a route to a receiver that is not there."""
    alerts = settings.alerts
    return Policy(
        receivers=names,
        repeat_interval_seconds=alerts.repeat_interval_seconds,
        no_data_grace_seconds=alerts.no_data_grace_seconds,
        no_data_resolve_seconds=alerts.no_data_resolve_seconds,
        forget_after_seconds=alerts.forget_after_seconds,
        flapping_changes=alerts.flapping_changes,
        flapping_window_seconds=alerts.flapping_window_seconds,
        flapping_calm_seconds=alerts.flapping_calm_seconds,
        timezone=ZoneInfo(settings.budget.timezone),
        route=router(settings, names).receivers if settings.alerts.routes else None,
    )


def calm(settings: Settings) -> Calm:
    alerts = settings.alerts
    return Calm(bundle_from=alerts.bundle_from, cap_posts=alerts.cap_posts, cap_seconds=alerts.cap_seconds)


def schedule(settings: Settings) -> Schedule | None:
    """When the digest is made; None: there is none."""
    alerts = settings.alerts
    if alerts.digest_at is None:
        return None
    return Schedule(time.fromisoformat(alerts.digest_at), ZoneInfo(settings.budget.timezone), quiet=alerts.digest_quiet)


def run(settings: Settings) -> None:
    """Until SIGTERM or Ctrl-C. Raises `ConnectionFailed` or `ConfigError`."""
    from alerting.service import AlertingService

    told = receivers(settings)
    if all(receiver.name == "console" for receiver in told):
        log.warning(NO_SLACK)
    names = tuple(receiver.name for receiver in told)
    # Only the spread of retries depends on it.
    rng = random.Random()  # noqa: S311
    clock, beats = SystemClock(), http_wiring.heartbeat(settings)
    with stop_signals() as stop, slack_wiring.buttons(settings), slack_wiring.charts(settings, told):
        try:
            pulse = None
            if beats is not None:
                beats.start()
                pulse = beats.pulse
            rules, at = policy(settings, names), schedule(settings)
            service = AlertingService(settings, rules, told, clock, rng, calm(settings), pulse, at)
            with serving(settings.alerts, "alerting", own_metrics.FAMILIES, lambda: own_metrics.look(service.view())):
                service.run(stop)
        finally:
            if beats is not None:
                beats.close()


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
