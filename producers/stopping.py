"""Ctrl-C and SIGTERM as a wish to stop that the sending loop looks at, so that what is under way can be finished."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stop:
    """`signum` is the signal that asked, or None. A second signal interrupts at once."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.polite = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        again = self.signum is not None
        self.signum = signum
        if again or not self.polite:
            raise KeyboardInterrupt

    @property
    def name(self) -> str:
        return "interrupted" if self.signum in (None, signal.SIGINT) else "terminated"

    @property
    def exit_code(self) -> int:
        return 128 + (self.signum or signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Inside, signals set the `Stop`; while it is not `polite` they raise `KeyboardInterrupt` as well."""
    stop = Stop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
