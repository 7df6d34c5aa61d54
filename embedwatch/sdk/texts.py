"""How many texts an argument is, and which of them can be counted for tokens. Reads an argument, consumes none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Of one call. Beyond it is no number of texts, but a mistake.
MOST_TEXTS = 10**8
#: More texts than this are not copied and not each looked at in the caller's thread. A sample of at least `SAMPLED`,
#: evenly spread, says whether they hold less than the half of what may be kept; where they do not, `SAMPLED_WELL` say
#: it within a quarter or so. Texts so uneven that both are wrong by more are kept until the thread comes to them.
MANY = 128
SAMPLED, SAMPLED_WELL = 16, 64
#: Kinds of numpy's types that may hold strings.
_OF_STRINGS = frozenset("OUST")


#: What is known of an argument at the beginning of a call: how many texts (None: it has no length, as a generator, or
#: there is none), and how many tokens, where the texts are tokens already, as OpenAI takes them.
Counted = tuple[int | None, int | None]


def count(texts: Any) -> Counted:
    """Of a string 1, of a number itself, of anything with a length its length. A list of tokens is one text.

    Never raises and never iterates over what could be used up: of a generator nothing is known.
    """
    kind = type(texts)
    if kind is str:
        return 1, None
    try:
        if kind is list or kind is tuple:
            size = len(texts)
            first = texts[0] if size else None
            if type(first) is str:
                return size, None
            return _of_tokens(texts, first, size)
        return _of_others(texts)
    except Exception:
        return None, None


def _of_tokens(texts: Any, first: Any, size: int) -> Counted:
    if type(first) is int and set(map(type, texts)) == {int}:
        return 1, size
    if type(first) is list and first and type(first[0]) is int and set(map(type, texts)) == {list}:
        return size, sum(map(len, texts))
    return size, None


def _of_others(texts: Any) -> Counted:
    if texts is None:
        return None, None
    if isinstance(texts, str | bytes | bytearray):
        return 1, None
    if isinstance(texts, bool):
        return None, None
    number = whole(texts, MOST_TEXTS)
    if number is not None:
        return number, None
    if getattr(texts, "shape", None) == ():  # an array that holds one value
        return 1, None
    return min(len(texts), MOST_TEXTS), None


def whole(value: Any, most: int) -> int | None:
    """A count: an integer of any kind (numpy's too) from 0 to `most`. None for anything else; never raises."""
    if type(value) is int:
        return value if 0 <= value <= most else None
    if isinstance(value, bool | str | bytes):
        return None
    try:
        number = value.__index__()
        return int(number) if 0 <= number <= most else None
    except Exception:
        return None


class Held:
    """Many texts of a call until they are counted: the caller's own list, for to copy 2,048 that are not in the
    processor's cache takes longer than all else that a call costs. What becomes of that list meanwhile is noticed by
    its length and by the sample."""

    __slots__ = ("_sample", "_step", "_texts")

    def __init__(self, texts: Sequence[Any], step: int, sample: Sequence[Any]) -> None:
        self._texts, self._step, self._sample = texts, step, sample

    def texts(self, expected: int) -> tuple[Any, ...] | None:
        """Those of the call; None where they are not any more: the caller has emptied the list, or filled it anew."""
        now = tuple(self._texts)
        if len(now) != expected:
            return None
        if any(text is not then for text, then in zip(now[:: self._step], self._sample, strict=True)):
            return None
        return now


def snapshot(texts: Any, expected: int, most_chars: int) -> tuple[tuple[Any, ...] | Held | None, int | None]:
    """The texts, to be counted later, and their characters (of many by a sample). `(None, characters)` where there are
    too many to keep, and `(None, None)` where they cannot be counted, or are not those of the beginning any more. Never
    raises.
    """
    try:
        kind = type(texts)
        if kind is list or kind is tuple or isinstance(texts, list | tuple):
            if len(texts) != expected:
                return None, None
            if expected > MANY:
                step = expected // SAMPLED
                sample = texts[::step]
                chars = _characters(sample, expected)
                if chars * 2 <= most_chars:
                    return Held(texts, step, sample), chars
                step = expected // SAMPLED_WELL
                sample = texts[::step]
                chars = _characters(sample, expected)
                if chars * 5 <= most_chars * 4:
                    return Held(texts, step, sample), chars
                return None, chars if strings(sample) else None
            held = tuple(texts)
        elif isinstance(texts, str):
            held = (texts,)
        else:
            return _plain(texts, expected, most_chars)
        if len(held) != expected:
            return None, None
        chars = sum(map(len, held))
        if chars <= most_chars:
            return held, chars
        return None, chars if strings(held) else None
    except Exception:
        return None, None


def _characters(sample: Sequence[Any], texts: int) -> int:
    return sum(map(len, sample)) * texts // len(sample)


def strings(texts: Sequence[Any]) -> bool:
    """Whether all of them are. Not asked in the caller's thread, where it would be most of the work."""
    return all(isinstance(text, str) for text in texts)


def _plain(texts: Any, expected: int, most_chars: int) -> tuple[tuple[Any, ...] | Held | None, int | None]:
    """Arrays and columns of strings, and sets: they can be read twice. Nothing else is: of numbers (an image, a tensor
    on a GPU) a list would take long in the caller's thread."""
    listed: Any = None
    if isinstance(texts, set | frozenset):
        listed = list(texts)
    elif hasattr(texts, "tolist") and getattr(getattr(texts, "dtype", None), "kind", None) in _OF_STRINGS:
        listed = texts.tolist()
    if isinstance(listed, str):
        listed = [listed]
    return (None, None) if not isinstance(listed, list) else snapshot(listed, expected, most_chars)
