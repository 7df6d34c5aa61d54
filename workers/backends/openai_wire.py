"""What goes to an OpenAI-compatible embeddings endpoint and what comes back. Pure.

Answers are not trusted: rows are placed by their `index`, and anything that is not exactly the vectors asked for is a
`bad_response`.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from workers.backend import Vectors
from workers.failures import EmbedError


class _Row(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage | None = None


#: Of an answer so many bytes are read for each number of a vector: in base64 it takes 5.4, written out and indented 40.
MAX_NUMBER_BYTES = 64
#: So many numbers a vector may have before it is known how many it has.
MAX_DIMENSIONS = 16_384
_FRAME_BYTES = 64 * 1024
#: What stands around a vector is as much as some numbers.
_LEAST_DIMENSIONS = 64

_decoder = msgspec.json.Decoder(_Answer)


def requests_of(counts: Sequence[int], max_texts: int, max_tokens: int) -> list[list[int]]:
    """Which texts go into one request, in order: at most so many texts and tokens, and at least one text."""
    parts: list[list[int]] = []
    tokens = 0
    for index, count in enumerate(counts):
        if not parts or len(parts[-1]) >= max_texts or tokens + count > max_tokens:
            parts.append([])
            tokens = 0
        parts[-1].append(index)
        tokens += count
    return parts


def most_bytes(texts: int, dims: int | None) -> int:
    """Of an answer that can be right."""
    return _FRAME_BYTES + texts * max(dims or MAX_DIMENSIONS, _LEAST_DIMENSIONS) * MAX_NUMBER_BYTES


def read_answer(body: bytes, texts: int, dims: int | None) -> tuple[Vectors, int | None]:
    """Vectors of shape (texts, dims), and the tokens the provider counted; None when it does not say.

    Raises `EmbedError` (bad_response).
    """
    limit = most_bytes(texts, dims)
    if len(body) > limit:
        raise EmbedError(
            "bad_response",
            f"the endpoint's answer has more than {limit:,} bytes, which is more than {texts} vectors can take: "
            "look at --api-base-url and --model, is it an endpoint of embeddings?",
        )
    try:
        answer = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EmbedError("bad_response", f"the endpoint's answer does not decode: {error}") from None
    if sorted(row.index for row in answer.data) != list(range(texts)):
        raise EmbedError(
            "bad_response", f"the endpoint gave {len(answer.data)} vectors for {texts} texts, or wrong places"
        )
    rows = [_vector(row.embedding) for row in sorted(answer.data, key=lambda row: row.index)]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or (dims is not None and sizes != {dims}):
        raise EmbedError("bad_response", f"the endpoint gave vectors of {sorted(sizes)} dimensions, expected {dims}")
    usage = answer.usage
    told = None if usage is None else (usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens)
    return np.stack(rows), told if told is not None and told >= 0 else None


def share(total: int, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`total` in whole numbers by weight, adding up exactly (largest remainders)."""
    weight = np.maximum(weights, 1)
    exact = total * weight / weight.sum()
    whole: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = total - int(whole.sum())
    order = np.argsort(whole - exact, kind="stable")
    whole[order[:rest]] += 1
    return whole


def wait_asked(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the endpoint asks to wait: `retry-after-ms`, `Retry-After` in seconds or as a date; None without."""
    milliseconds = _float(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _float(text)
    if seconds is not None or text is None:
        return None if seconds is None else max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def reason_of(body: bytes) -> str:
    """The endpoint's own words in an error answer, in one line and clipped."""
    try:
        found: Any = msgspec.json.decode(body)
        error = found.get("error", found)
        words = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
        words = body[:300].decode("utf-8", "replace")
    return " ".join(str(words or "no reason given").split())[:300]


def _vector(embedding: str | list[float]) -> npt.NDArray[np.float32]:
    if isinstance(embedding, list):
        return np.asarray(embedding, np.float32)
    try:
        raw = base64.b64decode(embedding, validate=True)
    except (binascii.Error, ValueError):
        raise EmbedError("bad_response", "the endpoint gave a vector that is no base64") from None
    if len(raw) % 4:
        raise EmbedError(
            "bad_response", f"the endpoint gave a vector of {len(raw)} bytes, not of whole float32 numbers"
        )
    return np.frombuffer(raw, "<f4").astype(np.float32)


def _float(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None
