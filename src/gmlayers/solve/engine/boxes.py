r"""Boxes that are split into halves where a residual is, for bumps and points that are finer there.

Boxes of depth 0 fill space like the cells of a grid. One that is split has :math:`2^d` boxes of half the sides in it,
and in each of those a bump as much narrower; bumps of lesser depth stay, so that what is smooth is left to them and the
narrow ones stand for the difference. Which boxes are split is decided by the bulk criterion of Dörfler (*A convergent
adaptive algorithm for Poisson's equation*, 1996): the fewest whose indicators are a given share of all,

.. math:: \sum_{B \in M} \eta_B^2 \;\ge\; \theta \sum_B \eta_B^2, \qquad \eta_B^2 = h_B^{-2} \int_B r^2,

and those within :attr:`Splitting.reach` of them, because a bump is wider than its box. The residual r is in units
of u, which for Poisson's equation is :math:`h_B^2` times what is left of it; so this is the indicator of the energy,
the sum of :math:`h_B^2 \|\Delta u - f\|_B^2`. Without the factor the wide bumps, which reach all of the domain, spread
what the narrow ones leave, and boxes are split far from where they should be.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_BITS = 20
"""An index has this many bits in the code of a box; that is enough for up to 3 coordinates."""


@dataclass(frozen=True)
class Splitting:
    """Which boxes are split, and how finely points are distributed in them."""

    bulk: float = 0.5
    """Boxes are split that have this share, θ, of all indicators."""
    reach: int = 2
    """The number of boxes on each side of one that is split, which are split with it."""
    sampled: int = 2
    """The number of boxes on each side of one that is split in which points are as dense as in it. Narrow bumps
    reach as far; where they are sampled like the wide ones, they oscillate between the points."""
    concentrated: float = 1 / 4
    """If the boxes that would be split take more than this share of the volume, the residual is nowhere in particular,
    and none is split."""
    most_points: int = 2**21
    """The largest number of points that the domain would have at the density of the deepest boxes; those in the
    boxes are kept."""


SPLITTING = Splitting()


@dataclass(frozen=True)
class Boxes:
    """Boxes in up to three dimensions; one is named by its depth and its whole coordinates in sides of that depth."""

    low: Tensor
    """The place where the coordinates are 0, (d,)."""
    side: Tensor
    """The sides of boxes of depth 0, (d,)."""
    density: int
    """Points at depth 0 are as dense as they are for this many bumps of a grid over all of the domain; at other depths
    they are denser."""
    split: tuple[Tensor, ...] = ()
    """The boxes that are split, (k, d) of every depth; those around each of them are split, too."""

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.low)

    @property
    def deepest(self) -> int:
        """Greatest depth there may be."""
        return max(0, int(math.log2(SPLITTING.most_points / self.density) / self.dim))

    def depth(self, x: Tensor) -> Tensor:
        """Return how deep the smallest box is in which a point is, (n,)."""
        found = torch.zeros(len(x), dtype=torch.long)
        for j, split in enumerate(self.split):
            found += (found == j) & torch.isin(_code(self._at(x, j)), _code(split))
        return found

    def bumps(self, factor: float) -> tuple[Tensor, Tensor]:
        """Return centres and reciprocal widths of the bumps, (m, d) each, one for every box of depth 1 and more."""
        halves = torch.tensor(list(itertools.product((0, 1), repeat=self.dim)))
        mean, scale = [torch.empty(0, self.dim, dtype=torch.float64)], [torch.empty(0, self.dim, dtype=torch.float64)]
        for j, split in enumerate(self.split):
            side = self.side / 2 ** (j + 1)
            index = (2 * split.unsqueeze(1) + halves).reshape(-1, self.dim)
            mean.append(self.low + (index + 0.5) * side)
            scale.append((1 / (factor * side)).expand(len(index), self.dim))
        return torch.cat(mean), torch.cat(scale)

    @property
    def num_bumps(self) -> int:
        """Number of those bumps."""
        return 2**self.dim * sum(map(len, self.split))

    def sampled(self) -> Boxes:
        """Return the boxes by which points are to be distributed: more of them are split."""
        return self._with([_around(split, SPLITTING.sampled) for split in self.split])

    def refined(self, x: Tensor, square: Tensor, most: int) -> Boxes | None:
        """Return boxes with those split in which a residual is; None if it is not concentrated.

        Args:
            x: points, (n, d).
            square: squared residuals there in units of u, times the volumes the points stand for, (n,).
            most: bumps there may be. With less room fewer boxes are split; None if there is room for none.
        """
        marked = self.marked(x, square)
        number = 0 if marked is None else len(marked)
        while marked is not None and number:
            few = marked[:number]
            finer = self._split_also(few[few[:, 0] < self.deepest])
            if self.num_bumps < finer.num_bumps <= most:
                return finer
            number = number * 3 // 4
        return None

    def marked(self, x: Tensor, square: Tensor) -> Tensor | None:
        """Return the boxes in which a residual is, depth first, the worst first, (k, 1 + d); None if it is all over.

        The arguments are those of :meth:`refined`.
        """
        depth = self.depth(x)
        boxes, owner = torch.cat([depth.unsqueeze(1), self._at(x, depth.unsqueeze(1))], 1).unique(
            dim=0, return_inverse=True
        )
        indicator = torch.zeros(len(boxes), dtype=torch.float64).index_add_(0, owner, square * 4.0**depth)
        order = indicator.argsort(descending=True)
        number = int((indicator[order].cumsum(0) < SPLITTING.bulk * indicator.sum()).sum()) + 1
        volume = 0.5 ** (self.dim * boxes[:, 0].double())
        if float(volume[order[:number]].sum()) > SPLITTING.concentrated * float(volume.sum()):
            return None
        return boxes[order[:number]]

    def _split_also(self, marked: Tensor) -> Boxes:
        """Split boxes (k, 1 + d), depth first, and those around them."""
        split = [*self.split, torch.empty(0, self.dim, dtype=torch.long)]
        for j, old in enumerate(split):
            here = marked[marked[:, 0] == j, 1:]
            split[j] = torch.cat([old, _around(here, SPLITTING.reach)])
        return self._with(split)

    def _with(self, split: list[Tensor]) -> Boxes:
        """Return others that are split, with all in which they are."""
        for j in range(len(split) - 1, 0, -1):
            parents = split[j].div(2, rounding_mode="floor")
            split[j - 1] = torch.cat([split[j - 1], parents])
        return replace(self, split=tuple(s.unique(dim=0) for s in split if len(s)))

    def _at(self, x: Tensor, depth: int | Tensor) -> Tensor:
        """Return the boxes of a depth, or of one for each point, (n, 1), in which points are, (n, d)."""
        return ((x - self.low) / self.side * 2**depth).floor().long()


def _around(boxes: Tensor, reach: int) -> Tensor:
    """Return boxes and all that are no further than so many, each once."""
    steps = torch.tensor(list(itertools.product(range(-reach, reach + 1), repeat=boxes.shape[1])))
    return (boxes.unsqueeze(1) + steps).reshape(-1, boxes.shape[1]).unique(dim=0)


def _code(boxes: Tensor) -> Tensor:
    """Return a number for each box, (k,)."""
    code = torch.zeros(len(boxes), dtype=torch.long)
    for i in range(boxes.shape[1]):
        code = (code << _BITS) + boxes[:, i] + (1 << (_BITS - 1))
    return code
