"""Child processes that do not outlive us: started from argument lists, stopped in order, killed if they will not go.

On Linux the kernel ends a child whose parent died (PR_SET_PDEATHSIG), so that a crash or kill -9 of the command
leaves nothing behind either. The kernel watches the *thread* that started the child: start children from the main
thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from embedwatch.errors import EmbedwatchError

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child must not import or allocate between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


#: How long the end of the process waits for each thread that must not be cut off.
SETTLE_SECONDS = 2.0
_settles: list[Callable[[float], bool]] = []


def settle_before_exit(settle: Callable[[float], bool]) -> None:
    """Before `leave` ends the process, `settle` is called with the seconds it may wait; False: it is busy still."""
    _settles.append(settle)


def leave(code: int) -> NoReturn:
    """End the process with this code, also while a thread is deep in a native library.

    The interpreter ends daemon threads when they next want to run Python. One that is inside C++ is ended through its
    frames, which the C++ runtime answers with an abort: 134 instead of the code.
    """
    if not all(settle(SETTLE_SECONDS) for settle in _settles):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.25):
        return True
    return False


def die_with_parent() -> None:
    """For `preexec_fn`: only one C call, nothing that could deadlock after the fork."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One child process with its output in a file. Use `stop`, or the class as a context manager.

    `environ` changes our own environment for it: a value of None removes a variable.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._asked = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in {**os.environ, **(environ or {})}.items() if v is not None},
                cwd=cwd,
                # Ctrl-C in a terminal goes to the whole foreground group: children are stopped by us, in order.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        """SIGTERM, once: many programs take a second one as "at once, whatever is under way"."""
        if self.running() and not self._asked:
            self._asked = True
            self.process.terminate()

    def stop(self, timeout_seconds: float = 15.0) -> int:
        """Asks it to stop, then SIGKILL after the timeout. Returns the exit status; safe to call twice."""
        if self.running():
            self.ask_to_stop()
            try:
                self.process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        return self.process.returncode

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def wait_until(
        self, ready: Callable[[], bool], timeout_seconds: float, what: str, step_seconds: float = 0.05
    ) -> None:
        """Until `ready()` is true. Raises `EmbedwatchError` when the process ends first, or the time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if not self.running():
                raise EmbedwatchError(
                    f"{self.name} ended with status {self.process.returncode} before {what}. Its last words:\n"
                    f"{self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise EmbedwatchError(
                    f"{self.name}: no {what} after {timeout_seconds:.0f} s. Its last words:\n{self.last_words()}"
                )
            time.sleep(step_seconds)


class StopRequest:
    """The wish to stop, that of the first SIGTERM, SIGHUP or Ctrl-C. Look at it between two waits.

    An exception raised by the handler itself could come in the middle of starting a process, where Python swallows it:
    the wish would be lost, or the process.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def __call__(self, signum: int, frame: object) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt  # the second one does not wait for the next look
        self.signum = signum

    def check(self) -> None:
        """Raises `KeyboardInterrupt` once it was asked for."""
        if self.signum is not None:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Inside, the first SIGTERM, SIGHUP or Ctrl-C is noted, the second raises `KeyboardInterrupt`. Main thread only."""
    stop = StopRequest()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
