"""Bytes of a fuzzer made into hostile values: what a decoder written in C tells no fuzzer by itself.

A fuzzer that throws raw bytes at a JSON decoder sees one refusal after another. So most inputs begin with something
valid, and the bytes say what of it is replaced, and by what.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 256, 1000, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1,
    2**64, -(2**63),
    10**19, 10**30, 10**400, 0.0, -0.0, 0.5, -0.5, 1e-300, 5e-324, 1e15, 1e16, 1e300, 1.7e308, -1.7e308,
    1_799_999_990.0,
    1_800_000_001, 1_800_086_401, 1_799_000_000.5, 253_402_300_800, -62_135_596_801, math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "a", "all", "m", "model=m", "tenant=a%2Cb", "model=m,tenant=t", "scope=other", "model=", "=x", ",", "\0",
    "\x1b[2J", "\n", "\r\n\r\n", "\t", "\u202e", "\u2028", "\ufeff", "\ud800", "\udfff\ud800", "é",
    "e\u0301", "😀" * 40,
    "<!channel>", "<!here|x>", "<@U0123>", "<#C1>", "<http://evil.example|ok>", "<!date^1^{date}|x>",
    "&lt;!channel&gt;",
    "*b* _i_ ~s~ `c`", "```", "> quote", ":smile:", "@channel", "</script><script>alert(1)</script>", "\"><img src=x>",
    "=HYPERLINK(\"x\")", "+1", "@SUM(A1)", "../../etc/passwd", "%2e%2e%2f", "%00", "%", "%zz", "{value}",
    "{0.__class__}",
    "%s%n", "$(id)", "`id`", "|", "digest|0", "a|b|c", "x" * 256, "x" * 257, "x" * 5000, "مرحبا", "1h", "-1s", "1e999",
    "0x10", "１２", "2027-01-15", "2027-02-30", "0000-00-00", "Europe/Berlin", "../UTC", "localtime", "AA==", "AQ==",
    "https://a.example/x y", "javascript:alert(1)", "http://[::1", "firing", "breached", "ok", "true", "null",
)  # fmt: skip


class Dice:
    """Reads `data` from its beginning; what is behind its end is zeros, so that every input has a meaning."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, count: int) -> int:
        """From 0, at most 65,535."""
        return (self.byte() if count <= 256 else self.byte() << 8 | self.byte()) % count

    def pick(self, of: Sequence[T]) -> T:
        return of[self.below(len(of))]

    def maybe(self, one_in: int = 2) -> bool:
        """False where the input is at its end."""
        return self.left > 0 and self.byte() % one_in == 1

    def raw(self, most: int = 64) -> bytes:
        length = min(self.below(most + 1), self.left)
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        at, self._at = self._at, len(self._data)
        return self._data[at:]

    def number(self) -> Any:
        kind = self.byte()
        if kind % 4:
            return NUMBERS[kind // 4 % len(NUMBERS)]
        return int.from_bytes(self.raw(9), "little", signed=True)

    def text(self) -> str:
        kind = self.byte()
        if kind % 4:
            found = TEXTS[(kind // 4 + self.byte()) % len(TEXTS)]
            return found + self.pick(TEXTS) if kind % 16 == 1 else found
        return self.raw().decode("utf-8", "replace")

    def value(self, depth: int = 2) -> Any:
        """Anything that JSON has."""
        kind = self.below(8 if depth else 6)
        if kind < 2:
            return self.number()
        if kind < 4:
            return self.text()
        if kind == 4:
            return None
        if kind == 5:
            return self.maybe()
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.below(4))]
        return {self.text(): self.value(depth - 1) for _ in range(self.below(4))}

    def changed(self, seed: Any, most: int = 5) -> Any:
        """A copy of plain data in which some places hold something else, are gone, or are new."""
        box = [json.loads(json.dumps(seed))]
        for _ in range(self.below(most + 1)):
            self._change(box)
        return box[0]

    def _change(self, inside: Any) -> None:
        for _ in range(12):
            keys: list[Any] = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                return
            key = self.pick(keys)
            deeper = inside[key]
            if isinstance(deeper, dict | list) and deeper and self.byte() % 4:
                inside = deeper
                continue
            break
        what = self.below(8)
        if what == 0:
            del inside[key]
            if isinstance(inside, list) and not inside:
                inside.append(None)
        elif what == 1 and isinstance(inside, dict):
            inside[self.text()] = inside[key]
        elif isinstance(deeper, str) and what < 6:
            inside[key] = self.text()
        elif isinstance(deeper, int | float) and what < 6:
            inside[key] = self.number()
        else:
            inside[key] = self.value()

    def json(self, seed: Any) -> bytes:
        """Changed JSON; now and then cut, or with bytes in it that are none."""
        data = dumped(self.changed(seed))
        if self.maybe(16):
            at = self.below(len(data) + 1)
            data = data[:at] + self.raw() + (b"" if self.maybe() else data[at:])
        return data


def dumped(value: Any) -> bytes:
    """As JSON, infinities as numbers that are too large. Lone surrogates are escapes, which JSON allows."""
    text = json.dumps(value, ensure_ascii=True) if _with_surrogates(value) else json.dumps(value, ensure_ascii=False)
    return text.replace("-Infinity", "-1e999").replace("Infinity", "1e999").encode()


def _with_surrogates(value: Any) -> bool:
    return any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(value, ensure_ascii=False))
