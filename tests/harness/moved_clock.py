"""A command whose wall clock a test moves while it runs, as a wrong NTP server does; time intervals stay right.

    python -m tests.harness.moved_clock FILE worker ...

FILE holds the seconds by which the clock is ahead, as one little-endian double. Everything in the process that asks
`time.time` is told so: our own clock, and the Kafka clients.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

_AHEAD = struct.Struct("<d")


def write(file: Path, ahead_seconds: float) -> None:
    """In place: processes that run have the file mapped."""
    with file.open("r+b" if file.exists() else "w+b") as out:
        out.write(_AHEAD.pack(ahead_seconds))


def move(file: Path) -> None:
    """From now on `time.time` is what the file says."""
    with file.open("rb") as source:
        shared = mmap.mmap(source.fileno(), _AHEAD.size, access=mmap.ACCESS_READ)
    true = time.time
    time.time = lambda: true() + _AHEAD.unpack(shared[:])[0]
    time.time_ns = lambda: int(time.time() * 1e9)


if __name__ == "__main__":
    move(Path(sys.argv.pop(1)))
    from embedwatch.cli import main

    main()
