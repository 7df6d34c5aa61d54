"""Checks the fields of one record and makes a `SourceText` of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from embedwatch.errors import InputError
from embedwatch.wire import MAX_TEXT_ID_CHARS
from producers.text import Bad, Input, Item, Oversized, ReadOptions, SourceText

#: JSON's words for what a field may hold.
_TYPE_NAMES = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "dict": "an object",
    "list": "an array",
}


def type_name(value: object) -> str:
    """What a value is, in plain words."""
    name = type(value).__name__
    return _TYPE_NAMES.get(name, name)


def some_of(names: Iterable[object], at_most: int = 12) -> str:
    """A short list of names for a message."""
    words = [str(name) for name in names]
    shown = ", ".join(word if len(word) <= 40 else word[:39] + "…" for word in words[:at_most])
    return shown + (f" and {len(words) - at_most} more" if len(words) > at_most else "")


class Records:
    """Turns (number, text, id) into items of one input; `unit` is "line" or "row".

    Raises `InputError` with file and line for a text or id that cannot be used.
    """

    def __init__(self, spec: Input, options: ReadOptions, unit: str = "line") -> None:
        self._label = spec.label
        self._name = spec.name
        self._source = spec.source
        self._unit = unit
        self._options = options
        self._max_bytes = options.max_text_bytes

    def where(self, number: int) -> str:
        return f"{self._label}, {self._unit} {number}"

    def error(self, number: int, problem: str) -> InputError:
        return InputError(f"{self.where(number)}: {problem}")

    def bad(self, number: int, problem: str) -> Item:
        """The item of a record that cannot be used. Raises `InputError` where such records are not left out."""
        if self._options.skip_bad:
            return Bad(self.where(number), problem)
        raise self.error(number, f"{problem}. Records like it can be left out with --on-bad skip")

    def missing(self, number: int, field: str, option: str, there: Iterable[object]) -> Item:
        """The item of a record without that field."""
        names = list(there)
        found = f"the fields there are: {some_of(names)}" if names else "the object is empty"
        return self.bad(number, f"no field {field!r}; {found}. Name the right one with {option}")

    def item(self, number: int, text: Any, text_id: Any = None) -> Item:
        """The item of one record. `text_id` None: the id is made of name and number."""
        if type(text) is not str:
            field = self._options.field
            return self.bad(number, f"field {field!r} is not text but {type_name(text)}; mend it or choose --field")
        if text_id is None:
            made = f"{self._name}:{number}"
        else:
            problem = self._id_problem(text_id)
            if problem is not None:
                return self.bad(number, problem)
            made = str(text_id)
        if text.isascii():
            size = len(text)
        else:
            try:
                size = len(text.encode())
            except UnicodeEncodeError:
                return self.raw_item(number, as_bytes(text), made)
        if size > self._max_bytes:
            return Oversized(self.where(number), size, self._max_bytes)
        return SourceText(made, text, None, self._source, number)

    def raw_item(self, number: int, raw: bytes, made: str | None = None) -> Item:
        """The item of bytes that are not valid UTF-8."""
        if len(raw) > self._max_bytes:
            return Oversized(self.where(number), len(raw), self._max_bytes)
        return SourceText(made or f"{self._name}:{number}", None, raw, self._source, number)

    def bytes_item(self, number: int, data: bytes, text_id: str | None = None) -> Item:
        """The item of bytes that may or may not be UTF-8."""
        try:
            return self.item(number, data.decode(), text_id)
        except UnicodeDecodeError:
            return self.raw_item(number, data, text_id)

    def _id_problem(self, value: Any) -> str | None:
        """Why this cannot be the id of a text; None when it can."""
        field = self._options.id_field
        if isinstance(value, bool) or not isinstance(value, str | int):
            return f"id field {field!r} is {type_name(value)}; an id is a string or a whole number"
        text = str(value)
        if not text:
            return f"id field {field!r} is empty; each text needs an id of its own"
        if len(text) > MAX_TEXT_ID_CHARS:
            return f"id field {field!r} has {len(text)} characters; at most {MAX_TEXT_ID_CHARS} are kept"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"id field {field!r} is not valid UTF-8"
        return None


def as_bytes(text: str) -> bytes:
    """The bytes behind a string with surrogates: as they stood in the file where they came from there."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # a lone \ud800 in JSON: no UTF-8, and no loss either
