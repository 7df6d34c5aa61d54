"""Readings of the agents over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from console.model import Reading
from embedwatch.agents_api import AgentsApi
from embedwatch.clock import Clock

#: The hour behind the little pictures moves slowly: it need not be read each second.
HISTORY_SECONDS = 10.0
#: Rows of an hour, where there is no history but only windows of a minute.
WINDOWS = 60


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose numbers, and how far back."""

    scope: str = "all"
    window_seconds: int = 300


class Source(Protocol):
    @property
    def url(self) -> str:
        """As it is told to people."""

    def read(self, wish: Wish) -> Reading:
        """Raises `EmbedwatchError` where nothing could be read."""

    def scopes(self) -> list[str]:
        """All there are. Raises `EmbedwatchError`."""


class ApiSource:
    """One connection, for one thread at a time."""

    def __init__(self, api: AgentsApi, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._history: Sequence[Mapping[str, Any]] = ()
        self._history_of: str | None = None
        self._history_due = 0.0

    @property
    def url(self) -> str:
        return self._api.url

    def read(self, wish: Wish) -> Reading:
        ready, reasons = self._api.ready()
        summary = self._api.summary(wish.window_seconds, wish.scope)
        alerts = self._api.alerts()
        return Reading(summary, ready, tuple(reasons), alerts, self._hour(wish.scope))

    def scopes(self) -> list[str]:
        return self._api.scopes() or []

    def _hour(self, scope: str) -> Sequence[Mapping[str, Any]]:
        now = self._clock.monotonic()
        if scope != self._history_of or now >= self._history_due:
            found = self._api.history(scope)
            if found is None:  # agents of an older version
                found = self._api.windows(scope, WINDOWS)[::-1]
            self._history, self._history_of, self._history_due = found, scope, now + HISTORY_SECONDS
        return self._history
