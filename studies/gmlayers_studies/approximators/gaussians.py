"""Peers that are sums of Gaussians.

Splats and physics-informed Gaussians are trained by gradients; radial basis functions are round bumps at fixed centres,
whose weights are found by least squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlayers import GMNM, ops, solve
from gmlayers.functional import gmnm
from gmlayers.solve import Points
from gmlayers_studies.approximators.equations import best_weights, check_unit_box, of_bumps
from gmlayers_studies.approximators.fitting import Descended, Fitted, drawing, some_points
from gmlayers_studies.approximators.mlp import MLP
from gmlayers_studies.approximators.nets import largest, product
from gmlayers_studies.approximators.tasks import Clock, EquationTask, FunctionTask, Task


class Splats(nn.Module):
    r"""Gaussian splats: bumps with a scale and a rotation each.

    .. math:: u(x) = \sum_k w_k \exp\bigl(-\tfrac12 (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k)\bigr),
        \qquad \Sigma_k = R_k S_k S_k^\top R_k^\top,

    as in Kerbl et al., *3D Gaussian Splatting for Real-Time Radiance Field Rendering* (2023), in the plane with one
    angle. In other dimensions :math:`\Sigma_k = L_k L_k^\top` with L lower triangular. The scales, or the diagonal of
    L, are stored as logarithms. At the start every bump is round, and as wide as the mean distance to the three
    nearest.

    Args:
        mean: the means with which the bumps start, (m, d), at least two.
    """

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        m, d = mean.shape
        nearest = torch.cdist(mean, mean).sort(1).values[:, 1:4].mean(1).clamp(min=1e-3)
        self.mean = nn.Parameter(mean.clone())
        self.log_scale = nn.Parameter(nearest.log().unsqueeze(1).repeat(1, d))
        self.shear = nn.Parameter(mean.new_zeros(m, d * (d - 1) // 2))
        """The angle of the rotation, or the entries below the diagonal of L."""
        self.weight = nn.Parameter(mean.new_zeros(m, 1))

    @staticmethod
    def count(inputs: int, bumps: int) -> int:
        """Return how many numbers such a net stores."""
        return bumps * (2 * inputs + inputs * (inputs - 1) // 2 + 1)

    def projection(self) -> Tensor:
        r"""Return A with :math:`A^\top A = \Sigma^{-1}`, (m, d, d)."""
        scale = self.log_scale.exp()
        m, d = scale.shape
        if d == 2:
            cos, sin = self.shear.cos(), self.shear.sin()
            return torch.stack([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)], 1) / scale.unsqueeze(2)
        i, j = torch.tril_indices(d, d, -1)
        below = scale.new_zeros(m, d, d).index_put((torch.arange(m).unsqueeze(1), i, j), self.shear)
        identity = torch.eye(d, dtype=scale.dtype).expand(m, d, d)
        return torch.linalg.solve_triangular(below + torch.diag_embed(scale), identity, upper=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return ops.bumps(x, self.mean, self.projection()) @ self.weight

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) in closed form."""
        return ops.bumps_laplacian(x, self.mean, self.projection())[1] @ self.weight


@dataclass(frozen=True)
class Splatted(Descended):
    """Gaussian splats that start at points of the data."""

    rate: float = 1e-2
    adam: float = 1.0

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return splats at random points."""
        d = task.points.shape[1]
        return Splats(some_points(task, largest(lambda m: Splats.count(d, m), parameters, 2), generator))


class PIG(nn.Module):
    r"""Physics-informed Gaussians: features that are sums of bumps, and a small net on top of them.

    .. math:: u(x) = \mathrm{MLP}\Bigl(\sum_k f_k \exp\bigl(-\tfrac12 \|(x - \mu_k) / \sigma_k\|^2\bigr)\Bigr),
        \qquad f_k \in \mathbb R^{\rm features},

    with one hidden layer of tanh (Kang, Oh, Hong and Park, *PIG: Physics-Informed Gaussians as Adaptive Parametric Mesh
    Representations*, ICLR 2025, arXiv 2412.05994). The widths σ, one for each coordinate, are stored as logarithms.

    Args:
        mean: the means with which the bumps start, (m, d).
        features: the number of sums.
        hidden: the width of the hidden layer.
    """

    def __init__(self, mean: Tensor, features: int, hidden: int) -> None:
        super().__init__()
        m, d = mean.shape
        self.mean = nn.Parameter(mean.clone())
        self.log_scale = nn.Parameter(torch.full_like(mean, math.log(2 / m ** (1 / d))))
        self.feature = nn.Parameter(torch.randn(m, features, dtype=mean.dtype) / math.sqrt(features))
        self.net = MLP(features, hidden, 1, "tanh")

    @staticmethod
    def count(inputs: int, bumps: int, features: int, hidden: int) -> int:
        """Return how many numbers such a net stores."""
        return bumps * (2 * inputs + features) + MLP.count(features, hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.net(ops.bumps(x, self.mean, self.projection()) @ self.feature)

    def projection(self) -> Tensor:
        """Return diag(1/σ) of every bump, (m, d, d)."""
        return torch.diag_embed((-self.log_scale).exp())

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        A = self.projection()
        f, curved = ops.bumps_laplacian(x, self.mean, A)
        slope = gmnm.gradient(x, self.mean, A, self.feature).mT
        return self.net.carry(f @ self.feature, slope, curved @ self.feature)


@dataclass(frozen=True)
class PhysicsInformedGaussians(Descended):
    """Physics-informed Gaussians with as many bumps as the budget allows."""

    features: int = 4
    """The number of sums of bumps, which the net on top takes."""
    hidden: int = 8
    """The width of the hidden layer of the net on top."""
    rate: float = 1e-2
    adam: float = 0.2

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return a net whose bumps are at random points."""
        d = task.points.shape[1]
        bumps = largest(lambda m: PIG.count(d, m, self.features, self.hidden), parameters)
        return PIG(some_points(task, bumps, generator), self.features, self.hidden)


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
