"""What alerting says of itself at /metrics, /livez and /readyz. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from alerting.states import AlertState, Status
from embedwatch.stage_metrics import (
    BROKER_SECONDS,
    ROUTINE,
    Look,
    Sample,
    broker_trouble,
    by_label,
    family,
    known,
    stuck,
)

#: A cycle waits for the broker at most a few times 5 s; taking over reads the topic of alerts from its beginning.
STUCK_SECONDS = 120.0

_family = partial(family, "embedwatch_alerting_", "Of alerting")
_gauge, _counter = partial(_family, "gauge"), partial(_family, "counter")

FAMILIES = (
    _gauge("ready", "1 or 0", "1 where an alert would come, as its `/readyz` says.",
           "0 for minutes: `/readyz` gives the reasons."),
    _gauge("owned_partitions", "partitions", "Partitions of verdicts that are its own; absent while it takes over.",
           "0: it stands by, another process has the alerts."),
    _counter("verdicts", "verdicts", "Verdicts read.", "Stands still: do the agents run? `NO_DATA` says so, too."),
    _counter("invalid_verdicts", "verdicts", "Verdicts that did not decode and were kept in the dead letters; a reason "
             "that never came has no series.", "Rises: agents of another version?", "reason"),
    _gauge("verdict_age_seconds", "seconds", "Time since the newest verdict was read; absent before the first.",
           "Above 50: the agents are silent, or it does not read."),
    _gauge("behind_seconds", "seconds", "How old the newest verdict was when it was read; absent before the first.",
           "Above 30: it is behind, and alerts come late by so much."),
    _gauge("alerts", "alerts", "Its alerts by state; absent while it takes over.", ROUTINE, "state"),
    _gauge("owed_messages", "messages", "Messages that wait to be sent, by receiver; absent while it takes over.",
           "Stays above 0: the receiver fails or is limited; see `send_failures`.", "receiver"),
    _counter("sent_messages", "messages", "Messages that a receiver took.", ROUTINE, "receiver"),
    _counter("send_failures", "attempts", "Attempts that a receiver did not take; each is made again.",
             "Rises: its log lines say why; `embedwatch alerts test` tries it.", "receiver"),
    _gauge("receiver_failing_seconds", "seconds", "For how long a receiver takes nothing; absent while it works.",
           "Above 300 `RECEIVER_FAILING` fires.", "receiver"),
    _gauge("last_sent_timestamp_seconds", "Unix seconds", "When a receiver last took a message; absent before.",
           ROUTINE, "receiver"),
    _counter("commits", "commits", "Commits of offsets that the group took.", ROUTINE),
    _gauge("unsaved_seconds", "seconds", "For how long what is decided could not be stored; 0 while it can.",
           "Above 30: nothing is sent meanwhile; look at the broker."),
    _gauge("broker_silent_seconds", "seconds", "Time since the broker answered; absent before it did.",
           "Above 30: it is not ready."),
)  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What the service's thread has done so far, by the monotonic clock. Written there, read by whoever answers."""

    verdicts: int = 0
    commits: int = 0
    last_verdict: float | None = None
    behind_seconds: float = 0.0
    #: When nothing that was decided waited to be stored.
    stored: float | None = None
    #: When a cycle last began; None before the first.
    progress: float | None = None

    def heard(self, monotonic: float, age_seconds: float) -> None:
        self.verdicts += 1
        self.last_verdict, self.behind_seconds = monotonic, max(age_seconds, 0.0)


@dataclass(frozen=True, slots=True)
class Told:
    """A receiver, and how sending to it goes. `last_sent` in Unix seconds."""

    name: str
    sent: int = 0
    failures: int = 0
    failing_seconds: float | None = None
    last_sent: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Alerting at one moment. `owned` is None while it takes over, `reads_backlog` while what waited is read."""

    owned: frozenset[int] | None
    reads_backlog: bool = False
    stopping: bool = False
    verdicts: int = 0
    commits: int = 0
    invalid: Mapping[str, int] = field(default_factory=dict)
    states: Sequence[AlertState] = ()
    receivers: Sequence[Told] = ()
    verdict_seconds_ago: float | None = None
    behind_seconds: float | None = None
    unsaved_seconds: float = 0.0
    broker_heard_seconds_ago: float | None = None
    progress_seconds_ago: float | None = None
    stuck_after_seconds: float = STUCK_SECONDS


def look(view: View) -> Look:
    """What is answered."""
    progress, unready = view.progress_seconds_ago, _unready(view)
    dead = [] if progress is None else stuck(progress, view.stuck_after_seconds)
    return Look(_samples(view, ready=not unready and not dead), dead, unready)


def _unready(view: View) -> list[str]:
    if view.stopping:
        return ["it is stopping"]
    reasons = [] if view.receivers else ["nobody is configured who would be told"]
    if view.owned is None:
        reasons.append("it has not taken its alerts over yet")
    elif view.reads_backlog:
        reasons.append("it reads what waited for it first")
    if view.unsaved_seconds > BROKER_SECONDS:
        reasons.append(
            f"what is decided could not be stored for {view.unsaved_seconds:.0f} s; until then nothing is sent"
        )
    return reasons + broker_trouble(view.broker_heard_seconds_ago)


def _samples(view: View, *, ready: bool) -> list[Sample]:
    told = {each.name: each for each in view.receivers}
    behind = view.behind_seconds if view.verdict_seconds_ago is not None else None
    return [
        *known("ready", ready),
        *known("owned_partitions", None if view.owned is None else len(view.owned)),
        *known("verdicts", view.verdicts),
        *by_label("invalid_verdicts", view.invalid),
        *known("verdict_age_seconds", view.verdict_seconds_ago),
        *known("behind_seconds", behind),
        *_of_alerts(view),
        *by_label("sent_messages", {name: each.sent for name, each in told.items()}),
        *by_label("send_failures", {name: each.failures for name, each in told.items()}),
        *by_label("receiver_failing_seconds", _known({name: each.failing_seconds for name, each in told.items()})),
        *by_label("last_sent_timestamp_seconds", _known({name: each.last_sent for name, each in told.items()})),
        *known("commits", view.commits),
        *known("unsaved_seconds", view.unsaved_seconds),
        *known("broker_silent_seconds", view.broker_heard_seconds_ago),
    ]


def _of_alerts(view: View) -> Iterable[Sample]:
    """Of those that are its own: of the others another process knows."""
    if view.owned is None:
        return []
    ours = [state for state in view.states if state.partition in view.owned]
    states = Counter({str(status): 0 for status in get_args(Status)})
    states.update(state.status for state in ours)
    owed = Counter({each.name: 0 for each in view.receivers})
    owed.update(entry.receiver for state in ours for entry in state.owed)
    return [*by_label("alerts", states), *by_label("owed_messages", owed)]


def _known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if number is not None}
