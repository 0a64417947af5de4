r"""Whether an equation and its conditions determine its unknown.

Where a condition is missing, there are functions that can be added to a solution and change nothing: all residuals are
as small as before, and no estimate that is made of residuals tells. For functions v in the space of a set of bumps, the
least size of what equation and conditions b make of them, in the units of the misfits of
:class:`~gmlayers.solve.Solution`,

.. math:: \gamma = \min_v \Big(\sum_b \frac{\|\mathcal D_b v\|^2_b}{s_b^2} \Big)^{1/2} \Big/ \|v\|,

is the least singular value of a matrix: with an orthonormal basis of all :math:`(\mathcal D v, v)` at the points it is
that of its part :math:`\mathcal D v`, which is the generalised singular value decomposition of Paige and Saunders
(*Towards a generalized singular value decomposition*, 1981). An error is up to 1/γ times the misfits. If u is
determined, γ hardly depends on the set; if it is not, γ falls to rounding as the set grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gmlayers.solve.engine.bump_sets import Bumps, Shape, coarse
from gmlayers.solve.engine.collocation import Collocation
from gmlayers.solve.engine.placement import Assembly
from gmlayers.solve.equations import EQUATION


@dataclass(frozen=True)
class Checking:
    """How it is seen that u is not determined."""

    least: float = 1e-5
    """If γ is below this, u is not determined, or hardly."""
    falling: float = 1e-4
    """If γ is below this and falls from the smaller set to the larger one, neither."""
    fall: float = 10.0
    """It falls if it is smaller by this factor."""
    cut: float = 1e-10
    """Functions count whose weights are at most about the reciprocal of this times as large; rounding makes γ uncertain
    by the unit of rounding over this, which is a millionth."""
    rows: int = 2
    """There have to be this many points, in all, for each bump."""


CHECKING = Checking()

SIZES: Mapping[int, tuple[int, int]] = {1: (16, 24), 2: (100, 256)}
"""The two sets have these numbers of bumps, by the number of coordinates."""

MORE = 100, 420
"""They have these for more coordinates."""


def is_open(assembly: Assembly) -> bool:
    """Return whether a problem is seen to leave its unknown open; of some, mostly in space, that is not seen."""
    few, many = SIZES.get(assembly.domain.dim, MORE)
    last = gap(assembly, many)
    if CHECKING.least <= last < CHECKING.falling:
        return CHECKING.fall * last < gap(assembly, few)
    return last < CHECKING.least


def gap(assembly: Assembly, count: int) -> float:
    """Return γ for a set of about that many bumps; infinity if the points do not tell, 0 if constants do nothing."""
    bumps = Bumps.over(assembly.domain, count, Shape(), None)
    collocation = assembly.at(coarse(assembly.domain, count), bumps, held_out=False)
    if _has_no_value(collocation):
        return 0.0
    asked, values = [], []
    for name, blocks in collocation.by_name().items():
        volume = sum(block.volume * len(block.target) for block in blocks)
        for block in blocks:
            share, of_u = math.sqrt(block.volume / volume), block.values_of_u()
            asked.append(share * (of_u.row_size(bumps) / block.row_size(bumps)) * block.rows(bumps))
            if name == EQUATION:
                values.append(share * of_u.rows(bumps))
    rows, both = sum(map(len, asked)), torch.cat([*asked, *values])
    size = torch.linalg.vector_norm(both, dim=0)
    if rows < CHECKING.rows * both.shape[1] or not bool(size.isfinite().all()):
        return math.inf
    both /= torch.where(size > 0, size, 1.0)
    _, sigma, Vh = torch.linalg.svd(torch.linalg.qr(both, mode="r")[1])
    kept = sigma > CHECKING.cut * sigma[0]
    least = float(torch.linalg.svdvals(both[:rows] @ (Vh[kept].mT / sigma[kept]))[-1])
    return least / math.sqrt(max(1 - least**2, torch.finfo(both.dtype).eps))  # the squares of the two parts add up to 1


def _has_no_value(collocation: Collocation) -> bool:
    """Return whether nothing asks for values of u but for its derivatives only, so that constants can be added."""
    return not any(bool(block.coefficients[()].any()) for block in collocation.blocks if () in block.coefficients)
