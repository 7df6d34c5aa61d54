"""Progress for people, on standard error: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol

from embedwatch.clock import Clock
from embedwatch.waiting_line import shows_progress

_REFRESH_SECONDS = 0.2
_LINE_SECONDS = 5.0


class Progress(Protocol):
    def update(self, sent_texts: int, acknowledged_texts: int, done_pct: float | None) -> None:
        """Cheap: may be called for every message."""


class Lines:
    """One line every few seconds; nothing for a run shorter than that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = self._shown = clock.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, sent_texts: int, acknowledged_texts: int, done_pct: float | None) -> None:
        now = self._clock.monotonic()
        if now - self._shown < _LINE_SECONDS:
            return
        self._shown = now
        rate = acknowledged_texts / (now - self._started)
        share = "" if done_pct is None else f" ({done_pct:.0f} %)"
        waiting = sent_texts - acknowledged_texts
        print(
            f"embedwatch: {acknowledged_texts:,} texts arrived{share}, {waiting:,} on the way, {rate:,.0f} texts/s",
            file=sys.stderr,
            flush=True,
        )


class Bar:
    """A rich progress bar. Without a known end it only counts."""

    def __init__(self, clock: Clock) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._clock = clock
        self._started = clock.monotonic()
        self._shown = 0.0
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("sending", total=None)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, sent_texts: int, acknowledged_texts: int, done_pct: float | None) -> None:
        now = self._clock.monotonic()
        if now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        rate = acknowledged_texts / max(now - self._started, 0.001)
        self._bar.update(
            self._task,
            description=f"{acknowledged_texts:,} texts arrived, {rate:,.0f}/s",
            total=None if done_pct is None else 100,
            completed=done_pct or 0,
        )


def progress(clock: Clock) -> Bar | Lines:
    """The one that fits standard error. A long run in a pipe or in CI says how far it is by a line now and then."""
    return Bar(clock) if shows_progress() else Lines(clock)
