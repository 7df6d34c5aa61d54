"""What to say: from a message owed to words, for people and for no provider in particular. Pure.

Every text in a `Message` is plain: a receiver escapes all of it. Text of others (names of models, tenants, rules) is
cleaned and clipped here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alerting.cause import cause
from alerting.links import dashboard, runbook
from alerting.phrases import ACTIONS, KNOWN_SENTENCES, SUBJECTS, TITLES
from alerting.states import Act, Facts, Kind, Owed
from alerting.wording import clean, duration, pair
from embedwatch.events import Severity, Verdict

NAME_CHARS = 80
NOTE_CHARS = 500
#: Metrics whose verdict has a reason that says more than the number.
EXPLAINED = ("latency_regression_pct", "receiver_failing_seconds", "workers_over_capacity")
DASHBOARD, RUNBOOK = "Dashboard", "Runbook"
SEVERITY_EMOJI: dict[Severity, str] = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


@dataclass(frozen=True, slots=True)
class Detail:
    """A labelled fact. `moment_seconds` is a point in time, shown in the reader's own zone where that can be done."""

    label: str
    text: str = ""
    moment_seconds: float | None = None
    code: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """`title` and `sentence` are enough to act on; `news` is the one line for a thread that already has the rest.

    `lines` are what a bundle holds, one alert each, or a digest; such a message is of no single alert.
    """

    kind: Kind | Literal["bundle", "digest", "test"]
    title: str
    sentence: str
    news: str
    details: tuple[Detail, ...] = ()
    lines: tuple[str, ...] = ()
    cause: str | None = None
    action: str | None = None
    note: str | None = None
    links: tuple[Link, ...] = ()
    alert_id: str = ""
    episode: int = 0

    def link(self, label: str) -> str | None:
        """The address under that label."""
        return next((link.url for link in self.links if link.label == label), None)


def compose(owed: Owed, dashboard_url: str | None = None) -> Message:
    """The message that is owed, in words."""
    facts, verdict = owed.facts, owed.facts.breach
    title = TITLES.get(verdict.alert_type, verdict.alert_type)
    where = scope(verdict)
    about = f"{title} ({where})" if where else title
    emoji = SEVERITY_EMOJI[verdict.severity]
    lasted = _lasted(facts)
    said = _sentence(verdict)
    action: str | None = ACTIONS.get(verdict.alert_type)
    if facts.flapping_changes and owed.kind in ("firing", "data_back"):
        heading = f"{emoji} Flapping: {about}"
        sentence = (
            f"It came and went {facts.flapping_changes} times lately; the next message is about how it ends. {said}"
        )
    elif owed.kind == "firing":
        heading, sentence = f"{emoji} {verdict.severity.capitalize()}: {about}", said
    elif owed.kind == "repeat":
        so_far = duration(verdict.time_seconds - facts.since_seconds)
        heading, sentence = f"{emoji} Still firing after {so_far}: {about}", said
    elif owed.kind == "steady":
        heading, sentence = f"{emoji} Not flapping any more, still firing: {about}", said
    elif owed.kind == "data_back":
        heading, sentence = f"{emoji} Data is back, still firing: {about}", said
    elif owed.kind == "no_data":
        heading = f"⚪ No data any more: {about}"
        sentence = f"It was firing when the data stopped, and nothing is known since. Last known: {said}"
        action = ACTIONS["NO_DATA"]
    elif owed.kind in ("acknowledged", "snoozed", "snooze_over", "escalated"):
        heading, sentence = _of_person(owed, emoji, about), said
    else:
        times = f" {facts.episodes} times" if facts.episodes > 1 else ""
        heading = f"✅ Resolved: {about}" if owed.kind == "resolved" else f"✅ Fired and cleared{times}: {about}"
        sentence, action = _over(facts), None
        if facts.flapping_changes:
            sentence += f" It came and went {facts.flapping_changes} times."
    news = heading.removesuffix(f": {about}")
    if lasted and owed.kind == "resolved":
        news += f" after {lasted}"
    return Message(
        kind=owed.kind,
        title=heading,
        sentence=sentence,
        news=f"{news}: {sentence}",
        details=_details(owed.kind, facts, where, lasted),
        cause=None if owed.kind in ("resolved", "no_data") else cause(verdict),
        action=action,
        note=clean(verdict.text, NOTE_CHARS) if verdict.text else None,
        links=_links(verdict, dashboard_url),
        alert_id=clean(verdict.alert_id, 2 * NAME_CHARS),
        episode=owed.episode,
    )


def _links(verdict: Verdict, dashboard_url: str | None) -> tuple[Link, ...]:
    found = [Link(DASHBOARD, dashboard(dashboard_url, verdict))] if dashboard_url else []
    book = runbook(verdict)
    return (*found, *([Link(RUNBOOK, book)] if book else ()))


def _of_person(owed: Owed, emoji: str, about: str) -> str:
    act, severity = owed.facts.act, owed.facts.breach.severity
    by = clean(act.by, NAME_CHARS) if act is not None else "somebody"
    if owed.kind == "acknowledged":
        return f"👀 Acknowledged by {by}: {about}"
    if owed.kind == "snoozed":
        span = act is not None and act.until_seconds is not None and act.until_seconds - act.at_seconds
        return f"💤 Snoozed {f'for {duration(span)} ' if span else ''}by {by}: {about}"
    if owed.kind == "escalated":
        return f"{emoji} Now {severity}: {about}"
    return f"{emoji} Snooze is over, still firing: {about}"


def trial_message(what: str) -> Message:
    """A message that can be taken for nothing but a test."""
    return Message(
        kind="test",
        title="🧪 Test message of embedwatch",
        sentence=f"This is only a test: {what} can deliver alerts. Nothing is wrong and nothing needs doing.",
        news="🧪 Test message of embedwatch",
    )


def scope(verdict: Verdict) -> str:
    """`model all-MiniLM-L6-v2, tenant acme`; empty for the whole pipeline."""
    parts = (f"{clean(k, NAME_CHARS)} {clean(v, NAME_CHARS) or '(empty)'}" for k, v in verdict.scope.items())
    return ", ".join(parts)


def subject(verdict: Verdict) -> str:
    """What was measured, as it stands in a sentence: "p95 latency"."""
    known = SUBJECTS.get(verdict.metric)
    if known is not None:
        return known
    words = verdict.metric.removesuffix("_" + verdict.unit).replace("_", " ")
    return clean(words, NAME_CHARS) or "the value"


def _unit(verdict: Verdict) -> str:
    return clean(verdict.unit, 20)


def _pair(value: float | None, verdict: Verdict) -> tuple[str, str]:
    return pair(value, verdict.threshold, _unit(verdict))


def _sentence(verdict: Verdict) -> str:
    """Value, limit and window in plain words."""
    value, limit = _pair(verdict.value, verdict)
    span = f" over the last {duration(verdict.window_seconds)}" if verdict.window_seconds else ""
    day = clean(verdict.day or "today", NAME_CHARS)
    known = KNOWN_SENTENCES.get(verdict.metric)
    if known is not None and verdict.value is not None:
        told = known.format(value=value, limit=limit, span=span, day=day)
        # The number alone does not say how much slower, or why.
        reason = clean(verdict.reason, NOTE_CHARS) if verdict.metric in EXPLAINED else ""
        reason = reason.removeprefix("above the threshold (").removesuffix(")") if "threshold (" in reason else reason
        return f"{told} {_capital(reason)}." if reason else told
    word = "minimum" if verdict.comparison == "<" else "limit"
    text = f"{_capital(subject(verdict))} is {value}, {word} {limit}{',' + span if span else ''}."
    if verdict.value is None and verdict.reason:
        text += f" {clean(verdict.reason, NOTE_CHARS)}"
    return text


def _over(facts: Facts) -> str:
    """How it ended."""
    verdict = facts.breach
    worst, limit = _pair(facts.worst_value, verdict)
    word = "minimum" if verdict.comparison == "<" else "limit"
    name = _capital(subject(verdict))
    if facts.reason == "day_over":
        return f"The day {clean(verdict.day or '', NAME_CHARS)} is over. {name} was {worst}, {word} {limit}."
    if facts.reason == "no_data_too_long":
        return f"Closed without knowing whether it is over: there is no data. {name} was {worst}, {word} {limit}."
    if facts.latest_value is None:
        return f"{name} was {worst} at worst, {word} {limit}."
    latest, _ = _pair(facts.latest_value, verdict)
    return f"{name} is back at {latest}; it was {worst} at worst, {word} {limit}."


def _details(kind: Kind, facts: Facts, where: str, lasted: str | None) -> tuple[Detail, ...]:
    verdict = facts.breach
    found = [Detail("Scope", where or "the whole pipeline", code=bool(where))]
    found.append(Detail("Since" if facts.resolved_at_seconds is None else "From", moment_seconds=facts.since_seconds))
    if facts.resolved_at_seconds is not None:
        found.append(Detail("Until", moment_seconds=facts.resolved_at_seconds))
    if lasted:
        found.append(Detail("Lasted", lasted))
    if kind in ("firing", "repeat", "data_back", "snooze_over", "escalated", "steady") and verdict.samples:
        found.append(Detail("Judged on", f"{verdict.samples:,} samples" if verdict.samples > 1 else "1 sample"))
    found += _who(facts.act)
    found.append(Detail("Rule", clean(verdict.rule, NAME_CHARS), code=True))
    return tuple(found)


def _who(act: Act | None) -> list[Detail]:
    """Who takes care of it, until when, and what they said."""
    if act is None:
        return []
    name = clean(act.by, NAME_CHARS)
    found = [Detail("Acknowledged by" if act.do == "acknowledge" else "Snoozed by", name)]
    if act.until_seconds is not None:
        found.append(Detail("Snoozed until", moment_seconds=act.until_seconds))
    if act.note:
        found.append(Detail("They say", clean(act.note, NAME_CHARS * 2)))
    return found


def _lasted(facts: Facts) -> str | None:
    if facts.resolved_at_seconds is None:
        return None
    return duration(facts.resolved_at_seconds - facts.since_seconds)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
