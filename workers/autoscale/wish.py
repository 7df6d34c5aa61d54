"""How many workers the stream agents ask for, read from their answer; or why it says nothing. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

#: What is looked at in an answer of `/api/v1/scaling`.
FIELDS = (
    "time_seconds", "group", "topic", "desired_workers", "desired_workers_reason", "cause", "limited_by",
    "wanted_workers", "workers",
)  # fmt: skip
#: Causes of decisions that decide nothing: whatever number stands beside one is what the agents have counted.
UNDECIDED = ("unknown", "stalled", "failing")
#: More than any machine has: beyond it the number is a mistake, or of somebody else's making.
MAX_WORKERS = 1_000_000
MAX_WORDS = 300


@dataclass(frozen=True)
class Wish:
    """`wanted` is what the agents would ask for without their limits, `workers` how many they hear of; None where they
    do not say."""

    desired: int
    reason: str
    cause: str | None = None
    limited_by: str | None = None
    wanted: int | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Hold:
    """Nothing is known: what there is stays. Holds of one `kind` are one piece of news, whatever their words."""

    kind: str
    reason: str


def read(answer: Mapping[str, Any], *, now: float, old_seconds: float, group: str, topic: str) -> Wish | Hold:
    """What an answer asks for. `now` is in Unix seconds; `group` and `topic` are those of our workers.

    An answer that is older than `old_seconds`, or comes from as far in the future, is none: either it was kept
    somewhere on the way, or the clocks differ by so much that its age is not known.
    """
    for name, ours in (("group", group), ("topic", topic)):
        theirs = answer.get(name)
        if isinstance(theirs, str) and theirs and theirs != ours:
            return Hold("foreign", f"the agents look at the {name} {_short(theirs)}, and these workers are of {ours}")
    at = answer.get("time_seconds")
    if not _is_number(at):
        return Hold("undated", "the answer of the agents does not say when it was made")
    age = now - at
    if abs(age) > old_seconds:
        how = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s ahead of this machine's clock"
        return Hold("old", f"the answer of the agents is {how}")
    desired = answer.get("desired_workers")
    reason = answer.get("desired_workers_reason")
    words = _short(reason) if isinstance(reason, str) and reason else "no reason given"
    if desired is None or answer.get("cause") in UNDECIDED:
        return Hold("undecided", f"the agents do not say how many: {words}")
    if not _is_number(desired) or not 0 <= desired <= MAX_WORKERS:
        return Hold("nonsense", f"desired_workers is {_short(repr(desired))}, and no number of workers")
    wanted, workers = answer.get("wanted_workers"), answer.get("workers")
    return Wish(
        desired=math.ceil(desired),
        reason=words,
        cause=_text(answer.get("cause")),
        limited_by=_text(answer.get("limited_by")),
        wanted=math.ceil(wanted) if _is_number(wanted) and 0 <= wanted <= MAX_WORKERS else None,
        workers=int(workers) if _is_number(workers) and 0 <= workers <= MAX_WORKERS else None,
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    """Of a size that can be reckoned with. NaN is in no range."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15


def _text(value: object) -> str | None:
    return _short(value) if isinstance(value, str) and value else None


def _short(text: str) -> str:
    """In one line: it comes from another process, and goes into our log."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 2 * MAX_WORDS]).split())
    return line if len(line) <= MAX_WORDS else f"{line[:MAX_WORDS]}..."
