"""Where the bumps of a Gaussian mixture module start, given data: k-means, local spacing, residuals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers.functional import gmnm

BLOCK = 8192
"""Rows that are compared with all centres at a time."""

ROUNDS = 20
"""Of Lloyd's algorithm, at most: centres of bumps need no more."""

NEIGHBOURS = 2
"""Over which the local spacing is averaged."""


def k_means(x: Tensor, k: int, generator: torch.Generator | None, weight: Tensor | None = None) -> Tensor:
    """Return k centres of the points, (k, d), by k-means++ (Arthur and Vassilvitskii, 2007) and Lloyd's algorithm.

    The same generator gives the same centres: sums are matrix products, which no order of threads changes.

    Args:
        x: points, (n, d).
        k: number of centres; some coincide if there are fewer distinct points.
        generator: source of randomness; torch's global one for None.
        weight: how much each point counts, (n,), not negative; all alike for None.
    """
    weight = x.new_ones(len(x)) if weight is None else weight
    centres = _seeds(x, k, generator, weight)
    for _ in range(ROUNDS):
        sums, mass = torch.zeros_like(centres), centres.new_zeros(k, 1)
        for rows, counts in zip(x.split(BLOCK), weight.split(BLOCK)):
            member = torch.nn.functional.one_hot(torch.cdist(rows, centres).argmin(1), k) * counts.unsqueeze(1)
            sums += member.T @ rows
            mass += member.sum(0).unsqueeze(1)
        moved = torch.where(mass > 0, sums / mass, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def spacing(centres: Tensor, x: Tensor) -> Tensor:
    """Return the mean distance of every centre to its nearest two that are elsewhere, (m,) (Moody and Darken, 1989).

    A centre without any gets the root mean square distance of the points from their mean, or 1 if that is 0.
    """
    spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
    alone = torch.where(spread > 0, spread, torch.ones_like(spread))
    distance = torch.cdist(centres, centres)
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


def _seeds(x: Tensor, k: int, generator: torch.Generator | None, weight: Tensor) -> Tensor:
    """Draw one point after another, with probability in proportion to weight · squared distance from those drawn."""
    draws = torch.rand(k, device=x.device, dtype=x.dtype, generator=generator)
    chance, distance = weight, weight.new_full(weight.shape, math.inf)
    seeds = []
    for draw in draws:
        chance = torch.where(chance.sum() > 0, chance, torch.ones_like(chance))  # every point is taken, or none counts
        sums = chance.cumsum(0)
        seed = x[torch.searchsorted(sums, (draw * sums[-1]).unsqueeze(0)).clamp(max=len(x) - 1)]
        seeds.append(seed)
        distance = torch.minimum(distance, (x - seed).square().sum(1))
        chance = weight * distance
    return torch.cat(seeds)


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
