"""Who is told. A receiver sends one message once; when to try again is decided by `sending`, and only there."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from typing import Protocol, TextIO

from alerting.message import Message
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.states import Ref


class Receiver(Protocol):
    """One attempt each, bounded in time. Called from one thread of its own."""

    @property
    def name(self) -> str:
        """Stable: what is owed is stored under it."""

    @property
    def address(self) -> str:
        """Where it goes, for logs: never a secret."""

    @property
    def traits(self) -> Traits:
        """What it can do."""

    def check(self) -> str:
        """Ask, without sending anything, whether messages would arrive; says what was found. Raises `SendFailed`."""

    def send(self, parcel: Parcel) -> Ref | None:
        """Send, or edit what `parcel.ref` names. Returns where the message is now. Raises `SendFailed`."""


class ConsoleReceiver:
    """Prints each message: the receiver that is always there."""

    name = "console"
    address = "standard output"
    traits = Traits()

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def check(self) -> str:
        return "prints here"

    def send(self, parcel: Parcel) -> Ref | None:
        stream = sys.stdout if self._stream is None else self._stream
        try:
            with self._lock:
                print(text(parcel.message), file=stream, flush=True)
        except (OSError, ValueError) as error:  # closed, or the reader of a pipe has gone
            raise SendFailed(f"standard output is not there: {type(error).__name__}", retryable=False) from None
        return None


def text(message: Message) -> str:
    """The message in a few lines of plain text, times in UTC."""
    lines = [message.title, f"  {message.sentence}"]
    facts = []
    for detail in message.details:
        value = detail.text if detail.moment_seconds is None else utc(detail.moment_seconds)
        facts.append(f"{detail.label.lower()} {value}")
    lines += [f"  {'; '.join(facts)}"] if facts else []
    lines += [f"  {line}" for line in message.lines]
    for label, part in (("likely cause", message.cause), ("what to do", message.action), ("note", message.note)):
        lines += [f"  {label}: {part}"] if part else []
    lines += [f"  {link.label}: {link.url}" for link in message.links]
    return "\n".join(lines)


def utc(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "unknown"
