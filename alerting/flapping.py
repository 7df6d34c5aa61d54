"""Alerts that come and go too often to be told each time. Pure.

An alert that changed more than so many times within a while is flapping: that is told once, and from then on it is one
episode, kept open until it is calm. Then the outcome is told: that it is over, that it fires steadily, or that its data
stopped. It is a longer `keep_firing_for`, so a receiver hears of one problem and of one end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Condition = Literal["breached", "clear", "no_data"]

#: Reasons of the transitions that count: what the numbers did, not what people or a day's end did.
COUNTED = ("fired", "recovered", "no_data", "data_returned")


class Flapping(Struct, frozen=True):
    """Times in the agents' clock. `changes` counts from before it was called flapping."""

    since_seconds: float
    changes: int
    condition: Condition
    changed_seconds: float


def changes_lately(
    transitions: Iterable[tuple[float, str]], since_seconds: float, until_seconds: float = math.inf
) -> int:
    """`transitions` are times and reasons. Those after `until_seconds`, which is now, are from before a clock stepped
    back: how long ago is not known, so they do not count.
    """
    return sum(reason in COUNTED and since_seconds <= at <= until_seconds for at, reason in transitions)


def moved_on(flapping: Flapping, condition: Condition, at: float) -> Flapping:
    """With the condition as it is now."""
    if condition == flapping.condition:
        return flapping
    return replace(flapping, condition=condition, changes=flapping.changes + 1, changed_seconds=at)
