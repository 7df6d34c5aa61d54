"""How many texts an argument is, and which of them can be counted for tokens. Reads an argument, consumes none."""

from __future__ import annotations

from typing import Any, NamedTuple

#: Of one call. Beyond it is no number of texts, but a mistake.
MOST_TEXTS = 10**8


class Counted(NamedTuple):
    """What is known of an argument at the beginning of a call."""

    texts: int | None  # None: it has no length (a generator), or there is no argument
    tokens: int | None = None  # known where the texts are tokens already, as OpenAI takes them


def count(texts: Any) -> Counted:
    """Of a string 1, of a number itself, of anything with a length its length. A list of tokens is one text.

    Never raises and never iterates over what could be used up: of a generator nothing is known.
    """
    kind = type(texts)
    if kind is str:
        return Counted(1)
    try:
        if kind is list or kind is tuple:
            size = len(texts)
            first = texts[0] if size else None
            if type(first) is str:
                return Counted(size)
            return _of_tokens(texts, first, size)
        return _of_others(texts)
    except Exception:
        return Counted(None)


def _of_tokens(texts: Any, first: Any, size: int) -> Counted:
    if type(first) is int and all(type(token) is int for token in texts):
        return Counted(1, size)
    if type(first) is list and first and type(first[0]) is int and all(type(text) is list for text in texts):
        return Counted(size, sum(map(len, texts)))
    return Counted(size)


def _of_others(texts: Any) -> Counted:
    if texts is None:
        return Counted(None)
    if isinstance(texts, str | bytes | bytearray):
        return Counted(1)
    if isinstance(texts, bool):
        return Counted(None)
    number = whole(texts, MOST_TEXTS)
    if number is not None:
        return Counted(number)
    if getattr(texts, "shape", None) == ():  # an array that holds one value
        return Counted(1)
    return Counted(min(len(texts), MOST_TEXTS))


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


def snapshot(texts: Any, expected: int, most_chars: int) -> tuple[tuple[str, ...] | None, int | None]:
    """The texts, to be counted later, and their characters. `(None, characters)` where there are too many to keep, and
    `(None, None)` where they are no strings, or are not those of the beginning any more. Never raises.
    """
    try:
        if isinstance(texts, str):
            held: tuple[str, ...] = (texts,)
        elif isinstance(texts, list | tuple):
            held = tuple(texts)
        else:
            return _plain(texts, expected, most_chars)
        if len(held) != expected or not all(isinstance(text, str) for text in held):
            return None, None
        chars = sum(map(len, held))
        return (held, chars) if chars <= most_chars else (None, chars)
    except Exception:
        return None, None


def _plain(texts: Any, expected: int, most_chars: int) -> tuple[tuple[str, ...] | None, int | None]:
    """Arrays and columns of strings, and sets: they can be read twice. Nothing else is."""
    listed = texts.tolist() if hasattr(texts, "tolist") else list(texts) if isinstance(texts, set | frozenset) else None
    if isinstance(listed, str):
        listed = [listed]
    return (None, None) if not isinstance(listed, list) else snapshot(listed, expected, most_chars)
