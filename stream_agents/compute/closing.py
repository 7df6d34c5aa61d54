"""Windows that are over: when each is closed, what it holds, and which are not published yet. Pure.

Windows of a length stand side by side, on multiples of the length in Unix time. One is closed when the watermark has
passed its end by the grace. What comes for it after that is counted as late: a window that is out does not change. The
event still counts in every longer window that is open, in the sliding windows of the rules, and in the ledger.

A thousand scopes take a quarter of a second to close, so it is done scope by scope, with pauses. All of them are closed
as they were at the moment when the first one was: what comes in a pause is late, and a scope that it would change is
closed before it is counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedwatch.events import BatchEvent, PhaseSeconds, WindowEvent
from embedwatch.rules import MAX_WINDOW_SECONDS
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import ALL, OTHER, Scope, scope_key, scopes_of
from stream_agents.compute.watermark import Watermark
from stream_agents.compute.windows import MAX_AHEAD_SECONDS, Totals, Windows, counted_at, repeated_batches

DEFAULT_LENGTHS = (60, 300, 3600)
DEFAULT_GRACE_SECONDS = 30.0
#: A partition whose events are older than this is not waited for. Panes are kept an hour, and what is closed must be
#: there still after the longest grace and some minutes in which nobody asked.
MAX_BEHIND_SECONDS = 2400.0
#: Closed windows that wait for the broker. Beyond it the oldest are dropped and counted.
MAX_UNSENT = 10_000
#: So many are handed out at once.
CHUNK = 500
#: Closing pauses after so many units of work, so that events and verdicts wait for some milliseconds and not for a
#: second: adding up the panes of a scope in one partition, and making a window, are about 0.05 ms each.
SLICE = 100
#: Published or not, the newest of each length are remembered for the API.
MAX_RECENT = 2000
_SUMS = tuple(
    name for name in WindowEvent.__struct_fields__
    if name in Totals.__slots__ and name not in ("events", "errors", "phase_seconds")
)  # fmt: skip


@dataclass(slots=True)
class _Step:
    """Panes that are being closed, scope by scope."""

    start: int
    end: int
    closed_seconds: float
    ending: dict[int, bool]  # lengths of windows that end with it, and whether these are partial
    waiting: dict[Scope, None]


class Closer:
    """Call `assign` first; `observe`, `before_event` and `add` for every event; `before_pane` and `before_prune` when
    these happen; `due` every second, and again while it is `busy`; and `said` for what is out."""

    def __init__(
        self, lengths: Sequence[int] = DEFAULT_LENGTHS, *, grace_seconds: float = DEFAULT_GRACE_SECONDS,
        max_unsent: int = MAX_UNSENT,
    ) -> None:  # fmt: skip
        self.lengths = tuple(sorted(lengths))
        self.grace_seconds = grace_seconds
        self.max_unsent = max_unsent
        #: Panes are closed in steps of this, which divides every length.
        self.step_seconds = math.gcd(60, *self.lengths)
        self.late_events = 0
        self.dropped_windows = 0
        self.all_partitions: int | None = None  # of the topic; None: those assigned are all
        self._watermark = Watermark(idle_seconds=grace_seconds, behind_seconds=MAX_BEHIND_SECONDS)
        self._assigned: frozenset[int] | None = None
        self._whole_from = math.inf  # windows that begin before it may lack events
        self._next: int | None = None  # start of the first step that is not closed, nor being closed
        self._step: _Step | None = None
        self.busy = False
        #: Windows longer than a step that are open: the sums of their steps that are closed.
        self._begun: dict[int, dict[Scope, Totals]] = {length: {} for length in self.lengths}
        self._unsent: deque[WindowEvent] = deque()
        #: Every window that ends up to here is out, whoever published it; None: not known.
        self.published_until: float | None = None
        self._recent: dict[int, deque[WindowEvent]] = {length: deque(maxlen=MAX_RECENT) for length in self.lengths}

    def assign(self, partitions: Collection[int], now: float) -> None:
        """These partitions are counted from now on. Windows that have begun are whole only if nothing changed."""
        assigned = frozenset(partitions)
        self._watermark.assign(assigned, now)
        if self._next is None:
            self._next = self._step_of(now - MAX_BEHIND_SECONDS - self.grace_seconds)
        if assigned == self._assigned:
            return
        self._assigned = assigned
        whole = self.all_partitions is None or len(assigned) == self.all_partitions
        # Whoever had them before may have counted events of clocks that run ahead.
        self._whole_from = now + MAX_AHEAD_SECONDS if whole else math.inf

    def observe(self, partition: int, time_seconds: float, now: float) -> None:
        """An event of any kind came: its partition has got as far as its time."""
        self._watermark.observe(partition, time_seconds, now)

    def newest(self, partition: int) -> float | None:
        """How far a partition has got, for other processes; None when nothing came since it was assigned."""
        return self._watermark.newest(partition)

    def is_over(self, start: int) -> bool:
        """Whether the step of this pane is closed: what its pane gets from now on is late."""
        return self._next is not None and start < self._next

    def replaced(self, start: int, before: Mapping[Scope, Totals], after: Mapping[Scope, Totals]) -> None:
        """A pane that `is_over` was replaced by one that another process has counted: what it has more came too late.
        It counts in the longer windows that are open, as a late event of our own partitions does."""
        nothing = Totals()
        self.late_events += max(after.get(ALL, nothing).events - before.get(ALL, nothing).events, 0)
        open_ = [begun for length, begun in self._begun.items() if self._is_open(start, length)]
        for scope, totals in after.items() if open_ else ():
            try:
                late = totals.without(before.get(scope, nothing))
            except ValueError:
                continue  # it has less of this scope than we had: another process drew the cap on scopes elsewhere
            for begun in open_ if late.events else ():
                begun.setdefault(scope, Totals()).merge(late)

    def _is_open(self, time_seconds: float, length: int) -> bool:
        """Whether closed steps of a window that holds this moment are summed up for it, and it is not closed itself."""
        return self._next is not None and length != self.step_seconds and time_seconds >= self._next // length * length

    def add(self, event: BatchEvent, scopes: Iterable[Scope], now: float) -> None:
        """An event was counted in the panes of these scopes; none: it was too late for any."""
        scopes = list(scopes)
        time_seconds = counted_at(event, now)
        if scopes and (self._next is None or time_seconds >= self._next):
            return
        self.late_events += 1
        latency = queue_wait = None
        for length, begun in self._begun.items():
            if not self._is_open(time_seconds, length):
                continue
            for scope in scopes:
                latency = latency or Sketch.from_text(event.latency_sketch)
                queue_wait = queue_wait or Sketch.from_text(event.queue_wait_sketch)
                totals = begun.setdefault(scope, Totals())
                totals.add(event, latency, queue_wait, time_seconds)
                totals.batches -= repeated_batches(event, scope)

    def due(self, windows: Windows, now: float) -> list[WindowEvent]:
        """Go on closing what is over, a slice at a time, and return the oldest windows that are not published.

        `said` takes them back. While `busy` there is more to close: call it again when others have had their turn.
        """
        self.busy = False
        if self._next is not None:
            horizon = self._watermark.at(now) - self.grace_seconds
            earliest = self._step_of(now - MAX_WINDOW_SECONDS) + self.step_seconds
            if self._step is None and self._next < earliest:
                self._skip_to(earliest, now)
            work = 0
            while self._step is not None or self._next + self.step_seconds <= horizon:
                if work >= SLICE:
                    self.busy = True
                    break
                step = self._step or self._begin_step(windows, self._next, now)
                work += self._close_scope(windows, next(iter(step.waiting)))
        return [self._unsent[index] for index in range(min(CHUNK, len(self._unsent)))]

    def before_event(self, windows: Windows, event: BatchEvent, now: float) -> None:
        """Call it before an event is counted: what is being closed is closed without it, whatever its turn."""
        step = self._step
        if step is not None and step.start <= counted_at(event, now) < step.end:
            for scope in (*scopes_of(event.model, event.tenant), OTHER):
                if scope in step.waiting:
                    self._close_scope(windows, scope)

    def before_pane(self, windows: Windows, start: int) -> None:
        """Call it before a pane is replaced: all scopes may change."""
        if self._step is not None and self._step.start <= start < self._step.end:
            self._finish_step(windows)

    def before_prune(self, windows: Windows, oldest: int) -> None:
        """Call it before panes up to `oldest` are forgotten."""
        if self._step is not None and self._step.start <= oldest:
            self._finish_step(windows)

    def said(self, events: Iterable[WindowEvent]) -> None:
        """They were published: what the broker did not take stays due."""
        out = {id(event) for event in events}
        while self._unsent and id(self._unsent[0]) in out:
            self._unsent.popleft()
        # Of the step of the oldest one that waits, some may be out.
        until: float | None = self._next if self._step is None else self._step.start
        if self._unsent:
            until = self._unsent[0].end_seconds - self.step_seconds
        if until is not None:
            self.published(float(until))

    def published(self, until_seconds: float) -> None:
        """Every window that ends up to then is out: another process has said it, or this one before it was started."""
        self.published_until = max(self.published_until or 0.0, until_seconds)
        while self._unsent and self._unsent[0].end_seconds <= self.published_until:
            self._unsent.popleft()

    def recent(self, scope: Scope, length: int, limit: int) -> list[WindowEvent]:
        """The newest closed windows of a scope, the newest first."""
        key = scope_key(scope)
        found = []
        for event in reversed(self._recent[length]):
            if event.scope == key:
                found.append(event)
                if len(found) >= limit:
                    break
        return found

    def unclosed(self, windows: Windows, scope: Scope, length: int, now: float) -> list[tuple[int, Totals]]:
        """(start, totals so far) of the windows not closed yet, the present one first."""
        if self._next is None:
            return []
        if self._step is not None and scope in self._step.waiting:
            self._close_scope(windows, scope)
        first = self._next // length * length
        out = []
        for start in range(first, int(now) + 1, length):
            totals = windows.between(scope, max(start, self._next), start + length)
            if start == first and scope in self._begun[length]:
                totals.merge(self._begun[length][scope])
            out.append((start, totals))
        return out[::-1]

    def is_partial(self, start_seconds: float) -> bool:
        """Whether a window that begins then may lack events that were published."""
        return start_seconds < self._whole_from

    def _step_of(self, time_seconds: float) -> int:
        return int(time_seconds // self.step_seconds) * self.step_seconds

    def _skip_to(self, start: int, now: float) -> None:
        """Nobody asked for longer than panes are kept (the machine slept): that time is not known."""
        self._next = start
        self._whole_from = max(self._whole_from, now)
        for begun in self._begun.values():
            begun.clear()

    def _begin_step(self, windows: Windows, start: int, now: float) -> _Step:
        """From here on the step is over: what comes for it is late, also for scopes that wait for their turn."""
        end = start + self.step_seconds
        ending = {length: self.is_partial(end - length) for length in self.lengths if end % length == 0}
        waiting = dict.fromkeys(windows.scopes())
        for length in ending:
            waiting.update(dict.fromkeys(self._begun[length]))  # also those whose panes are gone
        self._step = _Step(start, end, now, ending, waiting)
        self._next = end
        return self._step

    def _close_scope(self, windows: Windows, scope: Scope) -> int:
        """Close the step for one scope that waits, and the windows that end with it. What that cost, in units."""
        step = self._step
        assert step is not None  # noqa: S101 (callers have asked)
        del step.waiting[scope]
        if not step.waiting:
            self._step = None
        totals = windows.between(scope, step.start, step.end)
        for length, begun in self._begun.items():
            whole = totals
            if length != self.step_seconds:
                if totals.events:
                    begun.setdefault(scope, Totals()).merge(totals)
                if length not in step.ending:
                    continue
                whole = begun.pop(scope) if scope in begun else Totals()
            partial = step.ending[length]
            # Nothing at all is said for everything, so that silence is told from an agent that is away.
            if whole.events or (scope == ALL and not partial):
                self._emit(window_event(scope, length, step.end - length, whole, step.closed_seconds, partial))
        return windows.breadth + len(step.ending)

    def _finish_step(self, windows: Windows) -> None:
        while self._step is not None:
            self._close_scope(windows, next(iter(self._step.waiting)))

    def _emit(self, event: WindowEvent) -> None:
        self._recent[event.window_seconds].append(event)
        if self.published_until is not None and event.end_seconds <= self.published_until:
            return  # a window that is out does not change
        self._unsent.append(event)
        if len(self._unsent) > self.max_unsent:
            self._unsent.popleft()
            self.dropped_windows += 1


def window_event(
    scope: Scope, length: int, start_seconds: int, totals: Totals, closed_seconds: float, partial: bool
) -> WindowEvent:
    return WindowEvent(
        scope=scope_key(scope),
        window_seconds=length,
        start_seconds=float(start_seconds),
        end_seconds=float(start_seconds + length),
        closed_seconds=closed_seconds,
        partial=partial,
        events=totals.events,
        **{name: getattr(totals, name) for name in _SUMS},
        errors=dict(totals.errors),  # type: ignore[arg-type]
        phase_seconds=PhaseSeconds(**totals.phase_seconds),
        latency_sketch=totals.latency.to_text(),
        queue_wait_sketch=totals.queue_wait.to_text(),
        throughput_texts_per_s=None if partial else totals.texts / length,
        throughput_tokens_per_s=None if partial else totals.tokens_embedded / length,
    )


def totals_of(event: WindowEvent) -> Totals:
    """The sums of a closed window, to add up or to ask for percentiles. Raises `InvalidEvent` for a bad sketch."""
    sums = {name: getattr(event, name) for name in _SUMS}
    if event.batch_share is None:
        sums["batch_share"] = float(event.batches)
    return Totals(
        **sums,
        events=event.events,
        errors=dict(event.errors),  # type: ignore[arg-type]
        phase_seconds={name: getattr(event.phase_seconds, name) for name in event.phase_seconds.__struct_fields__},
        latency=Sketch.from_text(event.latency_sketch),
        queue_wait=Sketch.from_text(event.queue_wait_sketch),
    )
