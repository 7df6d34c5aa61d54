"""The two bulk formats: texts in (one, or a chunk) and vectors out (one, or a chunk). Pure: bytes and headers only.

A **single text** is the simple case, writable by any client: key = text id, value = the text in UTF-8. Optional
headers: `model`, `tenant`, `source`. A **chunk** carries many texts in one message because a Python client moves
some 25,000 messages a second whatever they hold: headers `format: texts.v1` and `count`, value =
JSON `{"ids": [...], "texts": [...]}`.

A **single vector**: key = text id, value = raw little-endian numbers, headers `dtype`, `dims`, `model`, `fingerprint`.
A **chunk of vectors**: the same headers and `format: vectors.v1`, value = u32 length of the ids, the ids as a JSON
array, then one row-major matrix. `read_vectors` gives both as one stream of (id, vector).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from embedwatch.errors import InvalidEvent

TEXTS_FORMAT = b"texts.v1"
VECTORS_FORMAT = b"vectors.v1"
MAX_CHUNK_TEXTS = 256
MAX_CHUNK_BYTES = 256 * 1024
MAX_TEXT_ID_CHARS = 512
MAX_DIMS = 1_000_000

Headers = Sequence[tuple[str, bytes]]
Vector = npt.NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_encoder = msgspec.json.Encoder()


class _Chunk(msgspec.Struct):
    ids: list[str]
    texts: list[str]


class TextItem(msgspec.Struct, frozen=True):
    """One text as it came. `raw` is its bytes; `text` is None where they are not UTF-8 (a dead letter, not a loss)."""

    id: str
    raw: bytes
    text: str | None
    model: str | None
    tenant: str | None
    source: str | None


#: An escape that may be a lone surrogate: legal in JSON, written by JavaScript, refused by msgspec.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_chunk_decoder = msgspec.json.Decoder(_Chunk)
_ids_decoder = msgspec.json.Decoder(list[str])


def header(headers: Headers | None, name: str) -> str | None:
    """The last header of that name, or None. Bytes that are not UTF-8 are replaced, never fatal."""
    found = None
    for key, value in headers or ():
        if key == name and value is not None:
            found = value.decode("utf-8", "replace")
    return found


def encode_chunk(ids: Sequence[str], texts: Sequence[str]) -> bytes:
    """Value of a chunk message; send it with `chunk_headers` and the first id as key.

    A text with lone surrogates (no UTF-8) is written with JSON escapes; its reader makes a dead letter of it.
    """
    if len(ids) != len(texts):
        raise ValueError(f"{len(ids)} ids for {len(texts)} texts")
    try:
        return _encoder.encode({"ids": list(ids), "texts": list(texts)})
    except UnicodeEncodeError:
        return json.dumps({"ids": [_printable(i) for i in ids], "texts": list(texts)}).encode()


def chunk_headers(
    count: int, *, model: str | None = None, tenant: str | None = None, source: str | None = None
) -> list[tuple[str, bytes]]:
    """Headers of a chunk of texts. `count` lets a reader of lag know how many texts wait without decoding them."""
    named = (("model", model), ("tenant", tenant), ("source", source))
    return [
        ("format", TEXTS_FORMAT),
        ("count", str(count).encode()),
        *((name, value.encode("utf-8", "replace")) for name, value in named if value is not None),
    ]


def decode_texts(
    key: bytes | None, value: bytes | None, headers: Headers | None, *, fallback_id: str
) -> list[TextItem]:
    """All texts of one message.

    `fallback_id` names a single text without a key (use topic-partition-offset: stable under redelivery).
    Raises `InvalidEvent` (malformed) if a chunk does not decode; the caller dead-letters the message whole.
    """
    model, tenant, source = header(headers, "model"), header(headers, "tenant"), header(headers, "source")
    form = header(headers, "format")
    if form is None:
        raw = value or b""
        return [TextItem(_text_id(key, fallback_id), raw, _utf8(raw), model, tenant, source)]
    if form.encode() != TEXTS_FORMAT:
        raise InvalidEvent("malformed", f"unknown text format {_clip(form)}, known: {TEXTS_FORMAT.decode()}")
    chunk = _decode_chunk(value or b"")
    if len(chunk.ids) != len(chunk.texts):
        raise InvalidEvent("malformed", f"chunk has {len(chunk.ids)} ids for {len(chunk.texts)} texts")
    items = []
    for text_id, text in zip(chunk.ids, chunk.texts, strict=True):
        raw, valid = _encoded(text)
        text_id = _printable(text_id)[:MAX_TEXT_ID_CHARS]
        items.append(TextItem(text_id, raw, text if valid else None, model, tenant, source))
    return items


def vector_headers(*, dtype: str, dims: int, model: str, fingerprint: str, chunk: bool) -> list[tuple[str, bytes]]:
    """Headers of a vectors message."""
    out = [("dtype", dtype.encode()), ("dims", str(dims).encode()), ("model", model.encode("utf-8", "replace"))]
    out.append(("fingerprint", fingerprint.encode()))
    return [*out, ("format", VECTORS_FORMAT)] if chunk else out


def encode_vector(vector: Vector) -> bytes:
    """Value of a single vector, float32 or float16, little-endian."""
    return _little_endian(vector).tobytes()


def encode_vectors(ids: Sequence[str], matrix: Vector) -> bytes:
    """Value of a chunk of vectors: `matrix` has one row for each id."""
    if matrix.ndim != 2 or matrix.shape[0] != len(ids):
        raise ValueError(f"matrix of shape {matrix.shape} for {len(ids)} ids")
    try:
        head = _encoder.encode(list(ids))
    except UnicodeEncodeError:
        head = _encoder.encode([_printable(i) for i in ids])
    return struct.pack("<I", len(head)) + head + _little_endian(matrix).tobytes()


def encoded_id_bytes(text_id: str) -> int:
    """Bytes that an id takes in a chunk of vectors, quotes and comma included."""
    try:
        return len(_encoder.encode(text_id)) + 1
    except UnicodeEncodeError:
        return len(_encoder.encode(_printable(text_id))) + 1


def read_vectors(key: bytes | None, value: bytes | None, headers: Headers | None) -> Iterator[tuple[str, Vector]]:
    """(id, vector) for every vector of one message, single or chunk; vectors are 1-d, float32 or float16.

    Raises `InvalidEvent` (malformed) if the bytes do not fit the headers.
    """
    dims_text, dtype_name = header(headers, "dims"), header(headers, "dtype")
    dtype = _DTYPES.get(dtype_name or "")
    dims, data = _dims(dims_text), value or b""
    if dtype is None or dims is None:
        raise InvalidEvent("malformed", f"vector headers dtype={_clip(dtype_name)} dims={_clip(dims_text)}")
    form = header(headers, "format")
    if form is None:
        ids, body = [_text_id(key, "")], data
    elif form.encode() != VECTORS_FORMAT:
        raise InvalidEvent("malformed", f"unknown vector format {_clip(form)}, known: {VECTORS_FORMAT.decode()}")
    else:
        if len(data) < 4:
            raise InvalidEvent("malformed", "chunk of vectors shorter than its length field")
        (length,) = struct.unpack_from("<I", data)
        if length > len(data) - 4:
            raise InvalidEvent("malformed", f"chunk of vectors says {length} bytes of ids, {len(data) - 4} are there")
        try:
            ids = _ids_decoder.decode(data[4 : 4 + length])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidEvent("malformed", f"ids of a chunk of vectors: {error}") from None
        body = data[4 + length :]
    if len(body) != len(ids) * dims * dtype.itemsize:
        raise InvalidEvent("malformed", f"{len(body)} bytes for {len(ids)} vectors of {dims} {dtype_name}")
    matrix = np.frombuffer(body, dtype).reshape(len(ids), dims)
    yield from zip(ids, matrix, strict=True)


def _decode_chunk(data: bytes) -> _Chunk:
    try:
        return _chunk_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
    if _SURROGATE.search(data):  # one bad text must not cost its neighbours: the standard decoder takes them
        try:
            return msgspec.convert(json.loads(data.decode()), _Chunk)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            reason = str(error)
    raise InvalidEvent("malformed", f"chunk of texts does not decode: {reason}")


def _encoded(text: str) -> tuple[bytes, bool]:
    """Its bytes, and whether they are UTF-8."""
    try:
        return text.encode(), True
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass"), False


def _printable(text_id: str) -> str:
    """An id that can be a key: a lone surrogate is spelled out."""
    return text_id.encode("utf-8", "backslashreplace").decode()


def _dims(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 7:
        return None
    return int(text) if 0 < int(text) <= MAX_DIMS else None


def _clip(text: str | None) -> str:
    return repr(text if text is None else text[:40])


def _text_id(key: bytes | None, fallback: str) -> str:
    return key.decode("utf-8", "replace")[:MAX_TEXT_ID_CHARS] if key else fallback


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _little_endian(array: Vector) -> Vector:
    wanted = _DTYPES.get(array.dtype.name)
    if wanted is None:
        raise ValueError(f"vectors are float32 or float16, not {array.dtype.name}")
    return np.ascontiguousarray(array, dtype=wanted)
