"""Reads a source that may stand still (pipe, terminal) in a thread, so that the sender never stands still with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

CAPACITY = 4096


def patiently(items: Iterator[T], idle_seconds: float, capacity: int = CAPACITY) -> Iterator[T | None]:
    """The items, and None whenever none came for `idle_seconds`. An error of the source is raised here, in its place.

    At most `capacity` items are read ahead. The thread is a daemon: one that waits in a read cannot be stopped, and
    must not keep the program from ending.
    """
    return _drain(_Reader(items, capacity), idle_seconds)


class _Reader:
    def __init__(self, items: Iterator[object], capacity: int) -> None:
        self.buffer: deque[object] = deque()
        self.capacity = capacity
        self.ready = threading.Event()
        self.room = threading.Event()
        self.ended = False
        self.abandoned = False
        self.error: BaseException | None = None
        self._items = items
        threading.Thread(target=self._run, name="embedwatch-source", daemon=True).start()

    def _run(self) -> None:
        try:
            for item in self._items:
                self.buffer.append(item)
                if not self.ready.is_set():
                    self.ready.set()
                while len(self.buffer) >= self.capacity and not self.abandoned:
                    self.room.clear()
                    if len(self.buffer) >= self.capacity:  # it may have been drained before `clear`
                        self.room.wait(1.0)
                if self.abandoned:
                    return
        except BaseException as error:  # handed over to the thread that asked
            self.error = error
        finally:
            self.ended = True
            self.ready.set()


def _drain(reader: _Reader, idle_seconds: float) -> Iterator[T | None]:
    buffer, ready = reader.buffer, reader.ready
    try:
        while True:
            if buffer:
                item: T = buffer.popleft()  # type: ignore[assignment]
                if len(buffer) <= reader.capacity // 2 and not reader.room.is_set():
                    reader.room.set()
                yield item
                continue
            ready.clear()
            if buffer:
                continue
            if reader.ended:
                # `ended` is set after the last append: an empty buffer is now final.
                if buffer:
                    continue
                if reader.error is not None:
                    raise reader.error
                return
            if not ready.wait(idle_seconds):
                yield None
    finally:
        reader.abandoned = True
        reader.room.set()
