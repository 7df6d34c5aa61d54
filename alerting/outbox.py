"""Messages owed: how they are merged when they grow old, and how they are settled. Pure.

A receiver that was away is not told every step of a story that is over: what was never said and is obsolete by now is
merged ("fired and cleared"), so that a receiver is owed at most four messages of one alert, whatever happens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from alerting.states import MAX_POSTS, AlertState, Owed, Ref, Told

#: News about an alert that the receiver already knows to be firing.
UPDATES = ("repeat", "no_data", "data_back", "acknowledged", "snoozed", "snooze_over", "escalated", "steady")
#: What a person did: told to whoever knows of the alert, though it be quiet.
PERSONAL = ("acknowledged", "snoozed")
#: After these the receiver knows that it is over.
FINAL = ("resolved", "cleared")
SAID_THOUGH_QUIET = (*FINAL, *PERSONAL)


def compact(owed: Collection[Owed], in_flight: Collection[int] = ()) -> tuple[Owed, ...]:
    """Merge what is obsolete; what is `in_flight` (being sent now) stays as it is. Order per receiver is kept."""
    queues: dict[str, list[Owed]] = {}
    for entry in owed:
        _append(queues.setdefault(entry.receiver, []), entry, in_flight)
    return tuple(entry for queue in queues.values() for entry in queue)


def _append(queue: list[Owed], entry: Owed, in_flight: Collection[int]) -> None:
    last = _mergeable(queue, entry, in_flight)
    if last is not None and entry.kind in UPDATES:
        if last.kind == "firing":
            queue[-1] = replace(last, facts=replace(entry.facts, reason=last.facts.reason))
            return
        if last.kind in UPDATES:
            queue[-1] = entry
            return
    if entry.kind == "resolved":
        while last is not None and last.kind in UPDATES:
            queue.pop()
            last = _mergeable(queue, entry, in_flight)
        if last is not None and last.kind == "firing":
            queue.pop()
            entry = replace(entry, kind="cleared", first_decided_seconds=last.begun_seconds)
    before = queue[-1] if queue and queue[-1].number not in in_flight else None
    if entry.kind == "cleared" and before is not None and before.kind == "cleared":
        first = before.facts
        queue.pop()
        facts = replace(
            entry.facts,
            episodes=first.episodes + entry.facts.episodes,
            since_seconds=first.since_seconds,
            fired_at_seconds=first.fired_at_seconds,
            worst_value=worst(first.worst_value, entry.facts.worst_value, entry.facts.breach.comparison),
        )
        entry = replace(
            entry,
            facts=facts,
            decided_seconds=before.decided_seconds,
            first_decided_seconds=min(before.begun_seconds, entry.begun_seconds),
        )
    queue.append(entry)


def _mergeable(queue: list[Owed], entry: Owed, in_flight: Collection[int]) -> Owed | None:
    if not queue or queue[-1].number in in_flight or queue[-1].episode != entry.episode:
        return None
    return queue[-1]


def worst(one: float | None, other: float | None, comparison: str) -> float | None:
    """The value further on the wrong side of a limit; None only when both are."""
    known = [value for value in (one, other) if value is not None]
    if not known:
        return None
    return min(known) if comparison == "<" else max(known)


def next_owed(state: AlertState, receiver: str) -> Owed | None:
    """What this receiver is to get next of this alert."""
    return next((entry for entry in state.owed if entry.receiver == receiver), None)


def bound(state: AlertState, numbers: Collection[int], bundle: str, *, capped: bool = False) -> AlertState:
    """These messages are told in one with others."""
    owed = tuple(replace(e, bundle=bundle, capped=capped) if e.number in numbers else e for e in state.owed)
    return replace(state, owed=owed)


def will_know(state: AlertState, receiver: str) -> bool:
    """The receiver was told that the present episode fires, or that message is on its way."""
    told = state.told.get(receiver)
    if told is not None and told.open and told.episode == state.episode:
        return True
    return any(e.receiver == receiver and e.kind == "firing" and e.episode == state.episode for e in state.owed)


def delivered(
    state: AlertState, number: int, ref: Ref | None, posted_at_seconds: float | None = None, keep_seconds: float = 0.0
) -> AlertState:
    """The receiver acknowledged the message; `ref` is where it is to be found, if the receiver can edit it.

    `posted_at_seconds`: it was a new message, for which this alert stands; remembered for `keep_seconds`.
    """
    entry = next((e for e in state.owed if e.number == number), None)
    if entry is None:
        return state
    over = entry.kind in FINAL
    before = state.told.get(entry.receiver)
    if entry.bundle is not None:
        # Where many are told in one message none can be edited in place; its own, if it has one, stays its own.
        ref = before.ref if before is not None and before.episode == entry.episode else None
    posts = before.posts_at_seconds if before is not None else ()
    if posted_at_seconds is not None:
        # A clock that was set back leaves times to come: they are as good as now.
        posts = (*(at for at in posts if posted_at_seconds - at < keep_seconds), posted_at_seconds)[-MAX_POSTS:]
    told = Told(entry.episode, not over, None if over else ref, posts)
    troubles = {name: text for name, text in state.troubles.items() if name != entry.receiver}
    owed = tuple(e for e in state.owed if e.number != number)
    return replace(state, owed=owed, told={**state.told, entry.receiver: told}, troubles=troubles)


def post_ages_seconds(states: Iterable[AlertState], receiver: str, now: float) -> list[float]:
    """How long ago (our clock) the receiver took each new message that is remembered."""
    found = (state.told.get(receiver) for state in states)
    return [max(0.0, now - at) for told in found if told is not None for at in told.posts_at_seconds]


def failed(state: AlertState, number: int, trouble: str, in_flight: Collection[int] = ()) -> AlertState:
    """The message could not be sent: it stays owed, and why is kept where `embedwatch alerts list` shows it.

    `in_flight` are the messages of this alert that are still being sent: to other receivers.
    """
    entry = next((e for e in state.owed if e.number == number), None)
    if entry is None:
        return state
    troubles = {**state.troubles, entry.receiver: trouble}
    return replace(state, owed=compact(state.owed, in_flight), troubles=troubles)


def settled(state: AlertState, in_flight: Collection[int] = ()) -> AlertState:
    """A state that was just read: what was being sent when it was written is not being sent any more."""
    owed = compact(state.owed, in_flight)
    return state if owed == state.owed else replace(state, owed=owed)


def for_receivers(state: AlertState, receivers: Collection[str]) -> AlertState:
    """Without what is owed to receivers that are not configured any more."""
    owed = tuple(e for e in state.owed if e.receiver in receivers)
    if len(owed) == len(state.owed) and set(state.told) <= set(receivers):
        return state
    told = {name: value for name, value in state.told.items() if name in receivers}
    troubles = {name: value for name, value in state.troubles.items() if name in receivers}
    return replace(state, owed=owed, told=told, troubles=troubles)
