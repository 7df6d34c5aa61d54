"""Matrix products with weights that never change, in the layout that the processor's library likes best.

On a CPU oneDNN multiplies float32 some 10 % faster than MKL does once the weights are laid out for it, and takes the
activation along, so that the widest intermediate is written once and not read again (measured: see `make bench`). The
operators are those that PyTorch's own compiler emits; where they are missing, and on a GPU, the plain ones do it.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch.nn import functional

Activation = Literal["none", "gelu", "relu"]

#: oneDNN makes a kernel for each number of rows, about 1 ms each: numbers are rounded up to this, so that few are made.
_ROUND_ROWS = 16
#: Rows that weights are laid out for. Any number works with them.
_USUAL_ROWS = 1024


@functools.cache
def laid_out_weights(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this PyTorch has oneDNN with the two operators, and this processor what they need for numbers of that
    kind: many have it for float32 and not for bfloat16. The answer is found by using them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        weight, rows = torch.eye(32, dtype=dtype), torch.ones(16, 32, dtype=dtype)
        laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_ROWS)
        out = torch.ops.mkldnn._linear_pointwise(rows, laid_out, torch.zeros(32, dtype=dtype), "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(torch.equal(out, rows))


def rows_in(tokens: int, device: torch.device) -> int:
    """So many rows are multiplied for so many tokens: at least as many."""
    if device.type != "cpu" or not laid_out_weights():
        return tokens
    return -(-tokens // _ROUND_ROWS) * _ROUND_ROWS


class Product:
    """rows (n, inputs) to activation(rows @ weight.T + bias) (n, outputs), in the weight's own dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation = "none") -> None:
        self._bias, self._activation = bias, activation
        self._laid_out: Any = None
        self._weight: torch.Tensor | None = weight
        if weight.device.type == "cpu" and laid_out_weights(weight.dtype):
            with torch.inference_mode():
                self._laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _USUAL_ROWS)
            self._weight = None  # else it would be in memory twice

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self._weight is None:
            how = "none" if self._activation == "gelu" else ""  # the exact gelu, not the one by tanh
            out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                rows, self._laid_out, self._bias, self._activation, [], how
            )
            return out
        out = functional.linear(rows, self._weight, self._bias)
        if self._activation == "none":
            return out
        return functional.relu(out) if self._activation == "relu" else functional.gelu(out)
