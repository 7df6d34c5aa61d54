"""From settings to routes."""

from __future__ import annotations

import re
from collections.abc import Collection

from alerting.routes import Route, Router
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings

#: Receivers in other channels than `alerts.slack_channel` are named by it: `slack:#on-call`.
SLACK_PREFIX = "slack:"
#: A channel named by its id stands without a #.
_CHANNEL_ID = re.compile("[CGD][A-Z0-9]{8,}")
#: Printed is everything, wherever else it goes.
ALWAYS = ("console",)


def routes(settings: Settings) -> list[Route]:
    return [
        Route(
            match=entry.match,
            to=None if entry.to is None else tuple(canonical(name, settings) for name in entry.to),
            mention=entry.mention or (),
            goes_on=entry.goes_on,
        )
        for entry in settings.alerts.routes
    ]


def router(settings: Settings, names: Collection[str]) -> Router:
    """`names` are all receivers. Raises `ConfigError` for a route to one that is not configured."""
    found = routes(settings)
    for number, route in enumerate(found, 1):
        unknown = sorted(set(route.to or ()) - set(names))
        if unknown:
            raise ConfigError(
                f"alerts.routes, route {number}: no receiver {', '.join(unknown)} is configured; there are: "
                f"{', '.join(names)}"
            )
    default = [name for name in names if not name.startswith(SLACK_PREFIX)]
    return Router(found, default, [name for name in ALWAYS if name in names])


def slack_channels(settings: Settings) -> list[str]:
    """Channels that routes name, beside the one that is told by default."""
    named = (name for route in routes(settings) for name in route.to or () if name.startswith(SLACK_PREFIX))
    return [name.removeprefix(SLACK_PREFIX) for name in dict.fromkeys(named)]


def canonical(name: str, settings: Settings) -> str:
    """A channel has one receiver, however it is named: two would not know of each other's messages."""
    if name.startswith(SLACK_PREFIX):
        channel = name.removeprefix(SLACK_PREFIX).removeprefix("#")
        if channel == settings.alerts.slack_channel.removeprefix("#"):
            return "slack"
        return f"{SLACK_PREFIX}{channel}" if _CHANNEL_ID.fullmatch(channel) else f"{SLACK_PREFIX}#{channel}"
    return name
