"""A line that says what is waited for: on standard error, only on a terminal, never beside JSON.

Pipes, files and CI get nothing of it. The line goes when the work is done, so that nothing of it is left in between.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

#: What takes no longer has no bar: it would only flicker.
BAR_AFTER_SECONDS = 2.0


def shows_progress(as_json: bool = False) -> bool:
    """Whether somebody sits there to see it."""
    if as_json or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()


class Teller:
    """A line that says what is waited for; above two seconds, and where it is known how far that is, with a bar."""

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.status import Status

        self._console = Console(stderr=True)
        self._text, self._clock, self._begun = text, clock, clock()
        self._status: Status | None = self._console.status(_escaped(text))
        self._bar: Progress | None = None
        self._status.start()

    def __call__(self, text: str | None = None, done_pct: float | None = None) -> None:
        """Cheap: may be called for every record."""
        if text is not None:
            self._text = text
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=_escaped(self._text), completed=done_pct)
        elif done_pct is not None and self._clock() - self._begun > BAR_AFTER_SECONDS:
            self._begin_bar(done_pct)
        elif text is not None and self._status is not None:
            self._status.update(_escaped(text))

    def _begin_bar(self, done_pct: float) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.close()
        # Twice a second is enough for a bar, and calm.
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=28), TaskProgressColumn(), TimeRemainingColumn(),
            console=self._console, transient=True, refresh_per_second=2,
        )  # fmt: skip
        self._bar.update(self._bar.add_task(_escaped(self._text), total=100.0), completed=done_pct)
        self._bar.start()

    def close(self) -> None:
        """Nothing of it is left on the terminal."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._bar is not None:
            self._bar.stop()


class _Silent(Teller):
    def __init__(self) -> None:
        pass

    def __call__(self, text: str | None = None, done_pct: float | None = None) -> None:
        pass


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def waiting(text: str, as_json: bool = False, clock: Callable[[], float] = time.monotonic) -> Iterator[Teller]:
    """Show `text` until it is left; what it gives is called with a newer text, and with how much is done in percent."""
    if not shows_progress(as_json):
        yield _Silent()
        return
    teller = Teller(text, clock)
    try:
        yield teller
    finally:
        teller.close()
