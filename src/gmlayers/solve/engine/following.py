"""How the regularisation of weights follows what is left of the targets, where it is not given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers.nn import GMNM
from gmlayers.solve.engine.row_groups import RowGroup


@dataclass(frozen=True)
class Following:
    """How λ follows what is left, where it is not given."""

    share: float = 1e-3
    """This times the share of the targets that is left is λ."""
    cast: float = 0.1
    """This times the unit of rounding of the module is the least λ: that is what rounded weights add to what is
    left."""
    near: float = 2.0
    """The factor within which λ may differ from what it follows before it is renewed."""


FOLLOWING = Following()


def least(module: GMNM) -> float:
    """Return the least λ that follows what is left."""
    return FOLLOWING.cast * torch.finfo(module.mean.dtype).eps


def spread_of(module: GMNM, groups: Sequence[RowGroup], target: Tensor) -> float:
    """Return the norm of what the bias alone cannot explain of the targets."""
    if module.bias is None:
        return float(target.norm())
    level = torch.cat([group.root * group.constant for group in groups])
    size = level.square().sum()
    return float((target - level @ ((level.mT @ target) / size.clamp(min=torch.finfo(size.dtype).tiny))).norm())
