"""What a receiver gets next: one message, or many that wait for it at once as one. Pure.

A bundle is bound before it is sent: each of its messages carries its name, and is stored with it. So it stays the same
message at every attempt, after a crash too.

What changes a message that is there (an end that turns it green) is no post and goes into no bundle: a message left
red would be wrong. That data stopped or came back is said of many in one new message all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from alerting.calm import Calm, Cap
from alerting.outbox import SAID_THOUGH_QUIET
from alerting.parcels import episode_key
from alerting.states import Owed

#: Comes of many alerts at once, since it has one cause: nothing is heard from the agents.
_OF_DATA = ("no_data", "data_back")
_REMINDERS = ("repeat", "snooze_over", "escalated")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next message of one alert for one receiver. `edits`: it changes one that is there.

    `alone`: it may have arrived under its own name, and is looked for under no other.
    """

    alert_id: str
    owed: Owed
    edits: bool
    alone: bool = False

    @property
    def urgent(self) -> bool:
        return self.owed.kind in ("firing", "escalated") and self.owed.facts.breach.severity == "critical"

    @property
    def posts(self) -> bool:
        """It makes a new message; a repeat does so too, since a reminder that nobody sees reminds nobody."""
        return not self.edits or self.owed.kind in _REMINDERS or self.owed.bundle is not None

    @property
    def rank(self) -> tuple[bool, float]:
        """What is critical goes first, then what is owed longest."""
        return self.owed.facts.breach.severity != "critical", self.owed.decided_seconds


@dataclass(frozen=True, slots=True)
class Choice:
    """`send` goes out now, as one message. `bind` is to be stored under the name `bundle` first.

    `capped`: the cap would not let each of them out by itself.
    """

    send: tuple[Waiting, ...] = ()
    bind: tuple[Waiting, ...] = ()
    bundle: str = ""
    capped: bool = False

    @property
    def urgent(self) -> bool:
        return any(w.urgent for w in self.send)


def choose(waiting: Sequence[Waiting], cap: Cap, calm: Calm, now: float, monotonic: float) -> Choice:
    """What to do for one receiver. `now` is our clock, as `Owed.decided_seconds` is."""
    gathered = any(_gathered(w, calm, now) for w in waiting if w.owed.kind in _OF_DATA)
    ready = [w for w in waiting if w.owed.kind not in _OF_DATA or w.owed.bundle is not None or gathered]
    loose = [
        w
        for w in ready
        if w.owed.bundle is None and not w.alone and (w.owed.kind not in SAID_THOUGH_QUIET or not w.edits)
    ]
    for group, least, urgent in _groups(loose, cap, calm, monotonic):
        capped = not cap.room(monotonic, urgent=urgent, posts=len(group))
        many = len(group) >= least or capped
        # What cannot go out yet is not bound yet: more may come.
        if len(group) > 1 and many and cap.room(monotonic, urgent=urgent):
            return Choice(bind=tuple(group), bundle=_name(group), capped=capped)
    units = [*([w] for w in ready if w.owed.bundle is None), *_bundles(ready)]
    units.sort(key=lambda unit: min(w.rank for w in unit))
    for unit in units:
        # There was room for a bundle when it was bound: urgent ones that came since must not starve it.
        urgent = any(w.urgent or w.owed.bundle is not None for w in unit)
        if not any(w.posts for w in unit) or cap.room(monotonic, urgent=urgent):
            return Choice(send=tuple(sorted(unit, key=lambda w: w.rank)))
    return Choice()


def _groups(
    loose: Sequence[Waiting], cap: Cap, calm: Calm, monotonic: float
) -> Iterator[tuple[list[Waiting], int, bool]]:
    """What may go together, from how many on, and whether it is urgent."""
    urgent = [w for w in loose if w.urgent]
    if urgent and not cap.room(monotonic, urgent=True, posts=2):
        yield list(loose), calm.bundle_from, True  # the last post takes everything along
        return
    yield [w for w in loose if w.owed.kind in _OF_DATA], 2, False
    yield urgent, calm.bundle_from, True
    yield [w for w in loose if not w.urgent], calm.bundle_from, False


def _gathered(waiting: Waiting, calm: Calm, now: float) -> bool:
    # A clock that stepped back holds nothing up.
    return not 0 <= now - waiting.owed.decided_seconds < calm.gather_seconds


def _name(group: Iterable[Waiting]) -> str:
    """Unique: a message is bound once."""
    first = min(group, key=lambda w: (w.rank, w.alert_id))
    return f"bundle|{episode_key(first.alert_id, first.owed)}|{first.owed.number}"


def _bundles(ready: Iterable[Waiting]) -> list[list[Waiting]]:
    found: dict[str, list[Waiting]] = {}
    for each in ready:
        if each.owed.bundle is not None:
            found.setdefault(each.owed.bundle, []).append(each)
    return list(found.values())
