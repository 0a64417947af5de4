"""k-means: where bumps start, and which neurons belong together."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 8192
"""This many rows are compared with all centres at a time."""

ROUNDS = 20
"""Lloyd's algorithm makes at most this many rounds: what starts from the clusters needs no more."""


def k_means(x: Tensor, k: int, generator: torch.Generator | None, weight: Tensor | None = None) -> Tensor:
    """Return k centres of the points, (k, d), by k-means++ (Arthur and Vassilvitskii, 2007) and Lloyd's algorithm.

    The same generator gives the same centres: sums are matrix products, which no order of threads changes. A centre
    that loses its last point stays where it was. With one centre for each of n distinct points, every point is one.

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
            member = torch.nn.functional.one_hot(nearest(rows, centres), k) * counts.unsqueeze(1)
            sums += member.T @ rows
            mass += member.sum(0).unsqueeze(1)
        moved = torch.where(mass > 0, sums / mass, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Return the index of the centre, of (k, d), that is nearest to each point of (n, d), (n,)."""
    return torch.cdist(x, centres).argmin(1)


def _seeds(x: Tensor, k: int, generator: torch.Generator | None, weight: Tensor) -> Tensor:
    """Draw one point after another, with probability in proportion to weight · squared distance from those drawn.

    Where only points without weight are left, they are drawn by the distance; where only copies are, all alike.
    """
    draws = torch.rand(k, device=x.device, dtype=x.dtype, generator=generator)
    draws.clamp_(min=torch.finfo(x.dtype).eps / 2)  # the least but 0, which would take a point that has no chance
    ones = torch.ones_like(weight)
    chance, distance, seeds = weight, ones, []
    for draw in draws:
        for other in (distance, ones):
            chance = torch.where(chance.sum() > 0, chance, other)
        sums = chance.cumsum(0)
        seed = x[torch.searchsorted(sums, (draw * sums[-1]).unsqueeze(0)).clamp(max=len(x) - 1)]
        apart = (x - seed).square().sum(1)
        distance = torch.minimum(distance, apart) if seeds else apart
        chance = weight * distance
        seeds.append(seed)
    return torch.cat(seeds)
