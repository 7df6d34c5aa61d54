"""One cached vector as bytes: float16 numbers behind a small header with the text's token counts. Pure.

    "EW" version u8, dtype u8, dims u32, tokens u32, full tokens u32, then dims float16, all little-endian.

`tokens` is what the model processed and what a hit saves; `full tokens` is the whole text before truncation. float16
keeps a unit vector to a cosine of 0.9999999 at half the memory of float32.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

_HEAD = struct.Struct("<2sBBIII")
_MAGIC = b"EW"
_VERSION = 1
_FLOAT16 = 1
_MAX_U32 = 2**32 - 1
KEY_PREFIX = b"emb:1:"


def normalised(text: str) -> str:
    """NFC: the form that is hashed and also the form that is embedded, so that the two can never differ."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def cache_key(fingerprint: bytes, normalised_text: str) -> bytes:
    """128 bits of BLAKE2b over the model's fingerprint and the text: hostile texts cannot collide on purpose."""
    digest = blake2b(fingerprint + b"\0", digest_size=16)
    digest.update(normalised_text.encode("utf-8", "surrogatepass"))
    return KEY_PREFIX + digest.digest()


def entry_bytes(dims: int) -> int:
    """Length of an entry for vectors of so many dimensions."""
    return _HEAD.size + 2 * dims


def encode_entries(
    matrix: npt.NDArray[np.floating], tokens: npt.NDArray[np.int64], full: npt.NDArray[np.int64]
) -> list[bytes | None]:
    """An entry for each row; None for a row that float16 cannot hold (a number above 65504)."""
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(matrix, dtype="<f2")
    fits = np.isfinite(half).all(axis=1)
    dims = half.shape[1]
    return [
        _HEAD.pack(_MAGIC, _VERSION, _FLOAT16, dims, min(int(t), _MAX_U32), min(int(f), _MAX_U32)) + row.tobytes()
        if ok
        else None
        for row, t, f, ok in zip(half, tokens, full, fits, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Entries:
    """Decoded entries: `index[i]` is where in the input entry i stood."""

    index: npt.NDArray[np.intp]
    matrix: npt.NDArray[np.float16]
    tokens: npt.NDArray[np.int64]
    full_tokens: npt.NDArray[np.int64]
    foreign: int  # values of a wrong length, form or content: treated as absent


def decode_entries(values: Sequence[bytes | None], dims: int) -> Entries:
    """What a lookup found. Whatever is not an entry for `dims` finite numbers is a miss, and counted."""
    wanted = entry_bytes(dims)
    found: list[int] = []
    bodies: list[bytes] = []
    counts: list[tuple[int, int]] = []
    present = 0
    for position, value in enumerate(values):
        if value is None:
            continue
        present += 1
        if len(value) != wanted:
            continue
        magic, version, dtype, entry_dims, tokens, full = _HEAD.unpack_from(value)
        if (magic, version, dtype, entry_dims) != (_MAGIC, _VERSION, _FLOAT16, dims):
            continue
        found.append(position)
        bodies.append(value[_HEAD.size :])
        counts.append((tokens, full))
    matrix = np.frombuffer(b"".join(bodies), "<f2").reshape(len(bodies), dims)
    numbers = np.array(counts, np.int64).reshape(len(bodies), 2)
    finite = np.isfinite(matrix).all(axis=1)
    return Entries(
        np.array(found, np.intp)[finite],
        matrix[finite],
        numbers[finite, 0],
        numbers[finite, 1],
        present - int(finite.sum()),
    )
