"""How a layer reads its input: what the products of a row of weights with it are, which covariance families ask for.

A layer reads vectors u: the rows of its input, or the patches of an image. A family does not know which.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Reading(Protocol):
    """What a covariance family may ask of an input; it is of whatever shape the layer takes."""

    def project(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return ⟨row, u⟩, (..., n), for rows (n, in)."""
        ...

    def power(self, x: Tensor, squares: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        """Return Σᵢ squaresᵢ uᵢ² + offset, (..., n), for squares (n, in); without squares return ‖u‖², (..., 1)."""
        ...

    def patches(self, x: Tensor) -> Tensor:
        """Return u itself, (..., in); a reading of patches has to build them."""
        ...


class Dense:
    """Every row of the last axis is read."""

    def project(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return ⟨row, x⟩."""
        return F.linear(x, rows)

    def power(self, x: Tensor, squares: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        """Return Σᵢ squaresᵢ xᵢ² + offset, or ‖x‖²."""
        return torch.linalg.vecdot(x, x).unsqueeze(-1) if squares is None else F.linear(x.square(), squares, offset)

    def patches(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


DENSE = Dense()
"""This is the reading of a :class:`~gmlayers.GMLayer`."""
