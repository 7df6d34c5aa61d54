"""10-second panes by event time, and sliding windows made of them.

A window of W seconds at `now` is the pane that contains `now` and the W/10 - 1 before it: it looks back between W - 10
and W seconds. Panes hold exact sums and mergeable sketches, so a window's percentiles are as exact as a pane's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from embedwatch.errors import InvalidEvent
from embedwatch.events import PHASES, BatchEvent, PhaseSeconds, failed_texts
from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
from embedwatch.sketch import Sketch
from stream_agents.compute.adding import adder
from stream_agents.compute.merges import Merges
from stream_agents.compute.scopes import ALL, OTHER, Scope, scopes_of
from stream_agents.compute.unpriced import unpriced_saved_tokens
from stream_agents.compute.worker_panes import WorkerPanes, Workers

#: Names of price sources kept by pane: there are few, and a sender that makes them up must not fill memory.
MAX_PRICE_SOURCES = 8
#: Moments of workers remembered, to see which events are of one batch. They come close together.
MAX_CYCLES = 4096
#: A clock ahead of ours by more than this is taken as ours: its panes would never be looked at.
MAX_AHEAD_SECONDS = 10.0
#: What a window is compared with: the hour before it, as far as it is kept.
BEFORE_SECONDS = 3600


@dataclass(slots=True)
class Totals:
    """Sums over some texts. Money in nano-USD, phases in seconds."""

    texts: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    misses: int = 0
    batches: int = 0  # that held texts of the scope
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
    price_sources: set[str] = field(default_factory=set)
    #: Sum of n^2 over batches of n texts that have a latency, each event for itself; and what is to be added where
    #: several events (one for each tenant) are one batch: (a + b)^2 is a^2 + b^2 + 2ab.
    squared_texts: float = 0.0
    crossed_texts: float = 0.0
    #: `BatchEvent.batch_share`: what a phase took is divided by, to say what it took a batch.
    batch_share: float = 0.0
    unpriced_saved_tokens: int = 0
    duplicate_tokens: int = 0
    unsettled_texts: int = 0
    uncounted_texts: int = 0
    uncached_texts: int = 0

    def add(
        self, event: BatchEvent, latency: Sketch, queue_wait: Sketch, time_seconds: float, earlier: float = 0.0
    ) -> None:
        """Count one event; its sketches come decoded. `earlier` is the weight of other events of its batches."""
        _add_event(self, event)
        self.unpriced_saved_tokens += unpriced_saved_tokens(event)
        self.events += 1
        for error, count in event.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        mine = self.phase_seconds
        for phase, seconds in zip(PHASES, _phases_of(event.phase_seconds), strict=True):
            mine[phase] += seconds
        self.latency.merge(latency)
        self.queue_wait.merge(queue_wait)
        if time_seconds < self.first_seconds:
            self.first_seconds = time_seconds
        if event.price_source not in self.price_sources and len(self.price_sources) < MAX_PRICE_SOURCES:
            self.price_sources.add(event.price_source)
        weight = _weight(event, latency)
        self.squared_texts += weight * weight
        self.crossed_texts += 2.0 * weight * earlier
        share, batches = event.batch_share, event.batches
        self.batch_share += batches if share is None or share > batches else share

    def merge(self, other: Totals) -> None:
        _add_sums(self, other)
        self.events += other.events
        for error, count in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        for phase in PHASES:
            self.phase_seconds[phase] += other.phase_seconds[phase]
        self.latency.merge(other.latency)
        self.queue_wait.merge(other.queue_wait)
        self.first_seconds = min(self.first_seconds, other.first_seconds)
        self.price_sources |= other.price_sources
        self.squared_texts += other.squared_texts
        self.crossed_texts += other.crossed_texts
        self.batch_share += other.batch_share

    def without(self, part: Totals) -> Totals:
        """What was counted since these totals were `part`: merged into it, it makes these again, floats to the last
        digits. Raises ValueError when they do not hold all of it."""
        more = Totals(
            **{name: getattr(self, name) - getattr(part, name) for name in _SUMS},
            events=self.events - part.events,
            errors={name: more for name, count in self.errors.items() if (more := count - part.errors.get(name, 0))},
            phase_seconds={name: max(self.phase_seconds[name] - part.phase_seconds[name], 0.0) for name in PHASES},
            latency=self.latency.without(part.latency),
            queue_wait=self.queue_wait.without(part.queue_wait),
            first_seconds=self.first_seconds,
            price_sources=set(self.price_sources),
            squared_texts=max(self.squared_texts - part.squared_texts, 0.0),
            crossed_texts=max(self.crossed_texts - part.crossed_texts, 0.0),
            batch_share=max(self.batch_share - part.batch_share, 0.0),
        )
        more.busy_seconds = max(more.busy_seconds, 0.0)
        if min(more.events, *(getattr(more, name) for name in _SUMS), *more.errors.values()) < 0:
            raise ValueError("the other totals have events that these do not have")
        return more

    @property
    def gaps(self) -> int:
        """Above 0: the cost lacks something that is not known."""
        return self.unpriced_tokens + self.unsettled_texts

    @property
    def error_count(self) -> int:
        """Texts without a vector."""
        return sum(self.errors.values())

    @property
    def failed_count(self) -> int:
        """Those of them that their callers had not given up."""
        return failed_texts(self.errors)

    def error_rate_pct(self) -> float | None:
        """Texts that failed, of all texts; None when there were none. Who gives up is no failing provider."""
        return 100.0 * self.failed_count / self.texts if self.texts else None

    def cache_hit_rate_pct(self) -> float | None:
        """Hits of all look-ups with an answer: hits / (hits + misses), of texts. None when there was none.

        Copies within a poll are looked up once, so they do not flatter the cache; what failed says nothing of it.
        """
        return 100.0 * self.cache_hits / self.looked_up if self.looked_up else None

    @property
    def looked_up(self) -> int:
        """Texts that a cache was asked for. Where there is none, no text was looked up, rather than missed."""
        return self.cache_hits + self.misses - self.uncached_texts

    def token_hit_rate_pct(self) -> float | None:
        """The same of tokens: those of hits / (those of hits + those of misses), each as many as the model reads.

        So copies, failures and what is cut off a long text are in neither rate.
        """
        hit_tokens = self.tokens_saved - self.duplicate_tokens
        looked_up = hit_tokens + self.tokens_embedded
        return 100.0 * hit_tokens / looked_up if looked_up > 0 and self.looked_up else None

    def padding_waste_pct(self) -> float | None:
        """Padding of all positions the model computed; None when it computed none."""
        positions = self.tokens_embedded + self.padding_tokens
        return 100.0 * self.padding_tokens / positions if positions else None


_SUMS = (
    "texts", "cache_hits", "duplicates", "misses", "batches", "tokens_received", "tokens_embedded", "tokens_saved",
    "truncated_texts", "padding_tokens", "cost_nano_usd", "saved_nano_usd", "unpriced_tokens", "cache_errors",
    "busy_seconds", "unpriced_saved_tokens", "duplicate_tokens", "unsettled_texts", "uncounted_texts",
    "uncached_texts",
)  # fmt: skip
_add_sums = adder(_SUMS)
#: What an older sender does not tell is not added as it stands.
_add_event = adder([name for name in _SUMS if name != "unpriced_saved_tokens"])
_phases_of: Callable[[PhaseSeconds], tuple[float, ...]] = attrgetter(*PHASES)


def _weight(event: BatchEvent, latency: Sketch) -> float:
    """Its square is the sum of n^2 over the event's batches, if they are of one size. Cache hits are one batch."""
    return latency.count / math.sqrt(max(event.batches, 1))


def pane_start(time_seconds: float) -> int:
    return int(time_seconds // PANE_SECONDS) * PANE_SECONDS


#: Sums not in the panes yet, of models and tenants within the cap on scopes, and of as many panes as events are late.
MAX_STAGED = 1000


@dataclass(slots=True)
class _Staged:
    """Events of one model, tenant and pane since the panes were last looked at, and the scopes they count in."""

    scopes: list[Scope]
    totals: Totals = field(default_factory=Totals)
    repeated: int = 0  # of the batches, in scopes of all tenants
    tenant_repeated: int = 0

    def add(self, event: BatchEvent, latency: Sketch, queue_wait: Sketch, time_seconds: float, earlier: float) -> None:
        self.totals.add(event, latency, queue_wait, time_seconds, earlier)
        if event.repeated_batches:
            self.repeated += repeated_batches(event, ALL)
            self.tenant_repeated += repeated_batches(event, OTHER)


def of_all_tenants(scope: Scope) -> bool:
    """Whether it holds whole batches, whosever texts are in them. What is in `other` is not known to."""
    return not scope or (scope != OTHER and all(dimension != "tenant" for dimension, _ in scope))


def repeated_batches(event: BatchEvent, scope: Scope) -> int:
    """Of the event's batches, those that another event has brought to the scope. What makes no sense is bounded."""
    repeated = event.repeated_batches if of_all_tenants(scope) else event.tenant_repeated_batches
    return min(repeated, event.batches)


def counted_at(event: BatchEvent, now: float) -> float:
    """The event's time, or `now` where its clock runs far ahead."""
    return event.time_seconds if event.time_seconds <= now + MAX_AHEAD_SECONDS else now


def sketches_of(event: BatchEvent) -> tuple[Sketch, Sketch]:
    """Latency and queue wait of its texts. Raises `InvalidEvent` when one does not decode, or has more texts."""
    latency, queue_wait = Sketch.from_text(event.latency_sketch), Sketch.from_text(event.queue_wait_sketch)
    if max(latency.count, queue_wait.count) > event.texts:
        raise InvalidEvent("invalid", f"a sketch has more than the {event.texts} texts of its batch")
    return latency, queue_wait


class Windows:
    """Panes of all scopes. Memory is bounded by `max_scopes` and by the longest window kept.

    An event counts in up to four scopes. It is added up once, and what was added up goes into the scopes' panes when
    these are looked at, which is ten times a second and not thousands of times.
    """

    def __init__(self, *, max_scopes: int, keep_seconds: int = MAX_WINDOW_SECONDS) -> None:
        self.max_scopes = max_scopes
        self.keep_seconds = keep_seconds
        self.late_events = 0
        self.overflow_events = 0
        self._kept: dict[Scope, dict[int, Totals]] = {ALL: {}}
        self._staged: dict[tuple[str, str | None, int], _Staged] = {}
        self._cycles: dict[tuple[str, float], float] = {}  # worker and time: weight
        self._merges: dict[Scope, Merges[Totals]] = {}  # of scopes that a window was asked of
        self.workers = WorkerPanes()

    def add(self, event: BatchEvent, now: float) -> list[Scope]:
        """Count an event in its pane; the scopes it counts in, none when it is too late for any window.

        Raises `InvalidEvent` when a sketch does not decode.
        """
        latency, queue_wait = sketches_of(event)
        time_seconds = counted_at(event, now)
        start = pane_start(time_seconds)
        if start <= pane_start(now) - self.keep_seconds:
            self.late_events += 1
            return []
        earlier = self._earlier(event, latency)
        self.workers.add(event, latency, start, time_seconds)
        key = (event.model, event.tenant, start)
        staged = self._staged.get(key)
        if staged is None:
            overflowed = self.overflow_events
            staged = _Staged(self._admitted(event))
            if self.overflow_events > overflowed:
                # Not staged: when its like comes next, more of its scopes may be known.
                staged.add(event, latency, queue_wait, time_seconds, earlier)
                self._settle(start, staged)
                return staged.scopes
            self._staged[key] = staged
        staged.add(event, latency, queue_wait, time_seconds, earlier)
        if len(self._staged) > MAX_STAGED:
            self._take_in()
        return staged.scopes

    def _earlier(self, event: BatchEvent, latency: Sketch) -> float:
        """Weight of the other events of this moment of this worker so far; adds this one's."""
        key = (event.worker, event.time_seconds)
        earlier = self._cycles.pop(key, 0.0)
        self._cycles[key] = earlier + _weight(event, latency)
        if len(self._cycles) > MAX_CYCLES:
            del self._cycles[next(iter(self._cycles))]
        return earlier

    def _admitted(self, event: BatchEvent) -> list[Scope]:
        wanted = scopes_of(event.model, event.tenant)
        fresh = sum(scope not in self._kept for scope in wanted)
        if len(self._kept) + fresh <= self.max_scopes:
            admitted = list(wanted)
        else:
            self.overflow_events += bool(fresh)
            known = [scope for scope in wanted if scope in self._kept]
            admitted = [*known, OTHER] if fresh else known
        for scope in admitted:
            self._kept.setdefault(scope, {})
        return admitted

    @property
    def _panes(self) -> dict[Scope, dict[int, Totals]]:
        """Panes by scope and start, with all that was counted: whoever reads them comes through here."""
        self._take_in()
        return self._kept

    def _take_in(self) -> None:
        if not self._staged:
            return
        staged, self._staged = self._staged, {}
        for (_, _, start), part in staged.items():
            self._settle(start, part)

    def _settle(self, start: int, part: _Staged) -> None:
        for scope in part.scopes:
            panes = self._kept[scope]
            pane = panes.get(start)
            if pane is None:
                pane = panes[start] = Totals()
            pane.merge(part.totals)
            if part.repeated:
                pane.batches -= part.repeated if of_all_tenants(scope) else part.tenant_repeated
            self._touched(scope, start)

    def window(self, scope: Scope, window_seconds: int, now: float) -> Totals:
        """Totals of a window; empty when the scope is not known."""
        merges = self._merges_of(scope)
        if merges is None:
            return Totals()
        last = pane_start(now)
        # A pane may lie ahead of `now` by as much as clocks differ: it belongs to the present.
        return merges.window(last - window_seconds + PANE_SECONDS, last)

    def before(self, scope: Scope, window_seconds: int, now: float) -> Totals:
        """Totals of what is kept of the hour before a window; empty when nothing is."""
        merges = self._merges_of(scope)
        if merges is None:
            return Totals()
        first, end, last = self._before(window_seconds, now)
        return merges.span(first, end, last)

    def _before(self, window_seconds: int, now: float) -> tuple[int, int, int]:
        last = pane_start(now)
        end = last - window_seconds + PANE_SECONDS
        return max(end - BEFORE_SECONDS, last - self.keep_seconds + PANE_SECONDS), end, last

    def workers_window(self, window_seconds: int, now: float) -> Workers:
        """What each worker did in a window."""
        last = pane_start(now)
        return self._worker_panes().span(last - window_seconds + PANE_SECONDS, None, last)

    def workers_before(self, window_seconds: int, now: float) -> Workers:
        """What each worker did in what is kept of the hour before a window."""
        return self._worker_panes().span(*self._before(window_seconds, now))

    def _worker_panes(self) -> WorkerPanes:
        return self.workers

    def texts(self, scope: Scope, window_seconds: int, now: float) -> int:
        """Texts of a scope in a window, without adding up the rest."""
        merges, last = self._merges_of(scope), pane_start(now)
        parts = [] if merges is None else merges.parts(last - window_seconds + PANE_SECONDS, last)
        return sum(part.texts for part in parts)

    def _merges_of(self, scope: Scope) -> Merges[Totals] | None:
        panes = self._panes_of(scope)
        if not panes:
            return None
        merges = self._merges.get(scope)
        if merges is None or merges.panes is not panes:
            merges = self._merges[scope] = Merges(panes, Totals)
        return merges

    def _panes_of(self, scope: Scope) -> dict[int, Totals]:
        """Panes of one scope; empty when it is not known."""
        return self._panes.get(scope, {})

    def _touched(self, scope: Scope, start: int) -> None:
        """A pane was added to or replaced: what was added up of it is not to be used again."""
        merges = self._merges.get(scope)
        if merges is not None:
            merges.changed(start)

    def between(self, scope: Scope, first: int, end: int) -> Totals:
        """Totals of the panes from `first` up to but without `end`, both multiples of a pane."""
        out = Totals()
        panes = self._panes_of(scope)
        for start in range(first, end, PANE_SECONDS):
            pane = panes.get(start)
            if pane is not None:
                out.merge(pane)
        return out

    def cost_nano_usd(self, scope: Scope, window_seconds: int, now: float, not_before_seconds: float) -> int:
        """Spend of a window, without the cost of merging its sketches; nothing from before a moment."""
        first = max(pane_start(now) - window_seconds + PANE_SECONDS, not_before_seconds)
        return sum(pane.cost_nano_usd for start, pane in self._panes.get(scope, {}).items() if start >= first)

    def covered_seconds(self, totals: Totals, window_seconds: int, now: float) -> float | None:
        """How long the window has been looking: from its first pane, or the first event if that is later, to `now`.

        None when it holds nothing. At least one second, so that a rate over a moment is not a multiple of the truth.
        """
        if not totals.events:
            return None
        begun = max(float(pane_start(now) - window_seconds + PANE_SECONDS), totals.first_seconds)
        return max(now - begun, 1.0)

    @property
    def breadth(self) -> int:
        """Panes that are added up for one pane of a scope, at the most."""
        return 1

    def scopes(self) -> list[Scope]:
        """Every scope with a pane kept, everything first."""
        return list(self._panes)

    def prune(self, now: float) -> None:
        """Forget panes no window reaches any more, and scopes without panes."""
        oldest = pane_start(now) - self.keep_seconds
        self.workers.prune(oldest)
        for scope, panes in list(self._panes.items()):
            gone = [start for start in panes if start <= oldest]
            for start in gone:
                del panes[start]
            if gone and scope in self._merges:
                self._merges[scope].forget(oldest)
            if not panes and scope != ALL:
                del self._panes[scope]
                self._merges.pop(scope, None)
