"""Waiting for other processes, and what they may run into."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_SECONDS = 20.0


def eventually(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Ended; a zombie that nobody reaps (PID 1 of a container may not) counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """The end for writing of a pipe that is full and that nobody reads."""
    reads, writes = os.pipe()
    try:
        os.set_blocking(writes, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writes, b"x" * 4096)
        os.set_blocking(writes, True)
        yield writes
    finally:
        os.close(reads)
        os.close(writes)
