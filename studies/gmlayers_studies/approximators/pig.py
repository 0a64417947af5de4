"""Physics-informed Gaussians, trained by gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers.functional import gmnm
from gmlayers_studies.approximators.fitting import Descended, some_points
from gmlayers_studies.approximators.mlp import MLP
from gmlayers_studies.approximators.nets import largest
from gmlayers_studies.approximators.tasks import Task


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
