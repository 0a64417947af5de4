r"""Bumps that the others can do without.

This is measured by how much more the others leave with their own best weights. For columns Φ of full rank, weights w
and the sum of squares RSS that is left, dropping column k alone makes it larger by

.. math:: \mathrm{RSS}_{-k} - \mathrm{RSS} = \|w_k\|^2 \,/\, \bigl((\Phi^\top \Phi)^{-1}\bigr)_{kk}

(backward elimination; Draper and Smith, *Applied regression analysis*, 1966). It is 0 for a bump of weight 0, and for
one of two that coincide, whose weight the other takes over: this prunes and merges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.solve.engine.least_squares import Rows, Triangle

PULL = 1e-8
"""Weights are pulled towards 0 by this λ, for columns of norm 1: where columns depend on others, their weights are
still determined."""


@torch.no_grad()
def needed(columns: Tensor, y: Tensor, spared: float) -> Tensor:
    """Return which columns but the last, the bias, are needed, (m,) of bool.

    The others are dropped one after another, the one first without which the best weights leave least more. One bump is
    always kept.

    Args:
        columns: (n, m + 1).
        y: targets, (n, out).
        spared: root mean square of what may be left besides, in the sense that squares add.
    """
    m = columns.shape[1] - 1
    size = torch.linalg.vector_norm(columns, dim=0)
    triangle = Triangle()
    triangle.add(Rows(columns / torch.where(size > 0, size, 1.0), y))
    triangle.add(Rows(PULL * torch.eye(m + 1, dtype=y.dtype), y.new_zeros(m + 1, y.shape[1])))
    R, c, _ = triangle.parts()
    kept = torch.arange(m + 1)
    room = y.numel() * spared**2
    while len(kept) > 2:
        inverse = torch.linalg.solve_triangular(R, torch.eye(len(R), dtype=R.dtype), upper=True)
        more = ((inverse @ c).square().sum(1) / inverse.square().sum(1))[:-1]
        least = int(more.argmin())
        room -= float(more[least])
        if room < 0:
            break
        others = torch.arange(len(kept)) != least
        kept = kept[others]
        Q, R = torch.linalg.qr(R[:, others])
        c = Q.mT @ c
    return torch.isin(torch.arange(m), kept)
