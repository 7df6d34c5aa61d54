"""What is remembered of an alert, and the messages it owes. One record of the compacted `alerts` topic, JSON.

An alert that is not known is inactive. Times ending in `_at_seconds` are in the clock of the agents that judge; the
two anchors of `AlertState` tie that clock to ours, so that timers run on while no verdict arrives.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from alerting.digest_account import Account
from alerting.flapping import Flapping
from alerting.quiet import Quiet
from embedwatch.errors import InvalidEvent
from embedwatch.events import AlertType, Severity, Verdict
from embedwatch.runbooks import MAX_RUNBOOK_CHARS

VERSION = 2
#: Versions that are read. Version 1 was also written without saying so, and knew of no acts of people.
READABLE = (1, 2)

#: In this order, for tables and tests. `acknowledged` and `snoozed` fire too, and a person knows of it.
Status = Literal["inactive", "pending", "firing", "acknowledged", "snoozed", "no_data", "resolved"]
#: `cleared`: fired and cleared, said in one message because the first had not gone out when it was over.
#: `steady`: it was flapping, and now just fires. `escalated`: it became more severe than what a person had
#: acknowledged or snoozed.
Kind = Literal[
    "firing",
    "repeat",
    "no_data",
    "data_back",
    "acknowledged",
    "snoozed",
    "snooze_over",
    "escalated",
    "steady",
    "resolved",
    "cleared",
]
Reason = Literal[
    "nothing_to_do",
    "already_applied",
    "waiting",
    "inconclusive",
    "breach_began",
    "fired",
    "recovered_before_firing",
    "no_data_while_pending",
    "still_firing",
    "clearing",
    "recovered",
    "data_missing",
    "no_data",
    "data_returned",
    "no_data_too_long",
    "day_over",
    "repeat_interval_elapsed",
    "forgotten",
    "acknowledged",
    "snoozed",
    "snooze_over",
    "severity_rose",
    "step_reached",
    "calm",
    # Why an act of a person changed nothing:
    "not_active",
    "another_episode",
    "already_acknowledged",
    "snooze_is_past",
]

#: Of an alert that fired and is not over.
ACTIVE: tuple[Status, ...] = ("firing", "acknowledged", "snoozed", "no_data")

MAX_HISTORY = 20
#: Ids of acts that are remembered in one episode: a redelivered one changes nothing.
MAX_APPLIED = 32
#: Posts of one alert that are remembered for one receiver.
MAX_POSTS = 50
MAX_CONTRIBUTORS = 12
MAX_SCOPE_ENTRIES = 8
MAX_NAME_CHARS = 256
MAX_REASON_CHARS = 1000
MAX_TEXT_CHARS = 2000


class Act(Struct, frozen=True, omit_defaults=True):
    """What a person did about an episode. Times are Unix seconds of our clock."""

    do: Literal["acknowledge", "snooze"]
    by: str
    via: str
    at_seconds: float
    severity: Severity  # what they saw: a higher one is told all the same
    until_seconds: float | None = None  # of a snooze
    note: str | None = None


class Facts(Struct, frozen=True, omit_defaults=True):
    """What a message says, as it stood when it was decided. `breach` is the newest verdict that was breached."""

    breach: Verdict
    since_seconds: float  # first breached verdict of the episode
    fired_at_seconds: float
    latest_value: float | None = None
    worst_value: float | None = None
    resolved_at_seconds: float | None = None
    reason: Reason = "fired"
    episodes: int = 1  # how often it fired, where several were merged into one message
    act: Act | None = None  # the newest of the episode
    flapping_changes: int = 0  # how often it changed lately; 0: it is not flapping


class Owed(Struct, frozen=True, omit_defaults=True):
    """A message that was decided and not yet acknowledged by its receiver. `number` is unique in the alert.

    `bundle` names the one message that it is told in together with others; `capped`: as one, since there was no room
    for each. `first_decided_seconds` is that of the oldest message merged into it, which may have arrived.
    """

    number: int
    receiver: str
    kind: Kind
    episode: int
    decided_seconds: float  # our clock: the order over all alerts
    facts: Facts
    bundle: str | None = None
    capped: bool = False
    first_decided_seconds: float | None = None

    @property
    def begun_seconds(self) -> float:
        """No attempt at any of it was made before (our clock)."""
        first = self.first_decided_seconds
        return self.decided_seconds if first is None else min(first, self.decided_seconds)


class Ref(Struct, frozen=True):
    """Where a receiver keeps a message, so that it can be edited in place."""

    channel: str
    ts: str


class Told(Struct, frozen=True, omit_defaults=True):
    """What a receiver knows: the last episode it was told of, and whether it still believes it to be firing.

    `posts_at_seconds` are the new messages it took lately of which this alert was the first (our clock), for its cap.
    """

    episode: int
    open: bool
    ref: Ref | None = None
    posts_at_seconds: tuple[float, ...] = ()


class Transition(Struct, frozen=True, omit_defaults=True):
    """`act` is what a person did, where it was one."""

    at_seconds: float
    status: Status
    reason: Reason
    act: Act | None = None


class AlertState(Struct, frozen=True, omit_defaults=True, tag="alert", tag_field="type"):
    """One alert. Only `lifecycle` (`step`, `act`) changes its status; `outbox` settles what it owes."""

    alert_id: str
    status: Status
    verdict: Verdict  # the newest
    changed_at_seconds: float
    event_seconds: float  # anchor: time in the agents' clock ...
    local_seconds: float  # ... at this time of ours
    heard_seconds: float  # when the newest verdict arrived, our clock
    partition: int  # of the newest verdict; its owner owns the alert
    offset: int
    latest_seconds: float | None = None  # the latest time of any verdict; None: that of the newest
    reason: Reason = "nothing_to_do"
    episode: int = 0  # counts how often it fired
    breach: Verdict | None = None
    breached_since_seconds: float | None = None
    clear_since_seconds: float | None = None
    no_data_since_seconds: float | None = None
    fired_at_seconds: float | None = None
    resolved_at_seconds: float | None = None
    said_at_seconds: float | None = None  # when it last decided to say something
    quiet: Quiet | None = None  # why nobody is told of it now
    held: Kind | None = None  # what is to be said when nothing holds it back any more, should it still be so
    flapping: Flapping | None = None
    calm_since_seconds: float | None = None  # the last time it was flapping ended here
    act: Act | None = None  # the newest of the episode
    applied: tuple[str, ...] = ()  # ids of its acts
    worst_value: float | None = None
    next_number: int = 1
    owed: tuple[Owed, ...] = ()
    told: dict[str, Told] = msgspec.field(default_factory=dict)
    troubles: dict[str, str] = msgspec.field(default_factory=dict)  # by receiver: why its message cannot go out
    history: tuple[Transition, ...] = ()
    accounts: dict[str, Account] = msgspec.field(default_factory=dict)  # by receiver, for the digest
    v: int | None = None  # on the topic only: `encode` writes it, `decode` checks it and takes it off

    @property
    def active(self) -> bool:
        """It fired and is not over."""
        return self.status in ACTIVE

    @property
    def alert_type(self) -> AlertType:
        return self.verdict.alert_type

    @property
    def severity(self) -> Severity:
        return self.verdict.severity


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AlertState)


def encode(state: AlertState) -> bytes:
    # Set here and no default of the field: those are left out, and without `v` every record would be of version 1.
    return _encoder.encode(replace(state, v=VERSION))


def decode(data: bytes) -> AlertState:
    """Raises `InvalidEvent`: wrong_version for a record of a newer embedwatch, else invalid."""
    try:
        version = msgspec.json.decode(data, type=_Version).v
        if version not in READABLE:
            known = ", ".join(str(each) for each in READABLE)
            raise InvalidEvent("wrong_version", f"v is {version}, this reader knows {known}")
        return replace(_decoder.decode(data), v=None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("invalid", str(error)) from None


class _Version(Struct):
    v: int = 1


def trim(verdict: Verdict) -> Verdict:
    """The verdict with its free texts cut: a record holds several copies and must stay far below a message's limit."""
    scope = {k[:MAX_NAME_CHARS]: v[:MAX_NAME_CHARS] for k, v in list(verdict.scope.items())[:MAX_SCOPE_ENTRIES]}
    return replace(
        verdict,
        scope=scope,
        reason=verdict.reason[:MAX_REASON_CHARS],
        text=verdict.text[:MAX_TEXT_CHARS] if verdict.text else None,
        unit=verdict.unit[:MAX_NAME_CHARS],
        # Cut off it would lead elsewhere.
        runbook=verdict.runbook if verdict.runbook and len(verdict.runbook) <= MAX_RUNBOOK_CHARS else None,
        day=verdict.day[:MAX_NAME_CHARS] if verdict.day else None,
        contributors=verdict.contributors[:MAX_CONTRIBUTORS],
    )
