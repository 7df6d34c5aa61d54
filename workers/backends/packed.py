"""BERT's encoder without padding: the tokens of a batch in one row after another, and only attention sees rectangles.

A third of a padded batch of real texts can be padding, and every matrix product pays for it. Here the weights of the
loaded model are used as they are (query, key and value as one matrix), the residual sum and the layer norms stay in
float32, and in bfloat16 only the matrix products and the attention are done. What comes out is held to the model's own
forward pass at the start (`sentence_transformers.load`), so that a model which only looks like BERT is not trusted.

Covers `BertModel`, `RobertaModel` and `XLMRobertaModel` of transformers with absolute positions: the MiniLM, BGE, E5,
GTE and Arctic families.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from workers.backends import attention
from workers.backends.products import Activation, Product, rows_in

#: Config `model_type` to whether positions start after the padding index.
_FAMILIES = {"bert": False, "roberta": True, "xlm-roberta": True}


def why_not(module: Any) -> str | None:
    """Why this transformers model cannot be packed; None when it can."""
    config = module.config
    if config.model_type not in _FAMILIES:
        return f"its type is {config.model_type}"
    kind = getattr(config, "position_embedding_type", "absolute") or "absolute"
    if kind != "absolute":
        return f"its positions are {kind}"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "it is a decoder"
    if config.hidden_act not in ("gelu", "relu"):
        return f"its activation is {config.hidden_act}"
    if {parameter.dtype for parameter in module.parameters()} != {torch.float32}:
        return "its weights are not float32"
    return None


_Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    """The products of each step, and weight and bias of each norm; query, key and value are one product."""

    mix: Product
    attended: Product
    attended_norm: _Pair
    up: Product
    down: Product
    down_norm: _Pair


def _norm(module: Any) -> _Pair:
    return module.weight.detach(), module.bias.detach()


class PackedEncoder:
    """The encoder of `module` in `dtype`. Its matrices are copies where they are laid out anew or in another dtype.

    `ragged`: attention for sequences of different lengths, where the device has it (`attention.ragged_attention`).
    """

    def __init__(self, module: Any, dtype: torch.dtype, *, ragged: Callable[..., Any] | None = None) -> None:
        config, embeddings = module.config, module.embeddings
        self.dtype = dtype
        self._ragged = ragged
        self._heads = int(config.num_attention_heads)
        self._width = int(config.hidden_size)
        self._eps = float(config.layer_norm_eps)
        self._activation: Activation = config.hidden_act
        #: Where positions start after the padding index, padding that stands in a text has that position itself.
        self._pad_id = int(config.pad_token_id) if _FAMILIES[config.model_type] else None
        self._first_position = 0 if self._pad_id is None else self._pad_id + 1
        self._words = embeddings.word_embeddings.weight.detach()
        # Every token here is of the first type.
        types = embeddings.token_type_embeddings.weight.detach()
        self._positions = embeddings.position_embeddings.weight.detach() + types[0]
        self._norm = _norm(embeddings.LayerNorm)
        self._layers = [self._layer(layer) for layer in module.encoder.layer]

    @property
    def device(self) -> torch.device:
        device: torch.device = self._words.device
        return device

    @property
    def max_tokens(self) -> int:
        """Positions there are: a longer text fails, as it does in the model itself."""
        return int(self._positions.shape[0]) - self._first_position

    def __call__(self, ids: Sequence[npt.NDArray[np.int32]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token embeddings (texts, longest, width) in float32, zeros where padded, and the mask (texts, longest).

        Call it inside `torch.inference_mode`.
        """
        sizes = np.fromiter((row.size for row in ids), np.int64, len(ids))
        longest, ragged = int(sizes.max()), bool(sizes.min() != sizes.max())
        if longest > self.max_tokens:
            raise ValueError(f"a text of {longest} tokens, and the model has {self.max_tokens} positions")
        tokens = int(sizes.sum())
        rows = rows_in(tokens, self.device)
        place, cell, words = np.zeros((3, rows), np.int64)  # rows beyond the tokens: anything, nobody looks at them
        place[:tokens] = np.arange(tokens) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        cell[:tokens] = np.repeat(np.arange(len(ids)), sizes) * longest + place[:tokens]
        words[:tokens] = np.concatenate(ids)
        mask = self._send(np.arange(longest) < sizes[:, None])
        layout = attention.Layout(
            texts=len(ids),
            longest=longest,
            tokens=tokens,
            cells=self._send(cell) if ragged or rows > tokens else None,
            mask=mask[:, None, None, :] if ragged else None,
            starts=None if self._ragged is None else self._send(np.append(0, np.cumsum(sizes)).astype(np.int32)),
        )
        hidden = functional.embedding(self._send(words), self._words) + functional.embedding(
            self._send(self._numbered(ids, words, place, tokens)), self._positions
        )
        hidden = self._normed(hidden, self._norm)
        for layer in self._layers:
            hidden = self._through(layer, hidden, layout)
        return layout.spread(hidden), mask

    def _numbered(
        self, ids: Sequence[npt.NDArray[np.int32]], words: Any, place: Any, tokens: int
    ) -> npt.NDArray[np.int64]:
        """Position of each row, as transformers numbers them (`create_position_ids_from_input_ids`)."""
        positions: npt.NDArray[np.int64] = place + self._first_position
        if self._pad_id is not None and (words[:tokens] == self._pad_id).any():
            real = [row != self._pad_id for row in ids]
            positions[:tokens] = np.concatenate([np.where(r, np.cumsum(r) + self._pad_id, self._pad_id) for r in real])
        return positions

    def _through(self, layer: _Layer, hidden: torch.Tensor, layout: attention.Layout) -> torch.Tensor:
        """One layer: hidden (rows, width) in and out, float32."""
        mixed = layer.mix(hidden.to(self.dtype))
        if self._ragged is None:
            seen = attention.in_rectangles(mixed, self._heads, layout)
        else:
            seen = attention.ragged(mixed, self._heads, layout, self._ragged)
        hidden = self._normed(layer.attended(seen).float() + hidden, layer.attended_norm)
        wide = layer.up(hidden.to(self.dtype))
        return self._normed(layer.down(wide).float() + hidden, layer.down_norm)

    def _normed(self, hidden: torch.Tensor, norm: _Pair) -> torch.Tensor:
        return functional.layer_norm(hidden, (self._width,), *norm, self._eps)

    def _send(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _layer(self, layer: Any) -> _Layer:
        inner = layer.attention.self
        parts = (inner.query, inner.key, inner.value)
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = torch.cat([part.bias.detach() for part in parts])
        return _Layer(
            mix=Product(weight.to(self.dtype), bias.to(self.dtype)),
            attended=self._product(layer.attention.output.dense),
            attended_norm=_norm(layer.attention.output.LayerNorm),
            up=self._product(layer.intermediate.dense, self._activation),
            down=self._product(layer.output.dense),
            down_norm=_norm(layer.output.LayerNorm),
        )

    def _product(self, module: Any, activation: Activation = "none") -> Product:
        return Product(module.weight.detach().to(self.dtype), module.bias.detach().to(self.dtype), activation)
