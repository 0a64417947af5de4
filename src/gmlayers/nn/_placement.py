"""Data decide where the bumps of a Gaussian mixture module start: by their local spacing, and by residuals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers.functional import gmnm
from gmlayers.nn._k_means import BLOCK, k_means

NEIGHBOURS = 2
"""The local spacing is averaged over this many neighbours."""

MARGIN = 0.1
"""The domain of data is wider than the data by this share of their extent, on each side."""

LEAST_EXTENT = 1e-5
"""A constant feature is given this extent, relative to its size, so that the margin is not rounding."""


def domain_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return low and high, (d,) of float64, of the box of points, a tenth wider on each side."""
    low, high = x.amin(0).double(), x.amax(0).double()
    constant = (LEAST_EXTENT * low.abs()).clamp(min=1.0)
    margin = MARGIN * torch.where(high > low, high - low, constant)
    return low - margin, high + margin


def spacing(centres: Tensor, x: Tensor) -> Tensor:
    """Return the mean distance of every centre to its nearest two that are elsewhere, (m,) (Moody and Darken, 1989).

    A centre without any gets the root mean square distance of the points from their mean, or 1 if that is 0.
    """
    spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
    alone = torch.where(spread > 0, spread, torch.ones_like(spread))
    # no matrix product, by which a centre would be some rounding away from itself
    distance = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = torch.where(distance > 0, distance, math.inf).sort(1).values[:, :NEIGHBOURS]
    found = nearest.isfinite()
    mean = torch.where(found, nearest, 0.0).sum(1) / found.sum(1)
    return torch.where(found.any(1), mean, alone)


def by_residual(x: Tensor, y: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """Return k centres of the points, (k, d), of which three quarters are where the first ones leave a residual.

    A quarter of the centres is placed by the points alone. Then, twice as many each time, by k-means of the points
    weighted with the square of what a fit with the bumps so far leaves of y, (n, out).
    """
    centres = k_means(x, -(-k // 4), generator)
    while len(centres) < k:
        residual = _residual(x, y, centres)
        centres = torch.cat([centres, k_means(x, min(len(centres), k - len(centres)), generator, residual)])
    return centres


def _residual(x: Tensor, y: Tensor, centres: Tensor) -> Tensor:
    """Return the squares of what isotropic bumps leave of y, (n,), by normal equations: it need not be accurate."""
    projection = torch.eye(x.shape[1], device=x.device, dtype=x.dtype) / spacing(centres, x)[:, None, None]
    size = len(centres) + 1
    gram, moment = x.new_zeros(size, size), x.new_zeros(size, y.shape[1])
    blocks = list(zip(x.split(BLOCK), y.split(BLOCK)))
    for rows, targets in blocks:
        f = _columns(rows, centres, projection)
        gram += f.T @ f
        moment += f.T @ targets
    gram.diagonal().add_(1e-4 * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, moment)
    return torch.cat([(y - _columns(x, centres, projection) @ weight).square().sum(1) for x, y in blocks])


def _columns(x: Tensor, centres: Tensor, projection: Tensor) -> Tensor:
    return torch.cat([gmnm.bumps(x, centres, projection), x.new_ones(len(x), 1)], 1)
