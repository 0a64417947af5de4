"""Rows that are made of bumps of any form, differentiable in their shapes: of data, or of a block of a collocation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.functional import gmnm
from gmlayers.nn import GMNM
from gmlayers.solve.engine.collocation import Block
from gmlayers.solve.engine.derivatives import differentiable


class RowGroup(NamedTuple):
    """Rows that are made of bumps in the same way."""

    feature: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """What the rows make of bumps, (..., m): a function of x (..., d), coefficients (..., c), mean (m, d) and
    projection (m, p, d)."""
    x: Tensor
    """The points, (n, d)."""
    coefficients: Tensor
    """The coefficients of the derivatives, (n, c)."""
    constant: Tensor
    """What the bias adds, (n, 1)."""
    target: Tensor
    """The targets, (n, out)."""
    root: Tensor
    """The roots of the row weights, (n, 1)."""

    @classmethod
    def of_data(cls, x: Tensor, y: Tensor, row_weight: Tensor) -> RowGroup:
        """Return rows that ask for values."""
        ones = row_weight.new_ones(len(y), 1)
        return cls(_value, x.double(), ones[:, :0], ones, y.double(), row_weight.sqrt().unsqueeze(1))

    @classmethod
    def of_block(cls, block: Block) -> RowGroup:
        """Return rows of an equation or a condition that all count 1."""
        ones, by_axes = torch.ones_like(block.target), block.coefficients
        found = torch.cat([c.expand_as(ones) for c in by_axes.values()], 1)
        constant = by_axes[()].expand_as(ones) if () in by_axes else 0 * ones
        return cls(partial(differentiable, tuple(by_axes)), block.points.x, found, constant, block.target, ones)

    def of_bumps(self, module: GMNM) -> Tensor:
        """Return what the rows make of the bumps of a module as it is, (n, m)."""
        x, mean = module.centred(self.x, module.mean.double())
        return self.feature(x, self.coefficients, mean, module.projection_matrix().double())


def _value(x: Tensor, coefficients: Tensor, mean: Tensor, projection: Tensor) -> Tensor:  # noqa: ARG001
    return gmnm.bumps(x, mean, projection)
