"""`python -m benchmarks.profiled FILE agents …`: the command `embedwatch agents …`, with its main thread looked at.

Between the moments at which FILE.begin and FILE.end come to be, the stack of the main thread is noted every other
millisecond of processor time; then FILE is written. A signal interrupts it wherever it is: a second thread that looks
at the first would see it mostly where it lets others run.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 0.002
Stack = tuple[str, ...]


def stack_of(frame: FrameType | None) -> Stack:
    """`file.py:function`, the innermost first."""
    found = []
    while frame is not None:
        code = frame.f_code
        found.append(f"{Path(code.co_filename).name}:{code.co_name}")
        frame = frame.f_back
    return tuple(found)


def cpu_seconds() -> dict[str, float]:
    """Processor time of each thread so far, by its name."""
    found = {}
    for thread in threading.enumerate():
        fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
        found[thread.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


class Collecting:
    """Adds up the time of the garbage collector, which is seen in whatever made the last object."""

    def __init__(self) -> None:
        self.seconds = self._begun = 0.0

    def __call__(self, phase: str, _: object) -> None:
        if phase == "start":
            self._begun = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._begun


def watch(out: Path, seen: Counter[Stack], collecting: Collecting) -> None:
    begin, end = out.with_suffix(".begin"), out.with_suffix(".end")
    while not begin.exists():
        time.sleep(0.01)
    before, collected = cpu_seconds(), collecting.seconds
    signal.setitimer(signal.ITIMER_PROF, LOOK_SECONDS, LOOK_SECONDS)
    while not end.exists():
        time.sleep(0.01)
    signal.setitimer(signal.ITIMER_PROF, 0)
    took = {name: seconds - before.get(name, 0.0) for name, seconds in cpu_seconds().items()}
    del took[threading.current_thread().name]
    found = {"cpu_seconds": took, "collecting_seconds": collecting.seconds - collected, "stacks": list(seen.items())}
    out.with_suffix(".part").write_text(json.dumps(found))
    out.with_suffix(".part").rename(out)


if __name__ == "__main__":
    file, counted, collector = Path(sys.argv.pop(1)), Counter[Stack](), Collecting()
    gc.callbacks.append(collector)
    signal.signal(signal.SIGPROF, lambda _, frame: counted.update([stack_of(frame)]))
    threading.Thread(target=watch, args=(file, counted, collector), name="watch", daemon=True).start()
    from embedwatch.cli import main

    main()
