"""What went wrong with a text, as one of a bounded set of classes, and when too much goes wrong. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from embedwatch.errors import FailureBudgetExceeded
from embedwatch.events import ErrorClass

MAX_REASON_CHARS = 500

#: Mistakes of who sent a text. They say nothing of this worker's health: one producer with a wrong model name must not
#: stop the work of all others.
SENDERS_MISTAKES: frozenset[ErrorClass] = frozenset(
    {"empty_text", "invalid_utf8", "malformed_message", "text_too_large", "unknown_model"}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one text has no vector. `stage` is decode, tokenise or embed; `reason` is for people."""

    error_class: ErrorClass
    stage: str
    reason: str


def may_be_billed(failure: Failure) -> bool:
    """Whether an endpoint that others run may have billed what failed so: it answered, and the answer was of no use.

    One that refuses a text does not bill it, and where no answer comes the worker asks again or stops.
    """
    return failure.stage == "embed" and failure.error_class in ("bad_response", "not_finite")


class EmbedError(Exception):
    """A backend's failure with its class. Backends raise it where they know more than the exception's type tells."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class: ErrorClass = error_class


def classify(error: BaseException) -> ErrorClass:
    """The class of any exception a backend may raise."""
    if isinstance(error, EmbedError):
        return error.error_class
    text = f"{type(error).__name__}: {error}".lower()
    # torch raises a plain RuntimeError when the CPU allocator gives up, and on some devices of others.
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "out_of_memory"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError):
        return "connection"
    return "model_error"


def failure_of(error: BaseException, stage: str) -> Failure:
    """An exception in words, clipped."""
    first = (str(error).strip() or "no message").splitlines()[0]
    reason = first if isinstance(error, EmbedError) else f"{type(error).__name__}: {first}"
    return Failure(classify(error), stage, reason[:MAX_REASON_CHARS])


@dataclass(slots=True)
class FailureBudget:
    """Stops a worker that turns a topic into dead letters. The sender's mistakes are not counted (`SENDERS_MISTAKES`).

    Counted over a sliding window: the fewest latest polls that hold at least `min_texts` texts. With fewer texts seen
    nothing is judged.
    """

    limit_pct: float
    min_texts: int
    _polls: deque[tuple[int, int]] = field(default_factory=deque)
    _texts: int = 0
    _failed: int = 0

    def add(self, texts: int, failed: int, worst: str = "") -> None:
        """Count one poll. Raises `FailureBudgetExceeded` when the share of the window is above the limit."""
        self._polls.append((texts, failed))
        self._texts += texts
        self._failed += failed
        while self._texts - self._polls[0][0] >= self.min_texts:
            old_texts, old_failed = self._polls.popleft()
            self._texts -= old_texts
            self._failed -= old_failed
        if self._texts < self.min_texts:
            return
        share_pct = 100.0 * self._failed / self._texts
        if share_pct > self.limit_pct:
            often = f"; most often: {worst}" if worst else ""
            raise FailureBudgetExceeded(
                f"{self._failed} of the last {self._texts} texts failed ({share_pct:.0f} %, allowed "
                f"{self.limit_pct:g} %){often}. The worker stops and commits nothing of this poll: these texts are "
                "done again by the next start. Mend the model or its endpoint, or raise worker.failure_budget_pct"
            )
