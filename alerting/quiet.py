"""Why nobody is told of an alert for now. Pure.

Quiet holds back what is new: that an alert fires, its repeats, that its data stopped or came back. The alert itself
moves on as ever, and an end is never held back: whoever was told of the problem hears that it is over.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

#: `silence`: a person asked for it beforehand; `inhibited`: another alert says it already.
QuietKind = Literal["silence", "inhibited", "snoozed"]


class Quiet(Struct, frozen=True, omit_defaults=True):
    """`by` names the silence, the other alert or the person; `until_seconds` (our clock) is None where nobody knows."""

    kind: QuietKind
    by: str
    until_seconds: float | None = None
