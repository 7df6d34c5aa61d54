"""10-second panes by event time, and sliding windows made of them.

A window of W seconds at `now` is the pane that contains `now` and the W/10 - 1 before it: it looks back between W - 10
and W seconds. Panes hold exact sums and mergeable sketches, so a window's percentiles are as exact as a pane's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from embedwatch.events import PHASES, BatchEvent
from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import ALL, OTHER, Scope, scopes_of

#: A clock ahead of ours by more than this is taken as ours: its panes would never be looked at.
MAX_AHEAD_SECONDS = 10.0


@dataclass(slots=True)
class Totals:
    """Sums over some texts. Money in nano-USD, phases in seconds."""

    texts: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    misses: int = 0
    batches: int = 0
    tokens_received: int = 0
    tokens_embedded: int = 0
    tokens_saved: int = 0
    truncated_texts: int = 0
    padding_tokens: int = 0
    cost_nano_usd: int = 0
    saved_nano_usd: int = 0
    unpriced_tokens: int = 0
    cache_errors: int = 0
    busy_seconds: float = 0.0
    events: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    phase_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    latency: Sketch = field(default_factory=Sketch)
    queue_wait: Sketch = field(default_factory=Sketch)
    first_seconds: float = math.inf  # time of the earliest event

    def add(self, event: BatchEvent, latency: Sketch, queue_wait: Sketch, time_seconds: float) -> None:
        """Count one event; its sketches come decoded, since it counts in several scopes."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(event, name))
        self.events += 1
        for error, count in event.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        for phase in PHASES:
            self.phase_seconds[phase] += getattr(event.phase_seconds, phase)
        self.latency.merge(latency)
        self.queue_wait.merge(queue_wait)
        self.first_seconds = min(self.first_seconds, time_seconds)

    def merge(self, other: Totals) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.events += other.events
        for error, count in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        for phase in PHASES:
            self.phase_seconds[phase] += other.phase_seconds[phase]
        self.latency.merge(other.latency)
        self.queue_wait.merge(other.queue_wait)
        self.first_seconds = min(self.first_seconds, other.first_seconds)

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    def error_rate_pct(self) -> float | None:
        """Texts without a vector, of all texts; None when there were none."""
        return 100.0 * self.error_count / self.texts if self.texts else None

    def cache_hit_rate_pct(self) -> float | None:
        """Hits of all look-ups. Duplicates within a poll are looked up once, so they do not flatter the cache."""
        looked_up = self.cache_hits + self.misses
        return 100.0 * self.cache_hits / looked_up if looked_up else None

    def token_hit_rate_pct(self) -> float | None:
        """Tokens that need not be embedded, of all tokens asked for; None when there were none."""
        return 100.0 * self.tokens_saved / self.tokens_received if self.tokens_received else None

    def padding_waste_pct(self) -> float | None:
        """Padding of all positions the model computed; None when it computed none."""
        positions = self.tokens_embedded + self.padding_tokens
        return 100.0 * self.padding_tokens / positions if positions else None


_SUMS = (
    "texts", "cache_hits", "duplicates", "misses", "batches", "tokens_received", "tokens_embedded", "tokens_saved",
    "truncated_texts", "padding_tokens", "cost_nano_usd", "saved_nano_usd", "unpriced_tokens", "cache_errors",
    "busy_seconds",
)  # fmt: skip


def pane_start(time_seconds: float) -> int:
    return int(time_seconds // PANE_SECONDS) * PANE_SECONDS


class Windows:
    """Panes of all scopes. Memory is bounded by `max_scopes` and by the longest window kept."""

    def __init__(self, *, max_scopes: int, keep_seconds: int = MAX_WINDOW_SECONDS) -> None:
        self.max_scopes = max_scopes
        self.keep_seconds = keep_seconds
        self.late_events = 0
        self.overflow_events = 0
        self._panes: dict[Scope, dict[int, Totals]] = {ALL: {}}

    def add(self, event: BatchEvent, now: float) -> bool:
        """Count an event in its pane. False when it is too late for any window (it is counted as late).

        Raises `InvalidEvent` when a sketch does not decode.
        """
        latency = Sketch.from_text(event.latency_sketch)
        queue_wait = Sketch.from_text(event.queue_wait_sketch)
        time_seconds = event.time_seconds if event.time_seconds <= now + MAX_AHEAD_SECONDS else now
        start = pane_start(time_seconds)
        if start <= pane_start(now) - self.keep_seconds:
            self.late_events += 1
            return False
        for scope in self._admitted(event):
            panes = self._panes.setdefault(scope, {})
            panes.setdefault(start, Totals()).add(event, latency, queue_wait, time_seconds)
        return True

    def _admitted(self, event: BatchEvent) -> list[Scope]:
        wanted = scopes_of(event.model, event.tenant)
        fresh = sum(scope not in self._panes for scope in wanted)
        if len(self._panes) + fresh <= self.max_scopes:
            return list(wanted)
        self.overflow_events += bool(fresh)
        known = [scope for scope in wanted if scope in self._panes]
        return [*known, OTHER] if fresh else known

    def window(self, scope: Scope, window_seconds: int, now: float) -> Totals:
        """Totals of a window; empty when the scope is not known."""
        last = pane_start(now)
        first = last - window_seconds + PANE_SECONDS
        out = Totals()
        for start, pane in self._panes.get(scope, {}).items():
            # A pane may lie ahead of `now` by as much as clocks differ: it belongs to the present.
            if start >= first:
                out.merge(pane)
        return out

    def covered_seconds(self, totals: Totals, window_seconds: int, now: float) -> float | None:
        """How long the window has been looking: from its first pane, or the first event if that is later, to `now`.

        None when it holds nothing. At least one second, so that a rate over a moment is not a multiple of the truth.
        """
        if not totals.events:
            return None
        begun = max(float(pane_start(now) - window_seconds + PANE_SECONDS), totals.first_seconds)
        return max(now - begun, 1.0)

    def scopes(self) -> list[Scope]:
        """Every scope with a pane kept, everything first."""
        return list(self._panes)

    def prune(self, now: float) -> None:
        """Forget panes no window reaches any more, and scopes without panes."""
        oldest = pane_start(now) - self.keep_seconds
        for scope, panes in list(self._panes.items()):
            for start in [start for start in panes if start <= oldest]:
                del panes[start]
            if not panes and scope != ALL:
                del self._panes[scope]
