"""Lag in words, in cells of a table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from embedwatch.lag.tracker import STALL_SECONDS, STATUSES, Lag, Place, Total
from embedwatch.report import counted, number

UNKNOWN = "unknown"


def head(group: str, members: int | None, topics: Iterable[str], whole: Total, looked_seconds: float) -> list[str]:
    """Lines over the table: one fact a line."""
    names = ", ".join(sorted(set(topics)))
    who = "members unknown" if members is None else counted(members, "member")
    facts = [
        ("Group", f"{group} ({who})"),
        ("Topics", f"{names} ({counted(whole.partitions, 'partition')})"),
        ("Status", status(whole)),
        ("Waiting", f"{amount(whole.lag_messages, 'message')}, {amount(whole.lag_texts, 'text')}"),
        ("Oldest waits", span(whole.oldest_age_seconds)),
        ("Arriving", rate(whole.arrival_rate_per_s)),
        ("Done", rate(whole.consume_rate_per_s)),
        ("Time to drain", drain(whole.lag_messages, whole.drain_seconds, whole.consume_rate_per_s)),
    ]
    lines = [f"{name + ':':15}{text}" for name, text in facts]
    if whole.lag_messages and not whole.consume_rate_per_s and whole.status == "OK" and looked_seconds < STALL_SECONDS:
        lines.append(
            f"No commit was seen in {number(looked_seconds)} s; whether it is STALLED is known after "
            f"{number(STALL_SECONDS)} s (--look-seconds {number(STALL_SECONDS)}, or --follow)."
        )
    return lines


def line(whole: Total) -> str:
    """All in one line, for those who follow."""
    return (
        f"{whole.status}: {amount(whole.lag_messages, 'message')}, {amount(whole.lag_texts, 'text')}, oldest "
        f"{span(whole.oldest_age_seconds)}; arriving {rate(whole.arrival_rate_per_s)}, done "
        f"{rate(whole.consume_rate_per_s)}; drains in "
        f"{drain(whole.lag_messages, whole.drain_seconds, whole.consume_rate_per_s)}"
    )


def status(whole: Total) -> str:
    """`STALLED (3 of 4 partitions, 1 OK)`."""
    if len(whole.statuses) < 2:
        return whole.status
    others = [f"{whole.statuses[name]} {name}" for name in reversed(STATUSES) if name in whole.statuses]
    return f"{whole.status} ({others[0].split()[0]} of {whole.partitions} partitions, {', '.join(others[1:])})"


def reasons(lags: Mapping[Place, Lag], limit: int) -> list[str]:
    """`STALLED 0, 1: no commit for 75 s ...`: who shares a reason shares a line; the most worrying first."""
    several_topics = len({place.topic for place in lags}) > 1
    shared: dict[tuple[int, str], list[str]] = {}
    for place, lag in sorted(lags.items()):
        if lag.reason:
            shared.setdefault((-STATUSES.index(lag.status), lag.reason), []).append(_name(place, several_topics))
    lines = []
    for (badness, reason), names in sorted(shared.items(), key=lambda item: item[0])[:limit]:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        lines.append(f"{STATUSES[-badness]} {', '.join(names[:10])}{more}: {reason}")
    return [*lines, f"and {len(shared) - limit} more reasons"] if len(shared) > limit else lines


COLUMNS = ("part", "status", "messages", "texts", "oldest", "in/s", "done/s", "drains in")


def cells(place: Place, lag: Lag, several_topics: bool) -> tuple[str, ...]:
    """One row of the table, in the order of `COLUMNS`."""
    return (
        _name(place, several_topics),
        lag.status,
        _count(lag.lag_messages),
        _count(lag.lag_texts),
        span(lag.oldest_age_seconds),
        _rate(lag.arrival_rate_per_s),
        _rate(lag.consume_rate_per_s),
        drain(lag.lag_messages, lag.drain_seconds, lag.consume_rate_per_s),
    )


def worst_first(lags: Mapping[Place, Lag], limit: int) -> tuple[list[tuple[Place, Lag]], int]:
    """Those shown, and how many are left out. All in their order where they are few; else what waits longest."""
    found = sorted(lags.items())
    if len(found) <= limit:
        return found, 0

    def key(item: tuple[Place, Lag]) -> tuple[int, float, int]:
        lag = item[1]
        return -STATUSES.index(lag.status), -(lag.oldest_age_seconds or 0.0), -(lag.lag_messages or 0)

    return sorted(found, key=key)[:limit], len(found) - limit


def as_json(
    group: str, members: int | None, time_seconds: float, lags: Mapping[Place, Lag], whole: Total, trouble: str | None
) -> dict[str, Any]:
    """What cannot be known is null."""
    rows = [{"topic": place.topic, "partition": place.partition, **asdict(lag)} for place, lag in sorted(lags.items())]
    everything = asdict(whole)
    if trouble is not None:
        everything["reason"] = trouble
    return {"group": group, "members": members, "time_seconds": time_seconds, "total": everything, "partitions": rows}


def amount(count: int | None, name: str) -> str:
    return f"{name}s {UNKNOWN}" if count is None else counted(count, name)


def span(seconds: float | None) -> str:
    """`0.4 s`, `75 s`, `12 m 5 s`, `3 h 2 m`, `2 d 4 h`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    for size, name, less, less_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size:,} {name} {whole % size // less} {less_name}"
    return f"{whole} s"


def rate(per_s: float | None) -> str:
    return UNKNOWN if per_s is None else f"{_rate(per_s)} messages/s"


def drain(messages: int | None, seconds: float | None, consume_per_s: float | None) -> str:
    """A queue that does not get shorter has no time to drain; that is not the same as not known."""
    if seconds is not None:
        return span(seconds)
    return UNKNOWN if messages is None or consume_per_s is None else "never"


def _name(place: Place, several_topics: bool) -> str:
    return f"{place.topic}:{place.partition}" if several_topics else str(place.partition)


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return UNKNOWN
    return f"{per_s:,.1f}" if per_s < 100 else f"{per_s:,.0f}"
