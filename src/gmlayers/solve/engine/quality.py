"""How good an answer is, on points to which it was not fitted."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.solve.engine.bump_sets import Bumps
from gmlayers.solve.engine.collocation import Collocation
from gmlayers.solve.engine.units import largest_of, unit_of
from gmlayers.solve.equations import EQUATION


class Mean:
    """A mean square of numbers that stand for different volumes."""

    def __init__(self) -> None:
        self.total = self.volume = self.largest = 0.0

    def add(self, numbers: Tensor, volume: float) -> None:
        """Take in numbers, each of which stands for the volume."""
        before, self.largest = unit_of(self.largest), max(self.largest, largest_of(numbers))
        unit = unit_of(self.largest)
        self.total *= (before / unit) ** 2 if before < unit else 1.0
        self.total += volume * float((numbers / unit).square().sum())
        self.volume += volume * len(numbers)

    @property
    def root(self) -> float:
        """The root mean square."""
        return math.sqrt(self.total / self.volume) * unit_of(self.largest)


class Answer(NamedTuple):
    """A sum of bumps with its weights."""

    bumps: Bumps
    weight: Tensor
    """The weights of the bumps, (m, 1)."""


class Quality(NamedTuple):
    """What an answer leaves of equation and conditions."""

    misfits: dict[str, float]
    """Root mean squares by name in units of u, as in :class:`~gmlayers.solve.Solution`."""
    residuals: dict[str, float]
    """The same in their own units."""
    x: Tensor
    """All points, (n, d)."""
    squares: Tensor
    """The shares of the points in the squares of the misfits, (n,); only their ratios count."""

    @classmethod
    def of(cls, collocation: Collocation, answer: Answer, size: float) -> Quality:
        """Return how good an answer of that size is."""
        (bumps, weight), unit = answer, unit_of(size)
        misfits, residuals = {}, {}
        x, squares = [], []
        for name, blocks in collocation.by_name().items():
            left, scaled, shares = Mean(), Mean(), []
            for block in blocks:
                residual = block.answers(bumps, weight) - block.target
                left.add(residual * block.unit, block.volume)
                in_units = residual * (block.values_of_u().row_size(bumps) / block.row_size(bumps))
                scaled.add(in_units, block.volume)
                shares.append(block.volume * (in_units / unit).square().flatten())
                x.append(block.points.x)
            residuals[name], misfits[name] = left.root, scaled.root / size
            squares += [share / scaled.volume for share in shares]
        return cls(misfits, residuals, torch.cat(x), torch.cat(squares))


def size_and_difference(collocation: Collocation, answer: Answer, other: Answer | None) -> tuple[float, float]:
    """Return the root mean square of an answer inside, 1 if it is 0, and that of its difference to another one."""
    size, difference = Mean(), Mean()
    for block in collocation.by_name()[EQUATION]:
        for part in block.values_of_u().split(len(answer.bumps.mean)):
            value = part.rows(answer.bumps) @ answer.weight
            size.add(value, block.volume)
            if other is not None:
                difference.add(value - part.rows(other.bumps) @ other.weight, block.volume)
    return size.root or 1.0, math.inf if other is None else difference.root
