"""Windows of the whole pipeline, made of panes that belong to source partitions, whoever counts them.

A pane of a partition is a function of the partition's events below an offset. Two processes that count the same events
make the same pane, so panes are never added up across processes: the one that knows more events replaces the other, and
what is delivered twice changes nothing. That one rule serves a process that reads what others counted, one that takes
a partition over, and one that starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from embedwatch.events import BatchEvent
from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
from stream_agents.compute.scopes import ALL, OTHER, Scope
from stream_agents.compute.windows import Totals, Windows, counted_at, pane_start, sketches_of
from stream_agents.compute.worker_panes import WorkerPanes, Workers

#: A pane of another process may lie ahead of ours by as much as clocks differ; one further ahead is refused.
MAX_PANE_AHEAD_SECONDS = 120.0


class PartitionPanes(Windows):
    """The panes of one source partition.

    Every event below `next_offset` is in its pane; a pane that came from another process may hold later ones, up to
    `as_of`. `changed` are the panes that have been counted into since they were last handed out.
    """

    def __init__(self, *, max_scopes: int, keep_seconds: int = MAX_WINDOW_SECONDS) -> None:
        super().__init__(max_scopes=max_scopes, keep_seconds=keep_seconds)
        self.next_offset = 0
        self.changed: set[int] = set()
        self.last_batch_seconds: float | None = None
        self._as_of: dict[int, int] = {}

    def count(self, event: BatchEvent, now: float, offset: int) -> list[Scope] | None:
        """Count the event at `offset` once. The scopes it counts in, none when it is too late for any window; None when
        it is in its pane already.

        Raises `InvalidEvent`, and changes nothing, when a sketch does not decode.
        """
        start = pane_start(counted_at(event, now))
        if offset < self.next_offset or offset < self._as_of.get(start, 0):
            # Who counted it may have refused it: it must be refused here, too, or it would be booked.
            sketches_of(event)
            if offset < self.next_offset:
                return None
            scopes = None
        else:
            scopes = self.add(event, now)
        self.next_offset = offset + 1
        self.last_batch_seconds = max(self.last_batch_seconds or 0.0, min(event.time_seconds, now))
        if scopes:
            self.changed.add(start)
        return scopes

    def complete_to(self, next_offset: int) -> None:
        """Every event below this offset is in its pane, for those that were here or have come since."""
        self.next_offset = max(self.next_offset, next_offset)

    def pane_of(self, scope: Scope, start: int) -> Totals | None:
        """One scope of a pane; None when nothing is in it."""
        return self._panes.get(scope, {}).get(start)

    def pane(self, start: int) -> dict[Scope, Totals]:
        """A pane whole: all scopes that have something in it."""
        return {scope: panes[start] for scope, panes in self._panes.items() if start in panes}

    def wants(self, start: int, as_of: int, now: float) -> bool:
        """Whether a pane that holds the events below `as_of` says more than the one that is here."""
        if start % PANE_SECONDS or not pane_start(now) - self.keep_seconds < start <= now + MAX_PANE_AHEAD_SECONDS:
            return False
        return as_of > max(self.next_offset, self._as_of.get(start, 0))

    def replace(self, start: int, as_of: int, pane: Mapping[Scope, Totals], workers: Workers | None = None) -> None:
        """Put a pane that is wanted in the place of the one that is here."""
        kept = self._panes
        for scope, panes in list(kept.items()):
            if panes.pop(start, None) is not None:
                self._touched(scope, start)
                if not panes and scope != ALL:
                    del kept[scope]
                    self._merges.pop(scope, None)
        for scope, totals in pane.items():
            if scope not in kept and len(kept) >= self.max_scopes:
                kept.setdefault(OTHER, {}).setdefault(start, Totals()).merge(totals)
                self._touched(OTHER, start)
            else:
                kept.setdefault(scope, {})[start] = totals
                self._touched(scope, start)
        self.workers.replace(start, workers)
        self._as_of[start] = as_of
        self.changed.discard(start)

    def prune(self, now: float) -> None:
        super().prune(now)
        oldest = pane_start(now) - self.keep_seconds
        for start in [start for start in self._as_of if start <= oldest]:
            del self._as_of[start]
        self.changed = {start for start in self.changed if start > oldest}


class _Sums(dict[Scope, dict[int, Totals]]):
    """Panes by scope and start, of which those of a scope are made anew before they are read."""

    def __init__(self, refresh: Callable[[Scope], None]) -> None:
        super().__init__({ALL: {}})
        self._refresh = refresh

    def __getitem__(self, scope: Scope) -> dict[int, Totals]:
        self._refresh(scope)
        return super().__getitem__(scope)

    def get(self, scope: Scope, default: Any = None) -> Any:
        self._refresh(scope)
        return super().get(scope, default)


class SharedWindows(Windows):
    """The windows over all partitions. What is read is added up when it is asked for, and kept until it changes."""

    def __init__(self, *, max_scopes: int, keep_seconds: int = MAX_WINDOW_SECONDS) -> None:
        super().__init__(max_scopes=max_scopes, keep_seconds=keep_seconds)
        self.parts: dict[int, PartitionPanes] = {}
        self._kept = _Sums(self._refresh)
        self._changes = 0
        self._changed_at: dict[int, int] = {}  # pane start: number of its last change
        self._read_at: dict[Scope, int] = {}  # scope: number of the last change that is in what was read
        self._workers_read_at = 0

    def part(self, partition: int) -> PartitionPanes:
        """The panes of a partition, which may still be empty."""
        if partition not in self.parts:
            self.parts[partition] = PartitionPanes(max_scopes=self.max_scopes, keep_seconds=self.keep_seconds)
        return self.parts[partition]

    def add(self, event: BatchEvent, now: float) -> list[Scope]:
        """Count an event that has no place in a log, as partition 0's next one."""
        return self.count(event, now, 0, self.part(0).next_offset) or []

    def count(self, event: BatchEvent, now: float, partition: int, offset: int) -> list[Scope] | None:
        """Count the event at an offset of a partition, once. Returns and raises what `PartitionPanes.count` does."""
        part = self.part(partition)
        late, overflown = part.late_events, part.overflow_events
        scopes = part.count(event, now, offset)
        if scopes:
            self.note(pane_start(counted_at(event, now)))
        self.late_events += part.late_events - late
        self.overflow_events += part.overflow_events - overflown
        return scopes

    def note(self, start: int) -> None:
        """A pane of some partition has changed."""
        self._changes += 1
        self._changed_at.pop(start, None)
        self._changed_at[start] = self._changes  # the latest change is the last one

    def count_apart(self) -> None:
        """Add up what could not be counted where it belongs."""
        self.late_events = sum(part.late_events for part in self.parts.values())
        self.overflow_events = sum(part.overflow_events for part in self.parts.values())

    @property
    def breadth(self) -> int:
        return max(len(self.parts), 1)

    def scopes(self) -> list[Scope]:
        found = dict.fromkeys([ALL])
        for part in self.parts.values():
            found.update(dict.fromkeys(part.scopes()))
        return list(found)

    def prune(self, now: float) -> None:
        for part in self.parts.values():
            part.prune(now)
        oldest = pane_start(now) - self.keep_seconds
        for start in [start for start in self._changed_at if start <= oldest]:
            del self._changed_at[start]
        super().prune(now)
        self._read_at = {scope: at for scope, at in self._read_at.items() if scope in self._kept}

    def _refresh(self, scope: Scope) -> None:
        """Make the sums over partitions anew where a partition's pane has changed since the scope was last read."""
        read = self._read_at.get(scope, 0)
        if read != self._changes:
            self._read_at[scope] = self._changes
            for start in self._changed_since(read):
                self._add_up(scope, start)

    def _changed_since(self, read: int) -> Iterator[int]:
        for start, changed in reversed(self._changed_at.items()):
            if changed <= read:
                break
            yield start

    def _worker_panes(self) -> WorkerPanes:
        read, self._workers_read_at = self._workers_read_at, self._changes
        for start in self._changed_since(read):
            found = [part.workers.panes[start] for part in self.parts.values() if start in part.workers.panes]
            self.workers.replace(start, found[0] if len(found) == 1 else Workers.over(found))
        return self.workers

    def _add_up(self, scope: Scope, start: int) -> None:
        found = [pane for part in self.parts.values() if (pane := part.pane_of(scope, start)) is not None]
        if found:
            whole = found[0]  # the usual case of one partition costs no copy: it is only read from
            if len(found) > 1:
                whole = Totals()
                for pane in found:
                    whole.merge(pane)
            self._kept.setdefault(scope, {})[start] = whole
        elif dict.get(self._kept, scope, {}).pop(start, None) is None:
            return
        self._touched(scope, start)
