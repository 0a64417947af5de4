r"""Attention whose scores are mixtures of Gaussians, in plain operations: what fast paths are compared with.

.. math::

    s_{ij} = \sum_r \pi_r \exp\Bigl(-\frac{\|q_i - k_{jr}\|^2}{2\sigma_r^2}\Bigr), \qquad
    y_i = \sum_j \frac{s_{ij}}{\sum_l s_{il}}\, v_j

after Lu et al. (2025), who put Gaussian mixtures into attention (C7), and Nguyen et al., *Improving transformers with
probabilistic attention keys* (ICML 2022, equation 8), whose widths are fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.functional._shapes import require_shapes

__all__ = ["log_scores", "mixture_attention"]


def log_scores(query: Tensor, key: Tensor, std: Tensor, log_weight: Tensor) -> Tensor:
    """Return the logarithms of the scores before they are summed over components, (..., L, S, R).

    Args:
        query: (..., L, d).
        key: one for every component, (..., S, R, d).
        std: σ, (R,) or with batch axes as those of the queries, (..., R).
        log_weight: log π, of a shape as that of the stds.

    Raises:
        ValueError: shapes that do not fit, several devices or dtypes.

    Example:
        >>> import torch
        >>> from gmlayers.functional.attention import log_scores
        >>> log_scores(torch.randn(5, 4), torch.randn(7, 2, 4), torch.ones(2), torch.zeros(2)).shape
        torch.Size([5, 7, 2])
    """
    require_shapes(
        "log_scores",
        query=(query, "... L d"),
        key=(key, "... S R d"),
        std=(std, "... R"),
        log_weight=(log_weight, "... R"),
    )
    away = query[..., :, None, None, :] - key[..., None, :, :, :]
    std, log_weight = std[..., None, None, :], log_weight[..., None, None, :]
    return log_weight - 0.5 * (away / std.unsqueeze(-1)).square().sum(-1)


def mixture_attention(
    query: Tensor, key: Tensor, value: Tensor, std: Tensor, log_weight: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what every query reads, (..., L, e), and its weights, (..., L, S).

    Args:
        query: (..., L, d).
        key: (..., S, R, d).
        value: (..., S, e).
        std: as in :func:`log_scores`.
        log_weight: as in :func:`log_scores`.
        mask: (..., L, S): true where a query may look, or a number that is added to the logarithm of the score.

    A query that may look nowhere has weights of 0, and reads 0.

    Raises:
        ValueError: shapes that do not fit, several devices or dtypes.

    Example:
        >>> import torch
        >>> from gmlayers.functional.attention import mixture_attention
        >>> q, k, v = torch.randn(5, 4), torch.randn(7, 2, 4), torch.randn(7, 3)
        >>> y, weights = mixture_attention(q, k, v, torch.ones(2), torch.zeros(2))
        >>> y.shape, weights.sum(-1)
        (torch.Size([5, 3]), tensor([1.0000, 1.0000, 1.0000, 1.0000, 1.0000]))
    """
    scores = log_scores(query, key, std, log_weight).logsumexp(-1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    none = scores.isneginf().all(-1, keepdim=True)
    weights = scores.masked_fill(none, 0).softmax(-1).masked_fill(none, 0)
    return weights @ value, weights
