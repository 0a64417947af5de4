"""Radial basis functions: round bumps at fixed centres, whose weights are found by least squares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlayers import GMNM, solve
from gmlayers.functional import gmnm
from gmlayers.solve import Points
from gmlayers_studies.approximators.equations import best_weights, check_unit_box, of_bumps
from gmlayers_studies.approximators.fitting import Fitted, drawing
from gmlayers_studies.approximators.nets import largest, product
from gmlayers_studies.approximators.tasks import Clock, EquationTask, FunctionTask, Task

REACH = 1.2
"""For an equation, the grid of centres goes this far in every direction, beyond the box [-1, 1]^d."""


class RBF(nn.Module):
    r"""Round bumps with fixed centres and one fixed width: :math:`u(x) = b + \sum_k w_k e^{-\|x - \mu_k\|^2 / 2s^2}`.

    Args:
        centre: the centres μ, (m, d).
        width: the width s.
        bias: whether the net has a b.
    """

    centre: Tensor
    width: Tensor

    def __init__(self, centre: Tensor, width: float, *, bias: bool) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("width", centre.new_tensor(width))
        self.linear = nn.Linear(len(centre), 1, bias=bias, dtype=centre.dtype)

    @staticmethod
    def count(inputs: int, bumps: int, *, bias: bool) -> int:
        """Return how many numbers such a net stores."""
        return bumps * (inputs + 1) + 1 + bias

    def bumps(self, x: Tensor) -> Tensor:
        """Return the values of the bumps, (n, m), at points (n, d)."""
        m, d = self.centre.shape
        identity = torch.eye(d, dtype=x.dtype) / self.width
        return gmnm.bumps(x, self.centre, identity.expand(m, d, d))

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.linear(self.bumps(x))


@dataclass(frozen=True)
class RadialBasis(Fitted):
    """Round bumps with the best weights, at centres from k-means of the data, or on a grid over a wider box."""

    width: float = 2.0
    """The width of the bumps as a multiple of the distance between their centres."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield the one net that there is."""
        if isinstance(task, FunctionTask):
            yield self._of_function(task, parameters, generator)
        else:
            yield self._of_equation(task, parameters, generator)

    @torch.no_grad()
    def _of_function(self, task: FunctionTask, parameters: int, generator: torch.Generator) -> RBF:
        d = task.points.shape[1]
        bumps = largest(lambda m: RBF.count(d, m, bias=True), parameters)
        with drawing(generator):
            centre = GMNM.from_data(task.x, 1, bumps, generator=generator).mean.detach()
            net = RBF(centre, self.width * 2 / bumps ** (1 / d), bias=True)
        columns = torch.cat([net.bumps(task.x), torch.ones_like(task.y)], 1)
        weight = solve.least_squares([(columns, task.y)]).weight
        net.linear.weight.copy_(weight[:-1].T)
        net.linear.bias.copy_(weight[-1])
        return net

    @torch.no_grad()
    def _of_equation(self, task: EquationTask, parameters: int, generator: torch.Generator) -> RBF:
        check_unit_box("RadialBasis", task)
        d = task.points.shape[1]
        bumps = largest(lambda m: RBF.count(d, m, bias=False), parameters)
        each = math.floor(bumps ** (1 / d) + 1e-9)
        line = torch.linspace(-REACH, REACH, each, dtype=torch.float64)
        with drawing(generator):
            net = RBF(product([line] * d), self.width * 2 * REACH / each, bias=False)
        scale = (1 / net.width).expand_as(net.centre)
        inside, edge = Points(task.interior), Points(task.boundary)
        net.linear.weight.copy_(best_weights(task, inside, edge, of_bumps(net.centre, scale)).T)
        return net
