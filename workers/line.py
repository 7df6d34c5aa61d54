"""Steps in a row, each in a thread of its own, so that they overlap. Items go through all of them in order.

Bounded: at most `limit` items are inside. An item whose step fails takes nothing after it along: later ones come out
undone, earlier ones finish.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Ticket(Generic[T]):
    item: T
    error: BaseException | None = None
    skipped: bool = False


class Line(Generic[T]):
    """`steps` are (name, function) pairs. One thread calls the methods; the functions run in the line's threads."""

    def __init__(self, steps: Sequence[tuple[str, Callable[[T], object]]], *, limit: int) -> None:
        self.limit = limit
        self.busy = 0
        self._error: BaseException | None = None
        self._queues: list[queue.Queue[_Ticket[T] | None]] = [queue.Queue(limit + 1) for _ in range(len(steps) + 1)]
        self._threads = [
            threading.Thread(
                target=self._work, args=(step, self._queues[number], self._queues[number + 1]), name=name, daemon=True
            )
            for number, (name, step) in enumerate(steps)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def full(self) -> bool:
        return self.busy >= self.limit

    def put(self, item: T) -> None:
        """Start one. Raises `RuntimeError` when the line is full: ask `full` first."""
        if self.full:
            raise RuntimeError(f"the line holds {self.busy} of {self.limit} items")
        self.busy += 1
        self._queues[0].put(_Ticket(item))

    def finished(self, timeout_seconds: float = 0.0) -> list[T]:
        """What has gone through all steps since the last call, in order; waits up to the timeout for a first one.

        Raises what a step raised, once everything before that item has been handed out.
        """
        done: list[T] = []
        while self.busy and self._error is None:
            waits = timeout_seconds > 0 and not done
            try:
                ticket = self._queues[-1].get(block=waits, timeout=timeout_seconds if waits else None)
            except queue.Empty:
                break
            if ticket is None:
                break
            self.busy -= 1
            if ticket.error is not None:
                self._error = ticket.error
            elif not ticket.skipped:
                done.append(ticket.item)
        if self._error is not None and not done:
            raise self._error
        return done

    def close(self, timeout_seconds: float) -> bool:
        """End the threads; False when one is still in a step after the timeout. What was inside may be half done."""
        deadline = time.monotonic() + timeout_seconds
        self._queues[0].put(None)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    @staticmethod
    def _work(
        step: Callable[[T], object], inbox: queue.Queue[_Ticket[T] | None], outbox: queue.Queue[_Ticket[T] | None]
    ) -> None:
        broken = False
        while (ticket := inbox.get()) is not None:
            if broken:
                ticket.skipped = True
            if ticket.error is None and not ticket.skipped:
                try:
                    step(ticket.item)
                except BaseException as error:  # handed to the thread that asks for results
                    ticket.error = error
            broken = broken or ticket.error is not None
            outbox.put(ticket)
        outbox.put(None)
