"""What passes between the engine, the senders and the receivers: a message on its way, and what became of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from alerting.message import Message, trial_message
from alerting.states import Owed, Ref

#: Key of the messages of `embedwatch alerts test`.
TRIAL_KEY = "embedwatch-test"


class SendFailed(Exception):
    """A message was not acknowledged. The text is for people and holds no secret.

    `retryable`: it may go out later as it is; else someone has to mend something first (and it is tried again, rarely,
    in case they did). `of_message`: only this message is at fault, others may go out. `in_doubt`: no answer came, and
    the receiver may have taken the message.
    """

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool,
        retry_after_seconds: float | None = None,
        of_message: bool = False,
        in_doubt: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.of_message = of_message
        self.in_doubt = in_doubt


@dataclass(frozen=True, slots=True)
class Traits:
    """What a receiver can do. `edits`: it changes a message in place, so it is told which one.

    `bundles`: people read it, so that many messages become one and a cap holds. A machine wants each by itself.
    It takes `per_second` messages in the long run, `burst` at once; None: as many as there are.
    """

    edits: bool = False
    bundles: bool = True
    per_second: float | None = None
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message for one receiver, the same at every attempt.

    `key` names the episode of the alert, for all that is ever said of it; `news_key` names this one message.
    `ref` is the message to edit; None: it is a new one. `doubtful`: an attempt before this one may have arrived, so
    that a receiver that can look for it does; none was made before `since_seconds` (our clock). `owed` is what it was
    made of, for receivers that send facts; None for a test and for many messages in one, which are `many`.
    """

    message: Message
    key: str
    news_key: str
    ref: Ref | None = None
    doubtful: bool = False
    since_seconds: float = 0.0
    owed: Owed | None = None
    many: tuple[Owed, ...] = ()

    @property
    def all_owed(self) -> tuple[Owed, ...]:
        """Nothing for a test."""
        return self.many if self.owed is None else (self.owed,)


@dataclass(frozen=True, slots=True)
class Job:
    """A parcel on its way to one receiver, and what it settles: alerts, and the number of the message in each.

    `posts`: it makes a new message, which the receiver's cap counts.
    """

    receiver: str
    entries: tuple[tuple[str, int], ...]
    parcel: Parcel
    posts: bool = True

    @property
    def about(self) -> str:
        """For the log."""
        first, more = self.entries[0][0], len(self.entries) - 1
        return f"{first} and {more:,} more" if more else first


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job. `failure` is None after the receiver's acknowledgement."""

    job: Job
    ref: Ref | None
    failure: SendFailed | None


def episode_key(alert_id: str, owed: Owed) -> str:
    """The time is part of it: an alert that was forgotten counts its episodes from 1 again."""
    return f"{alert_id}|{owed.episode}|{int(owed.facts.fired_at_seconds)}"


def pack(alert_id: str, owed: Owed, message: Message, ref: Ref | None, doubtful: bool = False) -> Parcel:
    """The parcel of one message that is owed."""
    key = episode_key(alert_id, owed)
    return Parcel(message, key, f"{key}|{owed.number}", ref, doubtful, owed.begun_seconds, owed)


def pack_bundle(
    name: str, message: Message, many: Sequence[Owed], doubtful: bool = False, since_seconds: float = 0.0
) -> Parcel:
    """The parcel of many messages that are told in one."""
    return Parcel(message, name, name, None, doubtful, since_seconds, many=tuple(many))


def pack_whole(key: str, message: Message, doubtful: bool = False, since_seconds: float = 0.0) -> Parcel:
    """The parcel of a message about no alert in particular."""
    return Parcel(message, key, key, None, doubtful, since_seconds)


def digest(key: str) -> str:
    """A key for others: keys hold names of any length."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def trial(what: str, run: str = "0") -> Parcel:
    """A test message for the receiver of that name. `run` is another for each test: who takes each id once takes it."""
    return Parcel(trial_message(what), TRIAL_KEY, f"{TRIAL_KEY}|{run}")
