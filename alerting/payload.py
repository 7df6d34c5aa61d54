"""What a machine is told of an alert: one flat JSON document, the words that people get and the numbers. Pure.

Fields are only ever added; a change of meaning counts `version` up.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alerting.message import RUNBOOK
from alerting.parcels import Parcel, digest

VERSION = 1
_OF_VERDICT = ("metric", "unit", "value", "threshold", "comparison", "window_seconds", "samples")
_OF_FACTS = ("latest_value", "worst_value", "since_seconds", "fired_at_seconds", "resolved_at_seconds")


def document(parcel: Parcel) -> dict[str, Any]:
    """Times are Unix seconds; what is not known is null. A test message has no alert: all of it is null."""
    message, owed = parcel.message, parcel.owed
    facts = None if owed is None else owed.facts
    verdict = None if facts is None else facts.breach
    return {
        "version": VERSION,
        "kind": message.kind,
        "id": digest(parcel.news_key),
        "dedup_key": digest(parcel.key),
        "alert_id": message.alert_id or None,
        "episode": message.episode or None,
        "status": status(parcel),
        "type": None if verdict is None else verdict.alert_type,
        "severity": None if verdict is None else verdict.severity,
        "rule": None if verdict is None else verdict.rule,
        "scope": {} if verdict is None else verdict.scope,
        **{name: None if verdict is None else getattr(verdict, name) for name in _OF_VERDICT},
        **{name: None if facts is None else getattr(facts, name) for name in _OF_FACTS},
        "title": message.title,
        "text": message.sentence,
        "cause": message.cause,
        "action": message.action,
        "note": message.note,
        "runbook_url": message.link(RUNBOOK),
        "links": [{"label": link.label, "url": link.url} for link in message.links],
    }


def status(parcel: Parcel) -> str:
    """`resolved` or `firing`, whatever the news is; `test` for a test message."""
    kind = parcel.message.kind
    if kind == "test":
        return "test"
    return "resolved" if kind in ("resolved", "cleared") else "firing"


def rfc3339(seconds: float | None) -> str | None:
    """None where there is no time, or one that no calendar knows."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None
