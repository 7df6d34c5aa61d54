"""Many messages as one: what fires, what is over, how many of what. Pure; nothing is left uncounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from alerting.links import dashboard
from alerting.message import DASHBOARD, SEVERITY_EMOJI, Detail, Link, Message, compose
from alerting.outbox import FINAL
from alerting.phrases import TITLES
from alerting.states import Kind, Owed
from alerting.wording import clip
from embedwatch.events import Severity

#: So many are named; the others are counted by type.
NAMED = 14
LINE_CHARS = 140
_SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
WORDS: dict[Kind, tuple[str, str]] = {
    "firing": ("fires", "fire"),
    "repeat": ("still fires", "still fire"),
    "snooze_over": ("was snoozed and still fires", "were snoozed and still fire"),
    "escalated": ("has become more severe", "have become more severe"),
    "steady": ("does not flap any more and still fires", "do not flap any more and still fire"),
    "acknowledged": ("is acknowledged", "are acknowledged"),
    "snoozed": ("is snoozed", "are snoozed"),
    "data_back": ("has data again and still fires", "have data again and still fire"),
    "no_data": ("has no data any more", "have no data any more"),
    "resolved": ("is over", "are over"),
    "cleared": ("fired and is over", "fired and are over"),
}


def compose_bundle(entries: Sequence[Owed], dashboard_url: str | None = None) -> Message:
    """One message for two or more that are owed to one receiver."""
    kinds = Counter(owed.kind for owed in entries)
    title = f"{_emoji(entries)} {len(entries):,} alerts {WORDS[entries[0].kind][1]}"
    if len(kinds) > 1:
        parts = [f"{kinds[kind]:,} {WORDS[kind][kinds[kind] > 1]}" for kind in WORDS if kinds[kind]]
        title = f"{_emoji(entries)} {len(entries):,} alerts: {', '.join(parts)}"
    ordered = sorted(entries, key=_rank)
    named, rest = ordered[:NAMED], ordered[NAMED:]
    lines = [_line(owed) for owed in named]
    sentence = "They came at once and are told in one message."
    if rest:
        lines.append(f"… and {len(rest):,} more: {_types(rest)}")
        sentence += f" {len(named)} are named here, {len(rest):,} more are counted; `embedwatch alerts list` has all."
    return Message(
        kind="bundle",
        title=title,
        sentence=sentence,
        news=title,
        details=(*_severities(entries), Detail("Types", _types(entries))),
        lines=tuple(lines),
        links=(Link(DASHBOARD, dashboard(dashboard_url)),) if dashboard_url else (),
    )


def _emoji(entries: Sequence[Owed]) -> str:
    alive = [owed for owed in entries if owed.kind not in FINAL]
    if not alive:
        return "✅"
    if all(owed.kind == "no_data" for owed in alive):
        return "⚪"
    return SEVERITY_EMOJI[min((owed.facts.breach.severity for owed in alive), key=_SEVERITIES.index)]


def _rank(owed: Owed) -> tuple[bool, int, float]:
    """What fires before what is over, the worst first."""
    return owed.kind in FINAL, _SEVERITIES.index(owed.facts.breach.severity), owed.decided_seconds


def _line(owed: Owed) -> str:
    message = compose(owed)
    return clip(f"{message.title}. {message.sentence}", LINE_CHARS)


def _severities(entries: Sequence[Owed]) -> list[Detail]:
    counts = Counter(owed.facts.breach.severity for owed in entries)
    return [Detail(name.capitalize(), f"{counts[name]:,}") for name in _SEVERITIES if counts[name]]


def _types(entries: Sequence[Owed]) -> str:
    """`700 high latency, 300 deep queue`"""
    counts = Counter(TITLES.get(owed.facts.breach.alert_type, owed.facts.breach.alert_type) for owed in entries)
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
