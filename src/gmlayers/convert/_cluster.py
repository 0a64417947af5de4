"""Clusters of weighted points: a mixture of Gaussians that are flat in all but a few directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TINY = torch.finfo(torch.float64).tiny

LEAST = 1e-9
"""Components whose weight is below this share of the largest are left out."""


class Principal(NamedTuple):
    """Centre and leading directions of weighted points."""

    mass: Tensor
    """Sum of the weights."""
    centre: Tensor
    """Mean of the points, (p,)."""
    direction: Tensor
    """Orthonormal columns, (p, r)."""
    var: Tensor
    """Variance along each, largest first, (r,)."""
    residual: Tensor
    """Variance in all other directions together."""


def principal(points: Tensor, weight: Tensor, rank: int) -> Principal:
    """Return centre and ``rank`` principal directions of points (n, p) with weights (n,); fewer if n is less."""
    mass = weight.sum()
    share = weight / mass.clamp(min=TINY)
    centre = share @ points
    _, singular, direction = torch.linalg.svd(share.sqrt()[:, None] * (points - centre), full_matrices=False)
    var = singular.square()
    return Principal(mass, centre, direction[:rank].T, var[:rank], var[rank:].sum())


def mixture(points: Tensor, weight: Tensor, label: Tensor, clusters: int, rank: int, *, rounds: int = 50) -> Tensor:
    r"""Return the share of each point in each cluster, (n, clusters), by expectation maximisation.

    The model is a mixture of probabilistic principal component analysers (Tipping and Bishop, 1999) with one noise for
    all: cluster k is :math:`N(c_k, W_kW_k^\top + \tau^2 I)` with ``rank`` columns in :math:`W_k`. With a noise of its
    own, a cluster of ``rank + 1`` points would have an unbounded likelihood.

    Args:
        points: the points, (n, p), float64.
        weight: how much each point counts, (n,), not negative, not all 0.
        label: the start, (n,).
        clusters: number of clusters.
        rank: number of columns of :math:`W_k`, less than p.
        rounds: largest number of rounds; there are fewer if nothing moves.
    """
    share = torch.nn.functional.one_hot(label, clusters).to(points)
    floor = 1e-12 * principal(points, weight, 0).residual / points.shape[1] + TINY
    for _ in range(rounds):
        fits = [_restricted(points, weight * share[:, k], rank) for k in range(clusters)]
        residual = sum((fit.mass * fit.residual for fit in fits), points.new_zeros(()))
        noise = torch.maximum(residual / (weight.sum() * (points.shape[1] - rank)), floor)
        before, share = share, torch.stack([_log_density(points, fit, noise) for fit in fits], 1).softmax(1)
        if torch.allclose(share, before, rtol=0, atol=1e-6):
            break
    return share


def _restricted(points: Tensor, weight: Tensor, rank: int) -> Principal:
    """Return the principal directions of the few points that weigh anything."""
    near = weight > LEAST * weight.amax()
    return principal(points[near], weight[near], rank)


def _log_density(points: Tensor, fit: Principal, noise: Tensor) -> Tensor:
    """Return log of mass times density at each point, (n,), up to a constant that is the same for all clusters."""
    apart = points - fit.centre
    score, var = apart @ fit.direction, torch.maximum(fit.var, noise)
    square = (apart.square().sum(1) - score.square().sum(1)).clamp(min=0) / noise + (score.square() / var).sum(1)
    return fit.mass.log() - (square + (var / noise).log().sum()) / 2
