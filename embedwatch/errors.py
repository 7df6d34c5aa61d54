"""Errors for people: each says what, where and what to do, in one line.

The command line prints `str(error)` and ends with `exit_code`; a stack trace is only ever shown for a bug of ours.
"""

from __future__ import annotations

#: What each exit code of `embedwatch` says: docs/reference/exit-codes.md, and the help of the commands, are held to it.
EXIT_CODES = {
    0: "Done. Of a comparison: no worse, or the same.",
    1: "The answer is no: slower (`compare`, `baseline diff`), numbers that differ (`agents rebuild`), or a point that "
    "is not ticked (`checklist`). Also what has no code of its own.",
    2: "Wrong usage: an option, an argument, an environment variable, a setting or the rules file. Told before a "
    "broker or the agents are asked, and before anything is written, where that is possible. Also a missing package.",
    3: "What was named is not there (a file, a baseline, a day, a scope, a dead letter), or is not what it claims to "
    "be, or cannot be read or written. Of `agents rebuild`: not all could be compared.",
    4: "A broker, cache, endpoint or the agents are not there, refuse, or are not ready.",
    5: "Not everything was delivered; the message says how much was.",
    6: "The model cannot be loaded or used.",
    7: "Too large a share of the texts failed (`worker.failure_budget_pct`).",
    8: "Too few samples to answer.",
    70: "A bug of embedwatch.",
    130: "Stopped by Ctrl-C.",
    143: "Stopped by SIGTERM, where that leaves work undone.",
}


class EmbedwatchError(Exception):
    """Base of everything embedwatch raises on purpose. The text is shown to the user as it stands."""

    exit_code = 1


class ConfigError(EmbedwatchError):
    """A setting, option, argument or file of settings is wrong. Raised before anything starts."""

    exit_code = 2


class InputError(EmbedwatchError):
    """The user's data is not what it claims to be, is not there, or cannot be read or written."""

    exit_code = 3


class ConnectionFailed(EmbedwatchError):
    """A broker, cache or endpoint is not there, or refuses."""

    exit_code = 4


class NotLetIn(ConnectionFailed):
    """It is there and refuses us: who we are, or its certificate. To ask again would not help."""


class DeliveryError(EmbedwatchError):
    """Something could not be published. Carries how much did arrive."""

    exit_code = 5

    def __init__(self, message: str, *, delivered: int) -> None:
        super().__init__(message)
        self.delivered = delivered


class ModelError(EmbedwatchError):
    """The embedding model cannot be loaded or used."""

    exit_code = 6


class FailureBudgetExceeded(EmbedwatchError):
    """Too large a share of texts fails: stopping beats draining a topic into dead letters."""

    exit_code = 7


class Inconclusive(EmbedwatchError):
    """Too few samples to answer what was asked. No failure: a caller may take it for success."""

    exit_code = 8


class InvalidEvent(EmbedwatchError):
    """An event that does not decode. `reason` is one of a bounded set and may be a metric label."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
