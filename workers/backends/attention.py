"""Attention of texts of different lengths, whose tokens lie in one row after another.

Two ways. Rectangles: the rows are spread to (texts, longest) and masked; works everywhere. Ragged: PyTorch's flash
attention for sequences of different lengths takes the rows as they are; on NVIDIA GPUs in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

#: On a CPU, with so many tokens or fewer in the longest text, two products and a softmax are faster than the fused
#: attention: at 54 tokens by a third, at 250 slower by half (measured, 12 heads of 32).
PLAIN_TOKENS = 96


def ragged_attention() -> Callable[..., Any] | None:
    """PyTorch's own, from 2.10 on; None in an older one. Whether it runs on this GPU shows only when it is used."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of tokens and the rectangle (texts, longest) belong together.

    `cells` has a cell of the rectangle for each row; None when rows are the cells in order. `mask` (texts, 1, 1,
    longest) is None when the rectangle has no padding. `starts` (texts + 1) are the first rows of the texts, and the
    end; None where they are not needed.
    """

    texts: int
    longest: int
    tokens: int
    cells: torch.Tensor | None
    mask: torch.Tensor | None
    starts: torch.Tensor | None

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, n) to (texts, longest, n), zeros where padded."""
        if self.cells is None:
            return rows.view(self.texts, self.longest, -1)
        out = rows.new_zeros(self.texts * self.longest, rows.shape[1])
        out.index_copy_(0, self.cells[: self.tokens], rows[: self.tokens])
        return out.view(self.texts, self.longest, -1)


def in_rectangles(mixed: torch.Tensor, heads: int, layout: Layout) -> torch.Tensor:
    """`mixed` (rows, 3 x width) holds query, key and value of each token; returns (rows, width)."""
    width = mixed.shape[1] // 3
    query, key, value = (
        layout.spread(mixed).view(layout.texts, layout.longest, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    )
    seen = _attend(query, key, value, layout.mask).transpose(1, 2).reshape(-1, width)
    return seen if layout.cells is None else seen.index_select(0, layout.cells)


def ragged(mixed: torch.Tensor, heads: int, layout: Layout, attention: Callable[..., Any]) -> torch.Tensor:
    """The same without spreading anything."""
    query, key, value = mixed.view(mixed.shape[0], 3, heads, -1).unbind(1)
    starts, longest = layout.starts, layout.longest
    out: torch.Tensor = attention(query, key, value, starts, starts, longest, longest)
    return out.reshape(mixed.shape[0], -1)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(texts, heads, longest, head width) in and out."""
    if query.device.type != "cpu" or query.shape[2] > PLAIN_TOKENS:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = query @ key.transpose(-1, -2)
    scores *= query.shape[-1] ** -0.5
    if mask is not None:
        scores.masked_fill_(~mask, -torch.inf)
    return scores.softmax(-1) @ value
