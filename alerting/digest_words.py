"""The digest in words. Pure. Every number that it is made of is said, and that the sums agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.digest import FOR_ROOM, SEVERITIES, Digest, Firing, Taken
from alerting.links import dashboard
from alerting.message import NAME_CHARS, SEVERITY_EMOJI, Detail, Link, Message
from alerting.phrases import TITLES
from alerting.receivers import utc
from alerting.wording import clean, clip, duration

LINE_CHARS = 240
#: What became of a firing, in the order in which it is said.
_WAYS: dict[str, str] = {
    "alone": "told one by one",
    "bundled": "told in bundles",
    "capped": "told in bundles for want of room under the cap",
    "merged": "told when over already, merged with its end",
    "silenced": "silenced",
    "inhibited": "not told beside its cause",
    "snoozed": "snoozed",
    "rerouted": "routed elsewhere",
}

_NAMES: dict[str, str] = {str(alert_type): title for alert_type, title in TITLES.items()}


def compose_digest(digest: Digest, dashboard_url: str | None = None, partition: int = 0) -> Message:
    """One message; `partition` is named where it is not the only one."""
    title = _title(digest)
    details = [
        Detail("From", moment_seconds=digest.since_seconds),
        Detail("To", moment_seconds=digest.until_seconds),
        *([Detail("Partition", str(partition))] if partition else []),
    ]
    return Message(
        kind="digest",
        title=title,
        sentence=_sum(digest),
        news=title,
        details=tuple(details),
        lines=tuple(clip(line, LINE_CHARS) for line in _lines(digest)),
        links=(Link("Dashboard", dashboard(dashboard_url)),) if dashboard_url else (),
    )


def _title(digest: Digest) -> str:
    if digest.says_nothing:
        return "📋 Digest: a quiet day"
    account, firing = digest.account, digest.still_firing
    fired = f"{_count(account.fired, 'alert')} fired"
    return f"📋 Digest: {fired}, {account.resolved:,} resolved, {firing:,} still {'fires' if firing == 1 else 'fire'}"


def _sum(digest: Digest) -> str:
    """`12 firings = 3 told one by one + 9 told in bundles.`"""
    if digest.says_nothing:
        return "No alert fired, and none fires."
    if not digest.came:
        return "No alert fired."
    account = digest.account
    text = f"{_count(account.fired, 'firing')}"
    if account.carried:
        text += f" + {account.carried:,} open from before"
    return f"{text} = {' + '.join(_parts(digest))}." + _unaccounted(digest)


def _parts(digest: Digest) -> list[str]:
    parts = [f"{count:,} {words}" for name, words in _WAYS.items() if (count := getattr(digest.account, name))]
    parts += [f"{digest.held[name]:,} {words} for now" for name, words in _WAYS.items() if digest.held.get(name)]
    if digest.waiting:
        parts.append(f"{digest.waiting:,} still waiting{_waiting_for(digest)}")
    return parts or ["nothing"]


def _waiting_for(digest: Digest) -> str:
    if digest.waiting_for is None:
        return ""
    return f" ({'for room under the cap' if digest.waiting_for == FOR_ROOM else clean(digest.waiting_for, 120)})"


def _unaccounted(digest: Digest) -> str:
    if not digest.unaccounted:
        return " The sums agree."
    return f" The sums do not agree: {digest.unaccounted:,} unaccounted for. This is a bug of embedwatch."


def _lines(digest: Digest) -> Iterable[str]:
    account = digest.account
    if account.fired:
        yield f"Fired: {_counts(digest.fired_severities, digest.fired_types)}"
    if account.resolved:
        yield f"Resolved: {_counts(digest.resolved_severities, digest.resolved_types)}"
    if account.flapped or account.changes or digest.flapping:
        now = f"; {digest.flapping:,} still" if digest.flapping else ""
        times = f"{account.changes:,} time{'' if account.changes == 1 else 's'}"
        yield f"Flapping: {_count(account.flapped, 'alert')} began to, {times} came or went; told once each{now}"
    if digest.acknowledged:
        yield f"Acknowledged: {_people(digest.acknowledged)}"
    if digest.snoozed:
        yield f"Snoozed: {_people(digest.snoozed)}"
    if digest.still_firing:
        no_data = f"; {digest.no_data:,} without data" if digest.no_data else ""
        yield f"Still firing: {_severities(digest.firing_severities)}{no_data}"
        for firing in digest.firing:
            yield _firing(firing, digest.until_seconds)
        rest = digest.still_firing - len(digest.firing)
        if rest:
            yield f"… and {rest:,} more: `embedwatch alerts list` has all"


def _counts(severities: Mapping[str, int], types: Mapping[str, int]) -> str:
    """`2 critical, 1 warning: 2 high latency, 1 deep queue`"""
    return f"{_severities(severities)}: {', '.join(f'{count:,} {_NAMES.get(t, t)}' for t, count in types.items())}"


def _severities(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in SEVERITIES if counts.get(name))


def _people(people: Iterable[Taken]) -> str:
    """`2 by Ada until 2026-03-29 08:00:00 UTC, 1 by Grace`"""
    found = []
    for each in people:
        until = "" if each.until_seconds is None else f" until {utc(each.until_seconds)}"
        found.append(f"{each.alerts:,} by {clean(each.by, NAME_CHARS)}{until}")
    return ", ".join(found)


def _firing(firing: Firing, now: float) -> str:
    scope = ", ".join(f"{clean(k, NAME_CHARS)} {clean(v, NAME_CHARS)}" for k, v in firing.scope.items())
    about = f"{TITLES.get(firing.alert_type, firing.alert_type)} ({scope or clean(firing.rule, NAME_CHARS)})"
    return f"{SEVERITY_EMOJI[firing.severity]} {about}, for {duration(now - firing.since_seconds)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
