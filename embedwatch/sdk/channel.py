"""From the caller's thread to the sinks: a bounded queue and one thread behind it.

The caller only appends, to a queue without a lock of ours; the thread looks a few times a second for what has come
together, and sleeps where nothing comes. A full queue drops the call and counts it.

A call is settled first, which is arithmetic, and told to the sinks that have a `summary`; then it waits for the others,
in a second queue. Whoever asks for a summary settles what there is in their own thread: a sink that is slow, or waits
for a broker, is in nobody's way. Both queues together have the one bound.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - tiktoken imports it, which nobody can once the process ends
import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

from embedwatch.sdk.call import Call, Sink
from embedwatch.sdk.context import CallContext
from embedwatch.tokens import CHARS_AT_ONCE

log = logging.getLogger("embedwatch.sdk")

#: How long calls are let come together, unless the queue is half full before. So long that the thread costs nothing.
GATHER_SECONDS = 0.25
#: Turns in which nothing came before the thread sleeps: to wake it costs the caller more than the rest of its call.
TURNS_AWAKE = 8
#: Calls of which the tokens are counted at once, up to so many characters as a counter takes in one step.
COUNTED_CALLS = 64
#: Of the time that somebody waits, what a sink may take: the answer must come before their patience ends.
SINKS_SHARE = 0.8
#: Calls that may wait to be told to the sinks, where the monitor is not told otherwise; one more is dropped.
MAX_QUEUED_CALLS = 10_000
#: How long the thread works on end before it lets others have the interpreter.
TURN_SECONDS = 0.001
#: Characters of texts that wait for their tokens to be counted; of many texts of a call as far as a sample tells
#: (`texts.snapshot`). What is not held is estimated.
HELD_CHARS = 32_000_000
#: At the end of the process, in all.
EXIT_SECONDS = 5.0

_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


class _Request:
    """Asks the thread to flush the sinks, when it has told them all, or to end; and holds the answer."""

    __slots__ = ("deadline", "done", "good", "kind")

    def __init__(self, kind: Literal["flush", "close"], timeout_seconds: float) -> None:
        self.deadline = time.monotonic() + _seconds(timeout_seconds)
        self.kind = kind
        self.done: SimpleQueue[None] = SimpleQueue()  # no event: see `Channel._fresh`
        self.good = False

    def left_seconds(self) -> float:
        return min(max(self.deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)


class Settling(Protocol):
    """What the channel asks of `settling.Settler`."""

    def count_ahead(self, calls: Sequence[CallContext]) -> None:
        """Counts what of these is to be counted. `settle` does it for those that it did not."""

    def settle(self, left: CallContext) -> Call:
        """The call as sinks are told it."""


class Channel:
    """A settler makes a `Call` of what the caller left, one at a time, and counts the tokens of many before. Sinks run
    in the thread alone, but for those that have a `summary`."""

    def __init__(self, sinks: Sequence[Sink], settler: Settling, max_queued_calls: int) -> None:
        self.sinks = tuple(sinks)
        self._asked = tuple(sink for sink in self.sinks if callable(getattr(sink, "summary", None)))
        self._others = tuple(sink for sink in self.sinks if not callable(getattr(sink, "summary", None)))
        self.sink_errors: dict[str, int] = {}
        self.dropped_calls = 0
        self.generation = 0  # one more after each fork, in the child
        self._settler = settler
        self._max_queued_calls = max_queued_calls
        self._closed = False
        self._fresh()
        _channels.add(self)

    def _fresh(self) -> None:
        self._queue: deque[CallContext | _Request] = deque()
        self._settled: deque[Call | _Request] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()  # reentrant, as no event is: a handler of signals may flush
        #: Written by the thread alone. It says no before it looks at the queue for the last time: it sees what is
        #: there, or is woken.
        self._awake = False
        self._held_chars = 0
        self._counted = 0  # of those at the head of `_queue`, how many have been counted ahead
        self._settling = threading.RLock()  # whoever holds it takes from `_queue`
        self._hurry: SimpleQueue[None] = SimpleQueue()
        self._hurried = False  # because the queue is half full
        self._lock = threading.RLock()  # of starting and ending; reentrant, as all of these, for signal handlers
        self._counting = threading.RLock()  # of what is rare
        self._thread: threading.Thread | None = None

    def put(self, call: CallContext) -> None:
        """From any thread, never waits."""
        queue = self._queue
        waiting = len(queue) + len(self._settled)
        if self._closed or waiting >= self._max_queued_calls:
            with self._counting:
                self.dropped_calls += 1
            return
        if call.held_texts is not None:
            self._held_chars += call.chars or 0
        queue.append(call)
        if not self._awake:
            self._rouse()
        if waiting * 2 >= self._max_queued_calls and not self._hurried:
            self._hurried = True
            self._hurry.put(None)
        if self._thread is None:
            self._start()

    def _append(self, request: _Request) -> None:
        self._queue.append(request)
        if not self._awake:
            self._rouse()

    def _rouse(self) -> None:
        self._wake.put(None)

    def chars_to_keep(self) -> int:
        return HELD_CHARS - self._held_chars

    def deliver(self, timeout_seconds: float) -> bool:
        """Whether the sinks that have a `summary` have been told of all calls so far, within the time. In the thread of
        who asks: it waits for no other sink."""
        if threading.current_thread() is self._thread:  # a sink that asks for what it is itself told
            return False
        deadline = time.monotonic() + _seconds(timeout_seconds)
        for left in range(len(self._queue), -1, -1):  # no more than there were: others may go on calling
            if not self._settling.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                return False
            try:  # in the end once for the lock alone: then the thread is not in the middle of one either
                if not left or not self._settle_next():
                    return True
            finally:
                self._settling.release()
        return True

    def flush(self, timeout_seconds: float) -> bool:
        """Whether all sinks have been told of all calls so far, and what they have is out."""
        return self._ask(_Request("flush", timeout_seconds))

    def close(self, timeout_seconds: float) -> bool:
        """The same, and no call after it. The second time it does nothing."""
        with self._lock:
            if self._closed:
                return True
            self._closed = True
        return self._ask(_Request("close", timeout_seconds))

    def abandon(self) -> None:
        """Nobody has the monitor any more: the thread finishes what is there, and ends. Nobody waits for it."""
        self._closed = True
        if self._thread is not None:
            self._append(_Request("close", EXIT_SECONDS))
            self._hurry.put(None)

    def _ask(self, request: _Request) -> bool:
        thread = self._thread
        if threading.current_thread() is thread:  # a sink that asks for what it is itself
            return False
        self._append(request)
        self._hurry.put(None)
        if thread is None or not thread.is_alive():
            # No call has come yet, or none may be started any more (the process ends): then here. Whoever starts one
            # in this moment finds the lock taken, and leaves it to the next call.
            with self._lock:
                if self._thread is thread:
                    self._take_all()
        with contextlib.suppress(Empty):
            request.done.get(timeout=request.left_seconds())
        return request.good

    # The thread.

    def _start(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="embedwatch-monitor", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            return  # the process ends, or has too many threads: what is queued is taken by `flush` and `close`
        finally:
            self._lock.release()

    def _run(self) -> None:
        tickers = [sink for sink in self.sinks if callable(getattr(sink, "tick", None))]
        period = min((float(getattr(sink, "tick_seconds", 1.0)) for sink in tickers), default=None)
        due = time.monotonic()
        idle = TURNS_AWAKE
        while True:
            if period is not None and time.monotonic() >= due:
                due = time.monotonic() + period
                self._tick(tickers)
            if idle >= TURNS_AWAKE:
                try:
                    self._wake.get(timeout=None if period is None else max(due - time.monotonic(), 0.001))
                except Empty:
                    continue
                self._awake, idle = True, 0
            self._gather()
            idle = 0 if self._queue or self._settled else idle + 1
            if idle >= TURNS_AWAKE:
                self._awake = False
            if self._take_all():
                return

    def _gather(self) -> None:
        with contextlib.suppress(Empty):
            self._hurry.get(timeout=GATHER_SECONDS)
            while True:
                self._hurry.get_nowait()
        self._hurried = False

    def _take_all(self) -> bool:
        """Whether it was the last. What comes meanwhile is left to come together: beside a thread that is busy with
        Python this one would else run without an end, and be in its way all the time."""
        since = time.monotonic()
        for left in range(len(self._queue), -1, -1):
            if time.monotonic() - since > TURN_SECONDS:
                # Else a caller that comes back from its network waits for the interpreter's lock, 5 ms at a time.
                time.sleep(1e-6)
                since = time.monotonic()
            with self._settling:  # in the end for the lock alone: whoever settles one has then handed it on
                if left:
                    self._settle_next()
                elif not self._queue:
                    self._held_chars = 0  # without one lock for all threads two additions may have been one
            while self._settled:
                item = self._settled.popleft()
                if not isinstance(item, _Request):
                    self._tell(self._others, item)
                    continue
                self._answer(item)
                if item.kind == "close":
                    self._drop_the_rest()
                    return True
        return False

    def _drop_the_rest(self) -> None:
        """Of calls that came behind the end: they saw that the monitor was open yet."""
        with self._settling, self._counting:
            self.dropped_calls += sum(not isinstance(item, _Request) for item in self._queue)
            self._queue.clear()

    def _settle_next(self) -> bool:
        """Whether there was one. With `_settling` held, so that the order stays and nothing is between the queues when
        somebody looks."""
        try:
            item = self._queue.popleft()
        except IndexError:
            return False
        if isinstance(item, _Request):
            self._settled.append(item)
            return True
        try:
            if self._counted:
                self._counted -= 1
            else:
                self._count_ahead(item)
            item.place_in_time()
            call = self._settler.settle(item)
        except Exception as error:
            self._count_error("settling", error)
            self._let_go(item)
            return True
        except BaseException:  # Ctrl-C, in the thread of who asks for a summary: the call is still to be told
            self._counted = 0
            self._queue.appendleft(item)
            raise
        self._let_go(item)
        self._tell(self._asked, call)
        self._settled.append(call)
        return True

    def _let_go(self, call: CallContext) -> None:
        if call.held_texts is not None:
            self._held_chars -= call.chars or 0
        call.let_go()

    def _count_ahead(self, call: CallContext) -> None:
        """Counts this one and those after it, up to the bounds."""
        calls, chars = [call], call.chars or 0
        try:
            after = list(islice(self._queue, COUNTED_CALLS - 1))
        except RuntimeError:  # somebody appended meanwhile, which an interpreter with one lock does not let happen
            after = []
        for item in after:
            if isinstance(item, _Request):
                break
            chars += item.chars or 0
            if chars > CHARS_AT_ONCE:
                break
            calls.append(item)
        self._counted = len(calls) - 1
        try:
            self._settler.count_ahead(calls)
        except Exception as error:
            self._count_error("counting", error)

    def _tell(self, sinks: Sequence[Sink], call: Call) -> None:
        for sink in sinks:
            try:
                sink.record(call)
            except Exception as error:
                self._count_error(_name(sink), error)

    def _answer(self, request: _Request) -> None:
        good = True
        for sink in self.sinks:
            try:
                good = bool(sink.flush(request.left_seconds() * SINKS_SHARE)) and good
                if request.kind == "close":
                    sink.close(request.left_seconds())
            except Exception as error:
                good = False
                self._count_error(_name(sink), error)
        request.good = good
        request.done.put(None)

    def _tick(self, tickers: Sequence[Any]) -> None:
        for sink in tickers:
            try:
                sink.tick()
            except Exception as error:
                self._count_error(_name(sink), error)

    def _count_error(self, name: str, error: BaseException) -> None:
        """Said once for each sink. The message of a sink's error is its own; no text of a user is in a `Call`."""
        with self._counting:
            first = name not in self.sink_errors
            self.sink_errors[name] = self.sink_errors.get(name, 0) + 1
        if first:
            log.warning(
                "monitor: %s failed with %s: %s. Further failures of it are counted, not told (Monitor.sink_errors).",
                name, type(error).__name__, str(error)[:200],
            )  # fmt: skip

    def after_fork(self) -> None:
        """In the child: what waits is the parent's to tell. The thread did not come along; the next call starts one."""
        self.generation += 1
        self.dropped_calls = 0
        self.sink_errors = {}
        self._fresh()
        for sink in self.sinks:
            reset = getattr(sink, "after_fork", None)
            if callable(reset):
                with contextlib.suppress(Exception):
                    reset()


def _seconds(timeout_seconds: object) -> float:
    """That many, within what a wait takes; of what is no number none."""
    try:
        return min(max(float(timeout_seconds), 0.0), threading.TIMEOUT_MAX / 2)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0


def _name(sink: object) -> str:
    return str(getattr(sink, "name", type(sink).__name__))[:100]


def _after_fork() -> None:
    for channel in list(_channels):
        channel.after_fork()


def _flush_all() -> None:
    """Before the threads of the process are waited for: after that no sink may start one (Python 3.12)."""
    deadline = time.monotonic() + EXIT_SECONDS / 2
    for channel in list(_channels):
        if channel._thread is not None and not channel._closed:
            channel.flush(max(deadline - time.monotonic(), 0.05))


def _close_all() -> None:
    deadline = time.monotonic() + EXIT_SECONDS / 2
    for channel in list(_channels):
        channel.close(max(deadline - time.monotonic(), 0.05))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_close_all)
_at_thread_shutdown = getattr(threading, "_register_atexit", None)
if _at_thread_shutdown is not None:
    with contextlib.suppress(RuntimeError):
        _at_thread_shutdown(_flush_all)
