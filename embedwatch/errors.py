"""Errors for people: each says what, where and what to do, in one line.

The command line prints `str(error)` and ends with `exit_code`; a stack trace is only ever shown for a bug of ours.
"""

from __future__ import annotations


class EmbedwatchError(Exception):
    """Base of everything embedwatch raises on purpose. The text is shown to the user as it stands."""

    exit_code = 1


class ConfigError(EmbedwatchError):
    """A setting, option or file of settings is wrong. Raised before anything starts."""

    exit_code = 2


class InputError(EmbedwatchError):
    """The user's data is not what it claims to be, or cannot be read."""

    exit_code = 3


class ConnectionFailed(EmbedwatchError):
    """A broker, cache or endpoint is not there, or refuses."""

    exit_code = 4


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
