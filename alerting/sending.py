"""Sending: one thread for each receiver, one message at a time, and when to try again.

A receiver that is slow or dead holds up its own thread and nothing else. What is to be sent lives in the alerts'
states, so the queue between the service and a sender holds one message: nothing is lost with it.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import traceback

from alerting.parcels import Job, Result, SendFailed
from alerting.receivers import Receiver
from alerting.self_watch import Trouble
from alerting.terms import Term, check_term, holding
from embedwatch.clock import Clock, SystemClock

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
#: After an error that a person has to mend: they may have done so.
MENDING_WAIT_SECONDS = (30.0, 900.0)
SAY_AGAIN_SECONDS = 900.0


class Pace:
    """When a receiver is tried again. Pure: times are our monotonic clock, `jitter` is between 0 and 1.

    Waits grow from 0.5 s to 60 s, each between half and all of it; `Retry-After` is obeyed and never shortened; what a
    person has to mend is tried after 30 s, then ever more rarely. A fault of one message does not hold up others.
    """

    def __init__(self) -> None:
        self.not_before = 0.0
        self.failures = 0
        self._said: dict[str, float] = {}

    def succeeded(self) -> bool:
        """Whether it had failed before."""
        again = self.failures > 0
        self.failures = 0
        self.not_before = 0.0
        self._said.clear()
        return again

    def failed(self, failure: SendFailed, now: float, jitter: float) -> float:
        """Seconds until this message may be tried again."""
        self.failures += 1
        first, longest = (FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS) if failure.retryable else MENDING_WAIT_SECONDS
        wait = min(longest, first * 2.0 ** min(self.failures - 1, 30)) * (0.5 + jitter / 2)
        if failure.retry_after_seconds is not None:
            # Together with everyone else who was told the same: a little later, never earlier.
            wait = failure.retry_after_seconds + jitter * 0.25
        if not failure.of_message:
            self.not_before = now + wait
        return wait

    def is_news(self, reason: str, now: float) -> bool:
        """A reason is told once, and again every quarter of an hour while it lasts."""
        if now - self._said.get(reason, -SAY_AGAIN_SECONDS) < SAY_AGAIN_SECONDS:
            return False
        self._said[reason] = now
        return True


class Bucket:
    """At most `burst` at once and `per_second` in the long run. Pure: times are our monotonic clock."""

    def __init__(self, per_second: float | None, burst: int) -> None:
        self._per_second, self._burst = per_second, max(1, burst)
        self._level, self._at = float(self._burst), -math.inf

    def ready(self, now: float) -> bool:
        return self._per_second is None or self._filled(now) >= 1

    def take(self, now: float) -> None:
        """Also when it is empty: what was sent was sent."""
        self._level, self._at = self._filled(now) - 1, max(self._at, now)

    def _filled(self, now: float) -> float:
        if self._per_second is None or self._at == -math.inf:
            return float(self._burst)
        return min(float(self._burst), self._level + max(0.0, now - self._at) * self._per_second)


class Sender:
    """The thread of one receiver. `results` is shared by all senders.

    A job is refused `term_seconds` after the term began that it was taken in: whoever has its alerts by now sends it.
    """

    def __init__(
        self,
        receiver: Receiver,
        results: queue.SimpleQueue[Result],
        rng: random.Random,
        clock: Clock | None = None,
        term_seconds: float = math.inf,
    ) -> None:
        self.receiver = receiver
        self.pace = Pace()
        self.bucket = Bucket(receiver.traits.per_second, receiver.traits.burst)
        self.in_flight: Job | None = None  # used by the service's thread only, as what follows
        self._failing_since: float | None = None
        self.tried = False  # it has taken something since we began
        self._reason = ""
        self.sent = self.failures = 0
        self.last_sent: float | None = None  # Unix seconds
        self._results = results
        self._rng = rng
        self._clock, self._term_seconds = clock or SystemClock(), term_seconds
        self._jobs: queue.Queue[tuple[Job, Term | None] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._run, name=f"alerting-{receiver.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self.receiver.name

    def ready(self, monotonic: float) -> bool:
        return self.in_flight is None and monotonic >= self.pace.not_before and self.bucket.ready(monotonic)

    def waits_its_turn(self, monotonic: float) -> bool:
        """Nothing but its own limit of messages holds it up."""
        return self.in_flight is None and monotonic >= self.pace.not_before and not self.bucket.ready(monotonic)

    def offer(self, job: Job, term: Term | None = None) -> None:
        """Only when `ready`: the queue is empty then. `term`: in which it was taken; None: ours for ever."""
        self.in_flight = job
        self._jobs.put_nowait((job, term))

    def settle(self, result: Result, monotonic: float) -> float | None:
        """Note how the job went: None when it was delivered, else seconds until that message may be tried again."""
        self.in_flight = None
        self.bucket.take(monotonic)  # one is on its way at a time: to count it at its end is to count it late enough
        failure, name = result.failure, self.receiver.name
        if failure is None:
            self._failing_since, self.tried = None, True
            self.sent, self.last_sent = self.sent + 1, self._clock.now()
            if self.pace.succeeded():
                log.info("%s: works again", name)
            return None
        self.failures += 1
        if not failure.of_message:
            self._failing_since = monotonic if self._failing_since is None else self._failing_since
            self._reason = failure.reason
        wait = self.pace.failed(failure, monotonic, self._rng.random())
        if self.pace.is_news(failure.reason, monotonic):
            level = logging.WARNING if failure.retryable else logging.ERROR
            log.log(level, "%s: %s; the message stays owed, next attempt in %.1f s", name, failure.reason, wait)
        return wait

    def trouble(self, monotonic: float) -> Trouble | None:
        """Since when it takes nothing, and why; None while it works, as far as was tried."""
        since = self._failing_since  # read once: whoever answers /metrics asks from another thread
        return None if since is None else Trouble(monotonic - since, self._reason)

    def close(self, timeout_seconds: float) -> bool:
        """Let the thread end. False when it still waits for its receiver: being a daemon, it ends with the process."""
        try:
            self._jobs.put(None, timeout=timeout_seconds)
        except queue.Full:
            return False
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._check()
        while (taken := self._jobs.get()) is not None:
            job, term = taken
            ref, failure = None, None
            try:
                with holding(term, self._term_seconds, self._clock):
                    check_term()
                    ref = self.receiver.send(job.parcel)
            except SendFailed as error:
                failure = error
            except Exception as error:
                failure = bug(error)
            self._results.put(Result(job, ref, failure))

    def _check(self) -> None:
        """Say at the start, not at the first alert, that a token is wrong."""
        try:
            log.debug("%s: %s", self.receiver.name, self.receiver.check())
        except SendFailed as failure:
            level = logging.WARNING if failure.retryable else logging.ERROR
            log.log(level, "%s: %s; alerts are kept until it works", self.receiver.name, failure.reason)
        except Exception as error:
            log.error("%s: %s", self.receiver.name, bug(error).reason)  # noqa: TRY400 - a trace may hold a secret


def bug(error: Exception) -> SendFailed:
    """An error that nobody foresaw: named by kind and place, since its text may hold a secret."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return SendFailed(f"unexpected {type(error).__name__} at {where}: this is a bug of embedwatch", retryable=True)
