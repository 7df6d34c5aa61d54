"""What a reader of the topic of days does, in the plainest way: for tests to compare with."""

from __future__ import annotations

from collections.abc import Iterable

from embedwatch.events import DayEvent, DayScope, day_key

FIELDS = tuple(f for f in DayScope.__struct_fields__ if f not in ("spend_nano_usd", "last_correction_seconds"))


def compacted(records: Iterable[DayEvent]) -> list[DayEvent]:
    """The last of each key, as compaction leaves it."""
    return list({day_key(event): event for event in records}.values())


def sums(records: Iterable[DayEvent]) -> dict[tuple[str, str], dict[str, int]]:
    """Day and scope: every number, over the partitions and whatever was booked late."""
    out: dict[tuple[str, str], dict[str, int]] = {}
    for event in compacted(records):
        for scope, found in event.scopes.items():
            into = out.setdefault((event.day, scope), dict.fromkeys(FIELDS, 0))
            for name in FIELDS:
                into[name] += getattr(found, name)
    return out
