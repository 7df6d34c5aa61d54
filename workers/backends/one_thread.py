"""One thread that does all of torch's work.

GNU OpenMP keeps a pool of threads for each thread that computes. Once the pools of a process hold more threads than it
has processors, their threads no longer spin for the next piece of work but sleep, and are woken thousands of times a
second: 4 to 11 % of a forward pass were lost to that where one thread had loaded the model and another ran it
(measured, 2 processors, MiniLM). So loading, checks and batches compute in the same thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from embedwatch.processes import settle_before_exit

T = TypeVar("T")


class OneThread:
    """Runs what it is given, one after another, in a daemon thread that starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Bounded by its callers: each waits for what it has put in.
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. A caller that is interrupted leaves the work to end unheard."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
                settle_before_exit(self.settle)
        if threading.current_thread() is self._thread:
            return work()
        answer: Future[T] = Future()
        self._inbox.put((work, answer))
        try:
            return answer.result()
        finally:
            del answer  # an error holds this frame, and the frame would hold the error

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until what was asked for so far is done; False when it is not by then."""
        done: Future[None] = Future()
        self._inbox.put((lambda: None, done))
        try:
            done.result(timeout_seconds)
        except TimeoutError:
            return False
        return True

    def _serve(self) -> None:
        while True:
            work, answer = self._inbox.get()
            try:
                answer.set_result(work())
            except BaseException as error:  # the caller's to handle
                answer.set_exception(error)
            del work, answer  # what they hold may be large, and the next may be long in coming


#: The process's own: a second one would be a second pool.
torch_thread = OneThread("embedwatch-torch")
