"""Several processes under one command: started, started again after trouble, and stopped in order.

Knows nothing of settings, Kafka or models, and imports none of them: a `Member` is a command with an environment. One
thread does everything: beside others a process does not fork safely, and on Linux the kernel ends the children when
the thread that started them ends, as it does after a kill -9 of the command.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import IO

from embedwatch import log_lines
from embedwatch.clock import Clock, SystemClock
from embedwatch.processes import die_with_parent
from workers.restarts import Again, Done, GiveUp, Restarts, describe, exit_code
from workers.stopping import Stop, write_bounded

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
#: A worker that has drained still closes its clients, each within 5 s (`workers.service.CLOSE_SECONDS`).
CLOSE_MARGIN_SECONDS = 30.0
#: How long a reader of our output may keep the members waiting before lines are dropped.
WRITE_SECONDS = 0.5
_READ_BYTES = 65_536
_MAX_LINE_BYTES = 65_536
#: How long the kernel may take to end a process that was killed. It cannot end one that hangs in a driver.
_REAP_SECONDS = 5.0


@dataclass(frozen=True)
class Member:
    """`environ` changes our own environment for it: a value of None removes a variable. There may be secrets in it.

    What it says on standard error is passed on, or given to `listen` line by line.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str | None] = field(repr=False)
    listen: Callable[[bytes], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Standing:
    """How a member stands: it runs, or is owed a start after it ended by itself; and it may have been asked to leave.

    `seconds` is for how long its process runs, 0 without one.
    """

    name: str
    running: bool
    leaving: bool
    seconds: float


class Crew:
    """Members that are kept running. Use it as a context manager: at the end nothing of it is left.

    Call `step` again and again, from the main thread. `exit_code` is that of the first member that made the crew give
    up, or that failed while it was to stop; else 0. Members may be added and removed at any time.

    In an `independent` crew a member has always more to do, also after a clean end, and one that is given up leaves
    the others alone: it stands in `gave_up`, by its name, and its place is free.
    """

    def __init__(self, *, clock: Clock, out_fd: int = 2, independent: bool = False) -> None:
        self._clock = clock
        self._out_fd = out_fd
        self._independent = independent
        self.gave_up: dict[str, GiveUp] = {}
        self._seats: list[_Seat] = []
        self._selector = selectors.DefaultSelector()
        self.stopping = False
        self.exit_code = 0
        #: Members that ended by themselves, and what became of them.
        self.crashes = self.restarts = self.given_up = 0

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for seat in self._seats:
            self._close(seat)
        self._selector.close()

    @property
    def busy(self) -> bool:
        """Whether a member runs, or is owed a start."""
        return any(seat.process is not None or seat.starts_at is not None for seat in self._seats)

    def standing(self) -> list[Standing]:
        """Everybody, those added first first. One that was removed is there until its process has ended."""
        now = self._clock.monotonic()
        return [
            Standing(
                seat.member.name, running=seat.process is not None, leaving=seat.leaves_by is not None,
                seconds=now - seat.started if seat.process is not None else 0.0,
            )
            for seat in self._seats
        ]  # fmt: skip

    def add(self, member: Member) -> None:
        """Start a member. Raises `ValueError` while another of its name is there."""
        if any(seat.member.name == member.name for seat in self._seats):
            raise ValueError(f"{member.name} is there already")
        seat = _Seat(member)
        self._seats.append(seat)
        self._start(seat)

    def step(self, wait_seconds: float) -> None:
        """Pass on what the members say, for at most so long; see who has ended; start those whose time it is."""
        for key, _ in self._selector.select(wait_seconds):
            self._relay(key.data)
        now = self._clock.monotonic()
        for seat in list(self._seats):
            if seat.process is not None:
                status = seat.process.poll()
                if status is not None:
                    self._close(seat)
                    self._judge(seat, status, now)
                elif seat.leaves_by is not None and now >= seat.leaves_by:
                    log.error("%s is killed, because it did not stop in time", seat.member.name)
                    seat.leaves_by = math.inf
                    seat.process.kill()
            elif seat.starts_at is not None and now >= seat.starts_at:
                self._start(seat)

    def remove(self, name: str, *, limit_seconds: float) -> None:
        """Ask a member to stop, and kill it when the limit has passed; it is not started again.

        Returns at once; `step` does the rest. Raises `KeyError` when there is none of this name.
        """
        seat = next((seat for seat in self._seats if seat.member.name == name), None)
        if seat is None:
            raise KeyError(name)
        if seat.process is None:
            self._seats.remove(seat)
        elif seat.leaves_by is None and not self.stopping:
            seat.leaves_by = self._clock.monotonic() + limit_seconds
            seat.process.terminate()

    def ask_to_stop(self, code: int = 0) -> None:
        """SIGTERM to all, once: a worker takes a second one as "at once". Nothing is started any more.

        `code` becomes the exit code, unless there is one.
        """
        self.exit_code = self.exit_code or code
        if self.stopping:
            return
        self.stopping = True
        for seat in self._seats:
            seat.starts_at = None
            if seat.process is not None and seat.leaves_by is None:
                seat.process.terminate()

    def kill(self) -> list[str]:
        """SIGKILL to all that still run. Returns their names."""
        self.stopping = True
        killed = []
        for seat in self._seats:
            if seat.process is not None and seat.process.poll() is None:
                seat.process.kill()
                killed.append(seat.member.name)
        return killed

    def _start(self, seat: _Seat) -> None:
        seat.starts_at, seat.started = None, self._clock.monotonic()
        try:
            process = subprocess.Popen(
                seat.member.command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={k: v for k, v in {**os.environ, **seat.member.environ}.items() if v is not None},
                # Ctrl-C in a terminal goes to the whole foreground group: members are stopped by us, once.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            log.warning("%s could not be started: %s", seat.member.name, error)
            self._judge(seat, 1, seat.started)
            return
        seat.process, seat.pipe = process, process.stderr
        if seat.pipe is not None:
            os.set_blocking(seat.pipe.fileno(), False)
            self._selector.register(seat.pipe, selectors.EVENT_READ, seat)
        log.info("%s started, process %d", seat.member.name, process.pid)

    def _judge(self, seat: _Seat, status: int, now: float) -> None:
        name = seat.member.name
        if self.stopping or seat.leaves_by is not None:
            # A process that was asked before it could listen ends by the signal itself, and has done nothing yet.
            if status not in (0, -signal.SIGTERM):
                log.warning("%s %s while it was to stop", name, describe(status))
                self.exit_code = self.exit_code or (exit_code(status) if self.stopping else 0)
            if seat.leaves_by is not None:
                log.info("%s has stopped", name)
                self._seats.remove(seat)
            return
        lived_seconds = now - seat.started
        match seat.restarts.ended(status, lived_seconds=lived_seconds, now=now, stays=self._independent):
            case Done():
                log.info("%s is done", name)
            case Again(delay_seconds):
                self.crashes += 1
                self.restarts += 1
                log.warning("%s %s; it starts again in %g s", name, describe(status), delay_seconds)
                seat.starts_at = now + delay_seconds
            case GiveUp(_, reason) as given_up if self._independent:
                self.crashes += 1
                self.given_up += 1
                log.error("%s %s; %s: it is given up", name, describe(status), reason)
                self.gave_up[name] = given_up
                self._seats.remove(seat)
            case GiveUp(code, reason):
                log.error("%s %s; %s: all are stopped", name, describe(status), reason)
                self.ask_to_stop(code)

    def _relay(self, seat: _Seat) -> bool:
        """Pass on what a member has said by now, at most one buffer. False when there is nothing more."""
        if seat.pipe is None:
            return False
        try:
            heard = os.read(seat.pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not heard:
            self._close_pipe(seat)
            return False
        *lines, rest = (seat.unfinished + heard).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        seat.unfinished = rest
        self._write(seat, lines)
        return True

    def _close(self, seat: _Seat) -> None:
        """The last words of a process that has ended, or was killed."""
        if seat.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            seat.process.wait(_REAP_SECONDS)
        # Bounded: a process of its own that a member left behind may hold the pipe open, and go on writing.
        for _ in range(64):
            if not self._relay(seat):
                break
        self._write(seat, [seat.unfinished] if seat.unfinished else [])
        seat.unfinished = b""
        self._close_pipe(seat)
        seat.process = None

    def _close_pipe(self, seat: _Seat) -> None:
        if seat.pipe is not None:
            self._selector.unregister(seat.pipe)
            seat.pipe.close()
            seat.pipe = None

    def _write(self, seat: _Seat, lines: Sequence[bytes]) -> None:
        """Each line with the name of its member, so that it is known whose it is whatever program wrote it."""
        if seat.member.listen is not None:
            for line in lines:
                seat.member.listen(line)
            return
        name = seat.member.name
        if log_lines.wanted():
            now = datetime.now(UTC)
            told = [log_lines.as_json(line.decode("utf-8", "replace"), now, process=name) for line in lines]
            said = "".join(f"{line}\n" for line in told).encode()
        else:
            said = b"".join(b"[%s] %s\n" % (name.encode(), line) for line in lines)
        # Nobody may be listening any more, or not keep up: the members are to work on, and what they say is lost.
        write_bounded(self._out_fd, said, WRITE_SECONDS)


class _Seat:
    """One member, its process while there is one, and what became of those before."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.restarts = Restarts()
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: IO[bytes] | None = None
        self.started = 0.0
        self.starts_at: float | None = None
        self.leaves_by: float | None = None  # when it is killed; None: it is to stay
        self.unfinished = b""


def supervise(
    members: Sequence[Member],
    *,
    drain_seconds: float,
    clock: Clock | None = None,
    manage: Callable[[Crew], None] | None = None,
) -> int:
    """Keep the members running until all are done, one makes the crew give up, or SIGTERM or Ctrl-C.

    Returns the exit code of the command. A stop gives them `drain_seconds` and a margin to close; a second signal
    stops at once and ends this process. `manage` adds and removes members of an independent crew: it is called after
    every step until the stop, and must not wait for anything.
    """
    clock = clock or SystemClock()
    with Crew(clock=clock, independent=manage is not None) as crew:
        stop = _CrewStop(drain_seconds, clock, crew)
        deadline: float | None = None
        with stop.on_signals():
            for member in members:
                if not stop.requested and not crew.stopping:
                    crew.add(member)
            while crew.busy or (manage is not None and not crew.stopping):
                crew.step(TICK_SECONDS)
                if stop.requested:
                    crew.ask_to_stop()
                elif manage is not None and not crew.stopping:
                    manage(crew)
                if crew.stopping and deadline is None:
                    deadline = clock.monotonic() + drain_seconds + CLOSE_MARGIN_SECONDS
                if deadline is not None and clock.monotonic() >= deadline:
                    late = crew.kill()
                    log.error(
                        "killed, because they did not stop within %g s: %s",
                        drain_seconds + CLOSE_MARGIN_SECONDS, ", ".join(late),
                    )  # fmt: skip
                    return crew.exit_code or 1
        return crew.exit_code


class _CrewStop(Stop):
    """A worker's own stop, and at the second signal no process is left behind."""

    def __init__(self, drain_seconds: float, clock: Clock, crew: Crew) -> None:
        super().__init__(drain_seconds, clock)
        self._crew = crew
        self.in_flight = True

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested and not self.repeated():
            self._crew.kill()
        super().on_signal(signum, frame)
