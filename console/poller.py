"""A thread that reads the agents once a second, and less often while they do not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from console.link import Link
from console.model import View, view
from console.source import Source, Wish
from embedwatch.clock import Clock
from embedwatch.errors import EmbedwatchError


@dataclass(frozen=True, slots=True)
class News:
    """What a reading came to. `view` is None where it failed."""

    wish: Wish
    link: Link
    view: View | None


class Poller:
    """`deliver` is called in the thread. A daemon: a call that waits for the agents does not hold up the end."""

    def __init__(self, source: Source, wish: Wish, clock: Clock, deliver: Callable[[News], None]) -> None:
        self._source, self._wish, self._clock, self._deliver = source, wish, clock, deliver
        self._changed = threading.Condition()
        self._paused = self._stopped = False
        self._link = Link()
        self._thread = threading.Thread(target=self._run, name="embedwatch-top-poller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, wish: Wish) -> None:
        """Other numbers, at once."""
        with self._changed:
            self._wish = wish
            self._link = Link(self._link.got_seconds, self._link.lost_seconds, None, 0, self._link.trouble)
            self._changed.notify()

    def pause(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify()

    def stop(self) -> None:
        """It ends after the call that it is in; nobody waits for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (wish := self._due()) is not None:
            try:
                found = view(self._source.url, self._source.read(wish))
                trouble = ""
            except EmbedwatchError as error:
                found, trouble = None, str(error)
            except Exception as error:  # whatever answers there: the view goes on and tries again
                found, trouble = None, f"unexpected {type(error).__name__}: {error}"
            with self._changed:
                if self._stopped:
                    return
                now = self._clock.now()
                self._link = self._link.failed(now, trouble) if found is None else self._link.answered(now)
                if wish != self._wish:  # of somebody else by now: not shown, and asked anew at once
                    self._link = Link(self._link.got_seconds, self._link.lost_seconds, None, 0, trouble)
                    continue
                news = News(wish, self._link, found)
            self._deliver(news)

    def _due(self) -> Wish | None:
        """Waits until the next reading is due. None: it is time to stop."""
        with self._changed:
            while not self._stopped:
                left = None if self._paused else self._link.wait_seconds(self._clock.now())
                if left == 0:
                    return self._wish
                self._changed.wait(left)
        return None
