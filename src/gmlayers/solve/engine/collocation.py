r"""A problem at points, assembled once: blocks of rows that can then be asked for anything.

The equation and every condition ask at each of their points for :math:`\sum_\alpha c_\alpha(x)\,\partial^\alpha u(x) =
f(x)`. Coefficients and right-hand sides are evaluated here, once, and nowhere else. What bumps make of a block are its
rows.

Equation and conditions have units of their own, and their rows very different sizes. So each block counts in terms of
the mean square of the norms of its rows: with the importance a, which is 1 for the equation and :data:`CONDITION` for
conditions, the square of each of its residuals has the weight

.. math:: \omega = \frac{a^2}{\frac1n \sum_i \|a_i\|^2}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmlayers.solve.domains import Points
from gmlayers.solve.engine.bump_sets import Bumps
from gmlayers.solve.engine.derivatives import Axes, along_axes
from gmlayers.solve.engine.least_squares import BLOCK, Rows
from gmlayers.solve.engine.units import unit_of
from gmlayers.solve.equations import EQUATION, Equation, Problem, coefficients, values

CONDITION = 10.0
"""A residual of a condition is given this many times the weight of one of the equation, in terms of the size of
rows."""

SAMPLED = 128
"""The size of the rows of a block is measured on about this many of them."""


@dataclass(frozen=True)
class Block:
    """What is asked for at some of the points, by the equation or by one of the conditions."""

    name: str
    coefficients: Mapping[Axes, Tensor]
    """The coefficients of the derivatives by their axes, (n, 1), or (1, 1) if one is a number."""
    points: Points
    target: Tensor
    """The right-hand side, (n, 1)."""
    volume: float
    """What each of the points stands for, relative to those of other blocks of the same name."""
    importance: float
    """How much residuals count, in terms of the size of the rows."""
    unit: float = 1.0
    """Coefficients and right-hand side were divided by this, so that rows can be squared."""

    @classmethod
    def of(cls, name: str, equation: Equation, points: Points, volume: float) -> Block:
        """Assemble an equation at points; raise ``ValueError`` where its functions are not finite."""
        target = values(equation.right, points, f"the right-hand side of the {name}")
        by_axes = dict(coefficients(equation.expression, points, f"the {name}"))
        unit = unit_of(*by_axes.values())
        by_axes = {axes: c / unit for axes, c in by_axes.items()}
        return cls(name, by_axes, points, target / unit, volume, 1.0 if name == EQUATION else CONDITION, unit)

    def rows(self, bumps: Bumps) -> Tensor:
        """Return the rows of bumps along the axes, (n, m)."""
        return along_axes(self.points.x, self.coefficients, bumps.mean, bumps.scale)

    def answers(self, bumps: Bumps, weight: Tensor) -> Tensor:
        """Return what the sum of bumps with these weights (m, 1) answers, (n, 1)."""
        return torch.cat([part.rows(bumps) @ weight for part in self.split(len(bumps.mean))])

    def row_size(self, bumps: Bumps) -> float:
        """Return the root mean square of the norms of the rows, from some of them; 1 if they are 0."""
        some = self.take(slice(None, None, max(1, len(self.target) // SAMPLED)))
        return float(some.rows(bumps).square().sum(1).mean().sqrt()) or 1.0

    def weight(self, mean_square: float) -> float:
        """Return how much the square of each residual counts, ω, for rows whose norms have that mean square."""
        return self.importance**2 / mean_square

    def values_of_u(self) -> Block:
        """Return the block that asks at the same points for u itself."""
        return replace(self, coefficients={(): self.target.new_ones(1, 1)}, target=torch.zeros_like(self.target))

    def take(self, part: slice | Tensor) -> Block:
        """Return the block at some of its points."""
        by_axes = {axes: c[part] if len(c) == len(self.target) else c for axes, c in self.coefficients.items()}
        return replace(self, coefficients=by_axes, points=take(self.points, part), target=self.target[part])

    def split(self, columns: int) -> Iterator[Block]:
        """Yield the block in parts whose rows of so many columns take little memory."""
        step = max(1, BLOCK // columns)
        for i in range(0, len(self.target), step):
            yield self.take(slice(i, i + step))


@dataclass(frozen=True)
class Collocation:
    """A problem at points: blocks, those of the equation first; there may be several of one name."""

    blocks: Sequence[Block]

    @classmethod
    def of(cls, problem: Problem, place: Callable[[str | None], Sequence[tuple[Points, float]]]) -> Collocation:
        """Assemble a problem.

        Args:
            problem: the equation and its conditions.
            place: gives the points with the volumes that they stand for, inside (None) or of a part of the boundary.
        """
        return cls(
            [
                Block.of(name, equation, points, volume)
                for name, part, equation in problem.asked()
                for points, volume in place(part)
            ]
        )

    def by_name(self) -> dict[str, list[Block]]:
        """Return the blocks by what they are of."""
        found: dict[str, list[Block]] = {}
        for block in self.blocks:
            found.setdefault(block.name, []).append(block)
        return found

    def system(self, bumps: Bumps) -> Iterator[Rows]:
        """Yield all rows with targets and weights, each block in terms of the size of its rows."""
        for block in self.blocks:
            counts = (block.importance / block.row_size(bumps)) ** 2  # ω, rounded as in all results on record
            for part in block.split(len(bumps.mean)):
                yield Rows(part.rows(bumps), part.target, torch.full_like(part.target[:, 0], counts))


def take(points: Points, part: slice | Tensor) -> Points:
    """Return some of the points."""
    return Points(points.x[part], None if points.normal is None else points.normal[part])
