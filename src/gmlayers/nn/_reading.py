"""How a layer reads its input: what the products of a row of weights with it are, which covariance families ask for.

A layer reads vectors u: the rows of its input, or the patches of an image. A family does not know which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Reading(Protocol):
    """What a covariance family may ask of an input; it is of whatever shape the layer takes."""

    def project(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return ⟨row, u⟩, (..., n), for rows (n, in)."""
        ...

    def project_both(
        self, x: Tensor, rows: Tensor, more: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the same for two matrices of rows; the offset is added to the first."""
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

    def project_both(
        self, x: Tensor, rows: Tensor, more: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return both by a product each: to join large matrices takes longer than to read x again."""
        return F.linear(x, rows, offset), F.linear(x, more)

    def power(self, x: Tensor, squares: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        """Return Σᵢ squaresᵢ xᵢ² + offset, or ‖x‖²."""
        return torch.linalg.vecdot(x, x).unsqueeze(-1) if squares is None else F.linear(x.square(), squares, offset)

    def patches(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class Patches:
    """Every patch of a sequence or an image is read, by convolutions: nothing is unfolded but for :meth:`patches`.

    The input is (batch, channels, *sizes), and what is read comes with its features last, (batch, *sizes, n).

    Args:
        kernel: sizes of a patch.
        stride: steps between patches.
        padding: zeros on both sides of every axis.
        dilation: steps between the entries of a patch.
    """

    def __init__(
        self, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
    ) -> None:
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation

    def project(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return ⟨row, patch⟩."""
        return self._convolved(x, rows, None)

    def project_both(
        self, x: Tensor, rows: Tensor, more: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return both by one convolution: the matrices are small beside the images."""
        joined = None if offset is None else torch.cat([offset, offset.new_zeros(len(more))])
        one, other = self._convolved(x, torch.cat([rows, more]), joined).split([len(rows), len(more)], -1)
        return one, other

    def power(self, x: Tensor, squares: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        """Return Σᵢ squaresᵢ uᵢ² + offset of patches u, or ‖u‖²."""
        if squares is not None:
            return self._convolved(x.square(), squares, offset)
        ones = x.new_ones(1, math.prod(self.kernel))
        return self._convolved(x.square().sum(1, keepdim=True), ones, offset)

    def patches(self, x: Tensor) -> Tensor:
        """Return the patches, (batch, *sizes, in)."""
        flat = (1,) * (2 - len(self.kernel))  # unfold knows images alone
        image = x if not flat else x.unsqueeze(2)
        kernel, dilation = (*flat, *self.kernel), (*flat, *self.dilation)
        stride, padding = (*flat, *self.stride), (*(0 for _ in flat), *self.padding)
        columns = F.unfold(image, kernel, dilation, padding, stride).mT
        return columns.unflatten(1, self.sizes(x.shape[2:]))

    def sizes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return how many patches there are along every axis."""
        return tuple(
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(sizes, self.kernel, self.stride, self.padding, self.dilation)
        )

    def _convolved(self, x: Tensor, rows: Tensor, offset: Tensor | None) -> Tensor:
        weight = rows.reshape(len(rows), -1, *self.kernel)
        convolution = F.conv1d if len(self.kernel) == 1 else F.conv2d
        found = convolution(x, weight, offset, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]
        return found.movedim(1, -1)


DENSE = Dense()
"""This is the reading of a :class:`~gmlayers.GMLayer`."""
