"""How alerts behave: what the operator sets."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, tzinfo

from embedwatch.events import Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """How alerts behave. `receivers` are the names of all that are configured.

    `route` says which of them are told when an alert fires; None: all. What comes later of it is told to whoever was
    told that it fires, so that a route that changed leaves no message open.
    """

    receivers: tuple[str, ...]
    repeat_interval_seconds: float = 4 * 3600.0
    no_data_grace_seconds: float = 60.0  # how long silence counts as the last thing heard
    no_data_resolve_seconds: float | None = None  # close an alert after so long without data; None: never
    forget_after_seconds: float = 7 * 86_400.0
    timezone: tzinfo = UTC  # of budget days
    flapping_changes: int | None = 6  # more of them within the window are flapping; None: nothing is
    flapping_window_seconds: float = 1800.0
    flapping_calm_seconds: float = 600.0  # how long it does not change when it is calm
    route: Callable[[Verdict], Collection[str]] | None = None
