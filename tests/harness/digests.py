"""What a digest says, read as a person does: from its words."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Sums:
    """`8 firings + 2 open from before = 3 told one by one + 7 silenced.`"""

    fired: int
    carried: int
    parts: dict[str, int]

    @property
    def agree(self) -> bool:
        return self.fired + self.carried == sum(self.parts.values())


def sums(sentence: str) -> Sums:
    """Raises `ValueError` for a sentence that is no sum."""
    if sentence.startswith("No alert fired"):
        return Sums(0, 0, {})
    found = re.match(r"([\d,]+) firings?(?: \+ ([\d,]+) open from before)? = (.*?)\. The sums agree\.$", sentence)
    if found is None:
        raise ValueError(f"no sum: {sentence}")
    parts = {}
    for part in found[3].split(" + "):
        count, words = part.split(" ", 1)
        parts[words] = _number(count)
    return Sums(_number(found[1]), _number(found[2] or "0"), parts)


def _number(text: str) -> int:
    return int(text.replace(",", ""))
