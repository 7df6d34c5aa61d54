"""BERT's encoder without padding: the tokens of a batch in one row after another, and only attention sees rectangles.

A third of a padded batch of real texts can be padding, and every matrix product pays for it. Here the weights of the
loaded model are used as they are (query, key and value as one matrix), the residual sum and the layer norms stay in
float32, and in bfloat16 only the matrix products and the attention are done. What comes out is held to the model's own
forward pass at the start (`sentence_transformers.load`), so that a model which only looks like BERT is not trusted.

Covers `BertModel`, `RobertaModel` and `XLMRobertaModel` of transformers with absolute positions: the MiniLM, BGE, E5,
GTE and Arctic families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

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
    """Weight and bias of each step; query, key and value are one."""

    mix: _Pair
    attended: _Pair
    attended_norm: _Pair
    up: _Pair
    down: _Pair
    down_norm: _Pair


def _norm(module: Any) -> _Pair:
    return module.weight.detach(), module.bias.detach()


class PackedEncoder:
    """The encoder of `module` in `dtype`. In bfloat16 its matrices are copies; else most share the module's memory."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        config, embeddings = module.config, module.embeddings
        self.dtype = dtype
        self._heads = int(config.num_attention_heads)
        self._width = int(config.hidden_size)
        self._eps = float(config.layer_norm_eps)
        self._relu = config.hidden_act == "relu"
        self._first_position = int(config.pad_token_id) + 1 if _FAMILIES[config.model_type] else 0
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
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        row = np.repeat(np.arange(len(ids)), sizes)
        words, place_t = self._send(np.concatenate(ids).astype(np.int64)), self._send(place)
        mask = self._send(np.arange(longest) < sizes[:, None])
        cells = self._send(row * longest + place) if ragged else None
        hidden = functional.embedding(words, self._words) + functional.embedding(
            place_t + self._first_position, self._positions
        )
        hidden = self._normed(hidden, self._norm)
        shape = (len(ids), longest)
        attention_mask = mask[:, None, None, :] if ragged else None
        for layer in self._layers:
            hidden = self._through(layer, hidden, shape, cells, attention_mask)
        return self._spread(hidden, shape, cells), mask

    def _through(
        self,
        layer: _Layer,
        hidden: torch.Tensor,
        shape: tuple[int, int],
        cells: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """One layer: hidden (tokens, width) in and out, float32."""
        mixed = functional.linear(hidden.to(self.dtype), *layer.mix)
        query, key, value = (
            self._spread(mixed, shape, cells).view(*shape, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = seen.transpose(1, 2).reshape(shape[0] * shape[1], self._width)
        if cells is not None:
            seen = seen[cells]
        hidden = self._normed(functional.linear(seen, *layer.attended).float() + hidden, layer.attended_norm)
        wide = functional.linear(hidden.to(self.dtype), *layer.up)
        wide = functional.relu(wide) if self._relu else functional.gelu(wide)
        return self._normed(functional.linear(wide, *layer.down).float() + hidden, layer.down_norm)

    def _spread(self, packed: torch.Tensor, shape: tuple[int, int], cells: torch.Tensor | None) -> torch.Tensor:
        """(tokens, n) to (texts, longest, n), zeros where padded."""
        if cells is None:
            return packed.view(*shape, -1)
        out = packed.new_zeros(shape[0] * shape[1], packed.shape[1])
        out[cells] = packed
        return out.view(*shape, -1)

    def _normed(self, hidden: torch.Tensor, norm: _Pair) -> torch.Tensor:
        return functional.layer_norm(hidden, (self._width,), *norm, self._eps)

    def _send(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _layer(self, layer: Any) -> _Layer:
        attention = layer.attention.self
        parts = (attention.query, attention.key, attention.value)
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = torch.cat([part.bias.detach() for part in parts])
        return _Layer(
            mix=(weight.to(self.dtype), bias.to(self.dtype)),
            attended=self._linear(layer.attention.output.dense),
            attended_norm=_norm(layer.attention.output.LayerNorm),
            up=self._linear(layer.intermediate.dense),
            down=self._linear(layer.output.dense),
            down_norm=_norm(layer.output.LayerNorm),
        )

    def _linear(self, module: Any) -> _Pair:
        return module.weight.detach().to(self.dtype), module.bias.detach().to(self.dtype)
