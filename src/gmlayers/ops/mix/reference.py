"""The plain form that every implementation is held against."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mix(gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> Tensor:
    r"""Return :math:`y_b = \sum_k g_{bk} W_k (s_k \odot x_b)`; it builds a tensor of shape (..., K, out).

    Args:
        gate: g, (..., K).
        weight: W, (K, out, in).
        scale: s, (K, in), or None for ones.
        x: (..., in).
    """
    scaled = weight if scale is None else weight * scale[:, None, :]
    answers = F.linear(x, scaled.flatten(0, 1)).unflatten(-1, scaled.shape[:2])
    return (gate[..., None, :] @ answers).squeeze(-2)
