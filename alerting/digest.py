"""The digest: what became of all alerts since the last one, for one receiver. Pure.

It is made once, when its period is closed, and stored: it says the same at every attempt. The sums agree: what fired,
and what was open before, was told, or held back for good, or is open still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from alerting.digest_account import Account, rolled, total
from alerting.digest_booking import HELD, Route, concerns, held, waiting
from alerting.states import MAX_NAME_CHARS, AlertState
from embedwatch.events import AlertType, Severity

#: So many are named; the others are counted.
NAMED = 10
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
#: Why something still waits, where no receiver's trouble says it.
FOR_ROOM = "cap"
TROUBLE_CHARS = 200
K = TypeVar("K", bound=str)


class Firing(Struct, frozen=True, omit_defaults=True):
    """An alert that fires when the digest is made. `scope` are the first pairs of it."""

    alert_type: AlertType
    severity: Severity
    rule: str
    scope: dict[str, str]
    since_seconds: float


class Taken(Struct, frozen=True, omit_defaults=True):
    """So many alerts that fire and a person knows of. `until_seconds` is the latest end of their snoozes."""

    by: str
    alerts: int
    until_seconds: float | None = None


class Digest(Struct, frozen=True, omit_defaults=True):
    """Counts of firings, by type and severity as they are when it is made. Times are of our clock.

    `waiting` and `held` are open: they wait to be told, or are held back for now, by what.
    """

    since_seconds: float
    until_seconds: float
    account: Account
    fired_types: dict[str, int] = msgspec.field(default_factory=dict)
    fired_severities: dict[str, int] = msgspec.field(default_factory=dict)
    resolved_types: dict[str, int] = msgspec.field(default_factory=dict)
    resolved_severities: dict[str, int] = msgspec.field(default_factory=dict)
    waiting: int = 0
    waiting_for: str | None = None
    held: dict[str, int] = msgspec.field(default_factory=dict)
    firing_severities: dict[str, int] = msgspec.field(default_factory=dict)
    no_data: int = 0
    flapping: int = 0
    firing: tuple[Firing, ...] = ()
    acknowledged: tuple[Taken, ...] = ()
    snoozed: tuple[Taken, ...] = ()

    @property
    def came(self) -> int:
        """All that there is to account for."""
        return self.account.carried + self.account.fired

    @property
    def still_firing(self) -> int:
        return sum(self.firing_severities.values())

    @property
    def unaccounted(self) -> int:
        """0, or alerting has a bug, and the digest says so."""
        return self.account.open - self.waiting - sum(self.held.values())

    @property
    def says_nothing(self) -> bool:
        return self.account.empty and not (self.still_firing or self.waiting or self.held)


def digest_of(
    states: Iterable[AlertState],
    receiver: str,
    route: Route | None,
    period: int,
    since_seconds: float,
    until_seconds: float,
    *,
    room: bool = True,
) -> Digest:
    """Of states whose accounts are kept. `room`: the receiver's cap would let a message through now."""
    accounts, held_by = [], Counter[str]()
    fired, resolved, firing = (Counter[tuple[str, str]]() for _ in range(3))
    still: list[AlertState] = []
    open_waiting, trouble, flapping = 0, None, 0
    for state in states:
        account = state.accounts.get(receiver)
        kind = (state.alert_type, state.severity)
        if account is not None:
            account = rolled(account, period)
            accounts.append(account)
            fired[kind] += account.fired
            resolved[kind] += account.resolved
        routed = route is None or receiver in route(state.breach or state.verdict)
        waits = waiting(state, receiver)
        if waits:
            open_waiting += waits
            trouble = trouble or state.troubles.get(receiver)
        if held(state, receiver, routed=routed):
            if state.quiet is None:
                open_waiting += 1
            else:
                held_by[HELD[state.quiet.kind]] += 1
        if concerns(state, receiver, routed=routed):
            firing[kind] += 1
            still.append(state)
            flapping += state.flapping is not None
    waiting_for = trouble[:TROUBLE_CHARS] if trouble else (None if room else FOR_ROOM)
    return Digest(
        since_seconds,
        until_seconds,
        account=total(accounts, period),
        fired_types=_by(fired, 0),
        fired_severities=_by(fired, 1),
        resolved_types=_by(resolved, 0),
        resolved_severities=_by(resolved, 1),
        waiting=open_waiting,
        waiting_for=waiting_for if open_waiting else None,
        held=dict(held_by),
        firing_severities=_by(firing, 1),
        no_data=sum(state.status == "no_data" for state in still),
        flapping=flapping,
        firing=tuple(_firing(state) for state in sorted(still, key=_rank)[:NAMED]),
        acknowledged=_taken(state for state in still if state.status == "acknowledged"),
        snoozed=_taken(state for state in still if state.status == "snoozed"),
    )


def joined(first: Digest, then: Digest) -> Digest:
    """One digest of two periods that follow each other, as after a day on which the receiver was away."""
    account = replace(total((first.account, then.account), then.account.period), carried=first.account.carried)
    return replace(
        then,
        since_seconds=first.since_seconds,
        account=account,
        fired_types=_sum(first.fired_types, then.fired_types),
        fired_severities=_sum(first.fired_severities, then.fired_severities),
        resolved_types=_sum(first.resolved_types, then.resolved_types),
        resolved_severities=_sum(first.resolved_severities, then.resolved_severities),
    )


def _by(counts: Counter[tuple[str, str]], part: int) -> dict[str, int]:
    found = Counter[str]()
    for key, count in counts.items():
        found[key[part]] += count
    return {name: count for name, count in found.most_common() if count}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict((Counter(one) + Counter(other)).most_common())


def _rank(state: AlertState) -> tuple[int, float, str]:
    """The worst first, then what fires longest."""
    return SEVERITIES.index(state.severity), _since(state), state.alert_id


def _since(state: AlertState) -> float:
    return state.changed_at_seconds if state.fired_at_seconds is None else state.fired_at_seconds


def _firing(state: AlertState) -> Firing:
    verdict = state.verdict
    return Firing(verdict.alert_type, verdict.severity, verdict.rule[:MAX_NAME_CHARS], verdict.scope, _since(state))


def _taken(states: Iterable[AlertState]) -> tuple[Taken, ...]:
    """By person, the one with most alerts first; those who are not named are counted as one."""
    counts, untils = Counter[str](), dict[str, float]()
    for state in states:
        if state.act is None:
            continue
        by = state.act.by[:MAX_NAME_CHARS]
        counts[by] += 1
        until = state.act.until_seconds
        if until is not None:
            untils[by] = max(until, untils.get(by, until))
    found = [Taken(by, count, untils.get(by)) for by, count in counts.most_common()]
    named, rest = found[:NAMED], found[NAMED:]
    if rest:
        named.append(Taken(f"{len(rest)} others", sum(each.alerts for each in rest)))
    return tuple(named)
