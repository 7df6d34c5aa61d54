"""A byte stream in another encoding, read as UTF-8. Strict: what does not decode is an error, never a replacement."""

from __future__ import annotations

import codecs
import contextlib
import io
from typing import BinaryIO

from embedwatch.errors import ConfigError, InputError

_BLOCK_BYTES = 1 << 16


def codec_name(encoding: str) -> str:
    """The codec's own name ("UTF8" -> "utf-8"). Raises `ConfigError` for what Python does not know as text."""
    try:
        " ".encode(encoding)  # refuses codecs that are no text, such as hex
        codecs.getincrementaldecoder(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, UnicodeError, ValueError):
        raise ConfigError(
            f"option --encoding: {encoding!r} is not a text encoding; try utf-8, utf-16 or cp1252"
        ) from None
    return "utf-8" if name in ("utf-8", "utf-8-sig") else name


class Utf8Stream(io.RawIOBase):
    """Raises `InputError` with the line of the first byte that does not decode, after everything before it was read."""

    def __init__(self, raw: BinaryIO, encoding: str, label: str) -> None:
        super().__init__()
        self._raw = raw
        self._encoding = encoding
        self._label = label
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._ready = b""
        self._line = 1
        self._trouble: str | None = None
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            if self._trouble:
                raise InputError(self._trouble)
            if self._ended:
                return 0
            self._fill()
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def _fill(self) -> None:
        data = self._raw.read(_BLOCK_BYTES)
        self._ended = not data
        before = self._decoder.getstate()
        try:
            text = self._decoder.decode(data, final=self._ended)
        except UnicodeError as error:  # not always one with a place: of UTF-16 without a byte order mark
            reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
            # The decoder may have held back bytes of the block before: positions count from those.
            text = ""
            with contextlib.suppress(UnicodeError):
                self._decoder.setstate(before)
                text = self._decoder.decode(data[: max(0, start - len(before[0]))])
            line = self._line + text.count("\n")
            self._trouble = f"{self._label}, line {line}: not valid {self._encoding} ({reason[:200]}); check --encoding"
        self._line += text.count("\n")
        try:
            self._ready = text.encode()
        except UnicodeEncodeError:
            self._trouble = f"{self._label}, line {self._line}: holds characters that no UTF-8 can; check --encoding"
