"""What each worker did by pane: a few sums, enough to say which one moved a number.

Windows know models and tenants, whose panes hold whole distributions. A thousand workers more would not fit in memory,
and nobody asks for their percentiles; so here are sums only, by model and worker, for the whole and not by tenant.
At most `MAX_WORKERS` pairs of a partition have sums of their own, the same ones in all panes, and the others count
together. Workers write to the partition of their name, so a pipeline may have as many more as it has partitions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from embedwatch.events import BatchEvent, failed_texts
from embedwatch.sketch import Sketch
from stream_agents.compute.adding import adder
from stream_agents.compute.merges import Merges

#: Pairs of model and worker kept apart in a partition: 17 MB of sums an hour.
MAX_WORKERS = 100
#: Model and worker; no worker: those above the cap.
Pair = tuple[str, str | None]
OTHER_WORKERS: Pair = ("", None)


class WorkerSums(msgspec.Struct, array_like=True):
    """Sums over the events of one worker. `latency_ms` is over the `latency_texts` texts that have one."""

    texts: int = 0
    cache_hits: int = 0
    misses: int = 0
    tokens_embedded: int = 0
    errors: int = 0  # that are failures: without those whose callers gave up
    latency_texts: int = 0
    latency_ms: float = 0.0
    first_seconds: float = math.inf  # time of the earliest event
    #: Wall seconds of the three steps of a worker, which overlap, and of forward passes, over `timed_texts` texts: the
    #: others were counted by agents that are older than these fields.
    timed_texts: int = 0
    before_seconds: float = 0.0  # lookup and tokenising
    embed_seconds: float = 0.0
    after_seconds: float = 0.0  # publishing, and the write to the cache
    busy_seconds: float = 0.0

    def add(self, event: BatchEvent, latency: Sketch, time_seconds: float) -> None:
        _add_counts(self, event)
        self.misses -= event.uncached_texts  # of the cache they say nothing
        if event.errors:
            self.errors += failed_texts(event.errors)
        self.latency_texts += latency.count
        self.latency_ms += latency.total
        if time_seconds < self.first_seconds:
            self.first_seconds = time_seconds
        spent = event.phase_seconds
        self.timed_texts += event.texts
        self.before_seconds += spent.cache_lookup + spent.tokenise
        self.embed_seconds += spent.embed
        self.after_seconds += spent.publish + spent.cache_write
        self.busy_seconds += event.busy_seconds

    def merge(self, other: WorkerSums) -> None:
        _add_sums(self, other)
        self.first_seconds = min(self.first_seconds, other.first_seconds)

    def latency_mean_ms(self) -> float | None:
        return self.latency_ms / self.latency_texts if self.latency_texts else None

    def error_rate_pct(self) -> float | None:
        return 100.0 * self.errors / self.texts if self.texts else None

    def cache_hit_rate_pct(self) -> float | None:
        looked_up = self.cache_hits + self.misses
        return 100.0 * self.cache_hits / looked_up if looked_up else None


_COUNTS = ("texts", "cache_hits", "misses", "tokens_embedded")
_add_counts = adder(_COUNTS)
_add_sums = adder((
    *_COUNTS, "errors", "latency_texts", "latency_ms", "timed_texts", "before_seconds", "embed_seconds",
    "after_seconds", "busy_seconds",
))  # fmt: skip


class Workers(dict[Pair, WorkerSums]):
    """Sums by model and worker."""

    def merge(self, other: Workers) -> None:
        """Add all of `other`; `other` is left as it was."""
        for pair, sums in other.items():
            mine = self.get(pair)
            if mine is None:
                mine = self[pair] = WorkerSums()
            mine.merge(sums)

    def of_model(self, model: str | None) -> Workers:
        """Those of one model; None: of all."""
        return self if model is None else Workers({pair: sums for pair, sums in self.items() if pair[0] == model})

    def by_name(self) -> dict[str | None, WorkerSums]:
        """A worker with several models is one again. None: those above the cap."""
        out: dict[str | None, WorkerSums] = {}
        for (_, worker), sums in self.items():
            out.setdefault(worker, WorkerSums()).merge(sums)
        return out

    @classmethod
    def over(cls, parts: Iterable[Workers]) -> Workers:
        """A sum for reading only: what is in one part alone is that part's own."""
        out, shared = cls(), set[Pair]()
        for part in parts:
            for pair, sums in part.items():
                mine = out.get(pair)
                if mine is None:
                    out[pair] = sums
                    continue
                if pair not in shared:
                    shared.add(pair)
                    mine, first = WorkerSums(), mine
                    out[pair] = mine
                    mine.merge(first)
                mine.merge(sums)
        return out


class WorkerPanes:
    """Panes by start in Unix seconds."""

    def __init__(self, max_workers: int = MAX_WORKERS) -> None:
        self.max_workers = max_workers
        self.panes: dict[int, Workers] = {}
        self._known: set[Pair] = set()
        self._merges: Merges[Workers] | None = None  # made when a sum is asked for

    def add(self, event: BatchEvent, latency: Sketch, start: int, time_seconds: float) -> None:
        """Count an event in the pane that begins at `start`."""
        pane = self.panes.get(start)
        if pane is None:
            pane = self.panes[start] = Workers()
        pair: Pair = (event.model, event.worker)
        sums = pane.get(pair)
        if sums is None:
            pair = self._admitted(pair)
            sums = pane.get(pair)
            if sums is None:
                sums = pane[pair] = WorkerSums()
        sums.add(event, latency, time_seconds)
        if self._merges is not None:
            self._merges.changed(start)

    def _admitted(self, pair: Pair) -> Pair:
        if pair in self._known:
            return pair
        if len(self._known) >= self.max_workers:
            return OTHER_WORKERS
        self._known.add(pair)
        return pair

    def replace(self, start: int, pane: Workers | None) -> None:
        """Put a pane, which is only read from then on or belongs here, in the place of the one that is there."""
        if pane:
            self.panes[start] = pane
            # Those of another process may be others than ours: then for an hour there are more.
            self._known.update(pair for pair in pane if pair != OTHER_WORKERS)
        elif self.panes.pop(start, None) is None:
            return
        if self._merges is not None:
            self._merges.changed(start)

    def span(self, first: int, end: int | None, last: int) -> Workers:
        """A sum of the caller's own from `first` to before `end`, or to what lies ahead, when `last` is the present."""
        if self._merges is None:
            self._merges = Merges(self.panes, Workers)
        return self._merges.window(first, last) if end is None else self._merges.span(first, end, last)

    def prune(self, oldest: int) -> None:
        """Forget the panes up to `oldest`, and workers without panes."""
        gone = [start for start in self.panes if start <= oldest]
        for start in gone:
            del self.panes[start]
        if gone:
            self._known = {pair for pane in self.panes.values() for pair in pane if pair != OTHER_WORKERS}
            if self._merges is not None:
                self._merges.forget(oldest)


Rows = list[tuple[str, str | None, WorkerSums]]
"""A pane on the wire: model, worker (null: those above the cap), sums."""


def to_rows(pane: Workers) -> Rows:
    return [(model, worker, sums) for (model, worker), sums in pane.items()]


def from_rows(rows: Rows) -> Workers:
    """A sender that makes up more workers than it may keep does not fill memory here."""
    out = Workers()
    for model, worker, sums in rows[: 2 * MAX_WORKERS]:
        out.setdefault((model, worker), WorkerSums()).merge(sums)
    return out
