"""What the Slack stand-in keeps and how it says no. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct


class Edit(Struct, frozen=True):
    """What a message said before it was edited, and when it was."""

    at_seconds: float
    text: str
    blocks: list[Any]


class File(Struct, frozen=True):
    id: str
    name: str
    title: str
    bytes_: int = msgspec.field(name="bytes")


class InboxMessage(Struct, frozen=True):
    """A message as it stands now. `thread_ts` is the parent of a reply."""

    ts: str
    channel: str
    channel_name: str
    text: str
    blocks: list[Any]
    received_at_seconds: float
    via: str  # "bot", "webhook" or "other"
    thread_ts: str | None = None
    reply_broadcast: bool = False
    attachments: list[Any] = msgspec.field(default_factory=list)
    edits: list[Edit] = msgspec.field(default_factory=list)
    files: list[File] = msgspec.field(default_factory=list)
    metadata: dict[str, Any] | None = None


class Refused(Exception):
    """Slack says no: the `error` of the answer."""

    def __init__(self, error: str, messages: list[str] | None = None, needed: str | None = None) -> None:
        super().__init__(error)
        self.needed = needed  # the scope that the token lacks
        self.error = error
        self.messages = messages or []


class TooFast(Exception):
    """Over the rate limit; `retry_after_seconds` is whole, as in Slack's header."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"retry after {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class TokenBucket:
    """At most `burst` at once and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float, monotonic: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._level, self._at = float(burst), monotonic

    def take(self, monotonic: float) -> None:
        """Raises `TooFast` when nothing is left."""
        self._level = min(self._burst, self._level + (monotonic - self._at) * self._per_second)
        self._at = monotonic
        if self._level < 1:
            raise TooFast(max(1, math.ceil((1 - self._level) / self._per_second)))
        self._level -= 1
