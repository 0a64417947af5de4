"""Gaussian splats, trained by gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers_studies.approximators.fitting import Descended, some_points
from gmlayers_studies.approximators.nets import largest
from gmlayers_studies.approximators.tasks import Task


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
