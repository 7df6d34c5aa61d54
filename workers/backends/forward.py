"""How a loaded model is run: as it came, packed, or packed in bfloat16; and the proof that the vectors are the same.

The choice follows from model, hardware and setting alone, never from a stop watch: it is part of the cache's
fingerprint, and two starts on one machine must not disagree.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from embedwatch.errors import ModelError
from workers.backends import attention, packed

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
Ids = Sequence[npt.NDArray[np.int32]]

#: Cosine that vectors must reach against the model's own forward pass.
SAME_FLOAT32 = 0.9999
SAME_BFLOAT16 = 0.9995

#: Short and long, plain and not: what the ways are held against each other with.
PROBES = (
    "a",
    "What is the capital of France?",
    "The quick brown fox jumps over the lazy dog. " * 4,
    "def add(left: int, right: int) -> int:\n    return left + right  # 2 + 2 = 4\n",
    "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller staatlichen Gewalt.",
    "日本語のテキストと中文文本，以及한국어 문장.",
    "https://example.com/a/very/long/path?with=query&and=values#fragment 0123456789 ABCDEF \t !!! ???",
    "An unused <pad> or [PAD] in a tokenizer's own words, <pad> <pad>.",
    "Invoice 4711 of 2026-11-25: 3 x 19.99 EUR, due in 30 days. " * 6,
)


class Forward(Protocol):
    """Token ids in, sentence embeddings (texts, dims) out, on the model's device."""

    def __call__(self, ids: Ids) -> torch.Tensor: ...


class Padded:
    """The model's own forward pass over a padded rectangle."""

    def __init__(self, model: Any, *, pad_id: int, pad_left: bool, type_ids: bool, extra: dict[str, Any]) -> None:
        self._model = model
        self._pad_id = pad_id
        self._pad_left = pad_left
        self._type_ids = type_ids
        self._extra = extra

    def __call__(self, ids: Ids) -> torch.Tensor:
        width = max(row.size for row in ids)
        input_ids = np.full((len(ids), width), self._pad_id, np.int64)
        mask = np.zeros((len(ids), width), np.int64)
        for number, row in enumerate(ids):
            place = slice(width - row.size, width) if self._pad_left else slice(0, row.size)
            input_ids[number, place] = row
            mask[number, place] = 1

        def move(array: npt.NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(array).to(self._model.device)

        features = {"input_ids": move(input_ids), "attention_mask": move(mask), **self._extra}
        if self._type_ids:
            features["token_type_ids"] = move(np.zeros_like(input_ids))
        out: torch.Tensor = self._model(features)["sentence_embedding"]
        return out


class Packed:
    """The encoder without padding, then the model's own pooling and whatever follows it."""

    def __init__(self, model: Any, encoder: packed.PackedEncoder, extra: dict[str, Any]) -> None:
        self._encoder = encoder
        self._after = list(model)[1:]
        self._extra = extra

    def __call__(self, ids: Ids) -> torch.Tensor:
        embeddings, mask = self._encoder(ids)
        features: Any = {"token_embeddings": embeddings, "attention_mask": mask.to(torch.int64), **self._extra}
        for module in self._after:
            features = module(features)
        out: torch.Tensor = features["sentence_embedding"]
        return out


def choose(model: Any, plain: Padded, ids: Ids, precision: Precision, extra: dict[str, Any]) -> tuple[Forward, str]:
    """The fastest way that gives the model's own vectors for `ids`, and its name (`float32`, `packed-bfloat16`, ...).

    Raises `ModelError` when `precision` asks for bfloat16 and the vectors would differ.
    """
    device = model.device
    with torch.inference_mode():
        truth = _vectors(plain(ids))
    want_bfloat16 = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    module = getattr(model[0], "model", None) or getattr(model[0], "auto_model", None)
    reason = packed.why_not(module) if module is not None else "its first module holds no transformer"
    if reason is None and want_bfloat16:
        ragged = attention.ragged_attention() if on_nvidia(device) else None
        for way_of_attention in (ragged, None) if ragged is not None else (None,):
            way = Packed(model, packed.PackedEncoder(module, torch.bfloat16, ragged=way_of_attention), extra)
            alike = _alike(way, ids, truth)
            if alike >= SAME_BFLOAT16:
                return way, "packed-bfloat16"
        _refuse(precision, alike)
    elif want_bfloat16:
        way_name = _whole_in_bfloat16(model, plain, ids, truth, precision)
        if way_name is not None:
            return plain, way_name
    if reason is None:
        way = Packed(model, packed.PackedEncoder(module, torch.float32), extra)
        alike = _alike(way, ids, truth)
        if alike >= SAME_FLOAT32:
            return way, "packed-float32"
        log.warning("model: packing changes its vectors (cosine %.5f); its own forward pass is used", alike)
    else:
        log.info("model: not packed, %s; its own forward pass is used", reason)
    return plain, str(model.dtype).removeprefix("torch.")


def on_nvidia(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None


def has_bfloat16(device: torch.device) -> bool:
    """The processor multiplies bfloat16 itself: faster than float32 there, slower anywhere else."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, ask, bool)()) for ask in asks)


def _whole_in_bfloat16(model: Any, plain: Padded, ids: Ids, truth: Any, precision: Precision) -> str | None:
    """Turn a model that cannot be packed; None, and the model as it was, when its vectors would differ."""
    before = model.dtype
    kept = [tensor.detach().cpu().clone() for tensor in _tensors(model)]
    model.to(torch.bfloat16)
    alike = _alike(plain, ids, truth)
    if alike >= SAME_BFLOAT16:
        return "bfloat16"
    model.to(before)
    with torch.no_grad():
        for tensor, value in zip(_tensors(model), kept, strict=True):
            tensor.copy_(value)  # the way there and back has rounded it
    _refuse(precision, alike)
    return None


def _tensors(model: Any) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _refuse(precision: Precision, alike: float) -> None:
    words = f"bfloat16 changes the vectors of this model (cosine {alike:.5f}, at least {SAME_BFLOAT16} is wanted)"
    if precision == "bfloat16":
        raise ModelError(f"--precision bfloat16: {words}; use --precision float32")
    log.warning("model: %s; float32 is used", words)


def _alike(way: Forward, ids: Ids, truth: npt.NDArray[np.float32]) -> float:
    """The lowest cosine over the probes; -1 when the way fails or gives something else than vectors."""
    try:
        with torch.inference_mode():
            found = _vectors(way(ids))
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("model: a faster way fails (%s)", first[:200])
        return -1.0
    if found.shape != truth.shape or not np.isfinite(found).all():
        return -1.0
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    return float(np.min((found * truth).sum(axis=1) / np.maximum(lengths, 1e-12)))


def _vectors(out: torch.Tensor) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = out.float().cpu().numpy()
    return vectors
