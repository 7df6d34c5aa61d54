"""A day's spend over time, as a list of nano-USD a bucket, counted from the day's first moment in the budget's zone.

A day that runs has buckets of 15 minutes: 96 of them, 92 or 100 where the zone changes its clock by an hour. A day that
is over has one an hour, which is what forecasts ask for, in a quarter of the room. Buckets after the last one with a
booking are left out. Pure functions on plain lists, so that a record of state holds them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

BUCKET_SECONDS = 900
HOUR_SECONDS = 3600
_QUARTERS = HOUR_SECONDS // BUCKET_SECONDS


def add_spend(curve: list[int], bucket: int, nano_usd: int) -> None:
    """Book an amount; nothing at all makes no bucket."""
    if nano_usd:
        if bucket >= len(curve):
            curve.extend([0] * (bucket + 1 - len(curve)))
        curve[bucket] += nano_usd


def add_curve(curve: list[int], other: Sequence[int]) -> None:
    """Add another curve of the same resolution."""
    if len(other) > len(curve):
        curve.extend([0] * (len(other) - len(curve)))
    for bucket, nano_usd in enumerate(other):
        curve[bucket] += nano_usd


def hourly(curve: Sequence[int], bucket_seconds: int) -> list[int]:
    """The same spend by hour. The last hour of a day of 24.5 h is half an hour."""
    if bucket_seconds == HOUR_SECONDS:
        return list(curve)
    return [sum(curve[first : first + _QUARTERS]) for first in range(0, len(curve), _QUARTERS)]


def packed(curve: Sequence[int]) -> str:
    """A curve that does not change any more as hexadecimal numbers in a text: the record of state is written every
    second, and a text is copied and written many times faster than a list of numbers."""
    return ",".join(f"{nano_usd:x}" for nano_usd in curve)


def unpacked(text: str) -> list[int]:
    """Inverse of `packed`. Raises ValueError for a text that is none."""
    return [int(part, 16) for part in text.split(",")] if text else []


def quarters(curve: list[int], bucket_seconds: int) -> list[int]:
    """The same spend by 15 minutes; one kept by hour is spread evenly. Only a clock that was set back asks for that."""
    if bucket_seconds == BUCKET_SECONDS:
        return curve
    return [spend * (n + 1) // _QUARTERS - spend * n // _QUARTERS for spend in curve for n in range(_QUARTERS)]


def spend_before(cumulative: Sequence[int], elapsed_seconds: float) -> float:
    """Spend of an hourly curve up to a moment; within an hour along a straight line.

    `cumulative` are running sums beginning with 0: one more than the curve has hours.
    """
    hours = max(elapsed_seconds, 0.0) / HOUR_SECONDS
    whole = int(hours)
    if whole >= len(cumulative) - 1:
        return cumulative[-1]
    before = cumulative[whole]
    return before + (cumulative[whole + 1] - before) * (hours - whole)


def recent_spend(curve: Sequence[int], elapsed_seconds: float, window_seconds: int) -> float:
    """Spend of the last `window_seconds` (a multiple of 15 minutes) of a day so far, by its 15-minute buckets.

    The bucket that the window's beginning falls into counts by the share of it that lies in the window. What was
    booked ahead of the present does not count, nor does anything before the day began.
    """
    now = int(max(elapsed_seconds, 0.0) // BUCKET_SECONDS)
    first = now - window_seconds // BUCKET_SECONDS
    within = elapsed_seconds / BUCKET_SECONDS - now
    spent: float = sum(curve[max(first + 1, 0) : now + 1])
    if 0 <= first < len(curve):
        spent += curve[first] * (1.0 - within)
    return spent
