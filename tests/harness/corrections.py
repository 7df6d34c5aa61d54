"""What a reader of the topic of corrections does."""

from __future__ import annotations

from collections.abc import Iterable

from embedwatch.events import CorrectionEvent, DaySums


def newest(corrections: Iterable[CorrectionEvent]) -> list[CorrectionEvent]:
    """Of the same id the one that reaches furthest."""
    found: dict[str, CorrectionEvent] = {}
    for event in corrections:
        known = found.get(event.event_id)
        if known is None or event.until_offset >= known.until_offset:
            found[event.event_id] = event
    return list(found.values())


def added(corrections: Iterable[CorrectionEvent]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Day and scope: events, texts and nano-USD that came late."""
    out: dict[tuple[str, str], tuple[int, int, int]] = {}
    for event in newest(corrections):
        sums: DaySums = event.added
        events, texts, cost = out.get((event.day, event.scope), (0, 0, 0))
        out[event.day, event.scope] = (events + event.events, texts + sums.texts, cost + sums.cost_nano_usd)
    return out
