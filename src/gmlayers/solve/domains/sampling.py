"""Points that are evenly spread, always in the same way, so that a solve can be repeated to the bit.

A second sequence is held out: no solution is fitted to its points, so the residuals there are honest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = 0.6180339887498949
"""The multiples of this number modulo 1 are evenly spread, however many there are."""

CROWD = 2048
"""The evenly spread ones among this many points are chosen at once; the time grows with the square of the number."""


class LowDiscrepancy:
    """A sequence of low discrepancy in the unit cube."""

    def __init__(self, dim: int, held_out: bool) -> None:
        self.engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=int(held_out))

    def draw(self, n: int) -> Tensor:
        """Return the next n points, (n, dim)."""
        return self.engine.draw(max(1, n), dtype=torch.float64)[:n]


def spread(n: int, dim: int, held_out: bool = False) -> Tensor:
    """Return n points of the unit cube, (n, dim), evenly spread; a single one in 0 dimensions."""
    if dim == 0:
        return torch.zeros(1, 0, dtype=torch.float64)
    if dim > 1:
        return LowDiscrepancy(dim, held_out).draw(n)
    if held_out:
        return (torch.arange(n, dtype=torch.float64).unsqueeze(1) + 0.5) / n
    return torch.linspace(0, 1, n, dtype=torch.float64).unsqueeze(1)


def held_out_quarter(n: int, held_out: bool) -> Tensor:
    """Return which of n points are held out, or which are not; their order may mean something, so it does not count."""
    return (torch.randperm(n, generator=torch.Generator().manual_seed(n)) % 4 == 3) == held_out


def evenly(x: Tensor, n: int) -> Tensor:
    """Return the indices of n points, each as far as can be from those before it; of many, in halves of space."""
    if len(x) > CROWD:
        order = x[:, int((x.amax(0) - x.amin(0)).argmax())].argsort()
        halves, share = order.tensor_split(2), n * (len(x) // 2 + len(x) % 2) // len(x)
        return torch.cat([half[evenly(x[half], k)] for half, k in zip(halves, (share, n - share))])
    chosen = [0]
    gap = torch.full((len(x),), math.inf, dtype=x.dtype)
    while len(chosen) < min(n, len(x)):
        gap = torch.minimum(gap, (x - x[chosen[-1]]).square().sum(1))
        chosen.append(int(gap.argmax()))
    return torch.tensor(chosen)
