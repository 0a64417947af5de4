r"""The nets that are compared. They compute in the dtype of their parameters, float64, and have one output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers.functional import gmnm
from gmlayers_studies.approximators.tasks import Regression

Activation = Literal["tanh", "relu"]


def stored(net: nn.Module) -> int:
    """Return how many numbers a net stores: its parameters and its buffers."""
    return sum(t.numel() for t in itertools.chain(net.parameters(), net.buffers()))


def largest(count: Callable[[int], int], parameters: int, least: int = 1) -> int:
    """Return the largest size whose count of numbers is within so many parameters; counts grow with the size.

    Raises:
        ValueError: if not even the least size is.

    Example:
        >>> largest(lambda n: n * n, 17)
        4
    """
    if count(least) > parameters:
        raise ValueError(f"largest: {parameters} parameters are too few, the smallest net has {count(least)}")
    return next(n for n in itertools.count(least) if count(n + 1) > parameters)


def box(low: Sequence[float], high: Sequence[float]) -> Tensor:
    """Return the bounds of a box, (2, d), in float64."""
    return torch.tensor([list(low), list(high)], dtype=torch.float64)


class Scaled(nn.Module):
    """A net on the box [-1, 1]^d with standardised outputs, as a function in the units of the data.

    What it adds to the numbers that are stored is the box and two numbers for the output: 2d + 2.
    """

    box: Tensor
    output: Tensor

    def __init__(self, task: Regression) -> None:
        super().__init__()
        std, mean = torch.std_mean(task.y, correction=0)
        self.register_buffer("box", box(task.low, task.high))
        self.register_buffer("output", torch.stack([mean, torch.where(std > 0, std, 1.0)]))
        d = len(task.low)
        self.unit = Regression(
            self._inside(task.x), (task.y - self.output[0]) / self.output[1], (-1.0,) * d, (1.0,) * d
        )
        """The data as the net sees them."""
        self.net: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.output[0] + self.output[1] * self.net(self._inside(x))

    def _inside(self, x: Tensor) -> Tensor:
        low, high = self.box
        return (x - low) / (high - low) * 2 - 1


class MLP(nn.Sequential):
    """A fully connected net with hidden layers of one width.

    Args:
        inputs: number of inputs.
        width: of every hidden layer.
        depth: number of hidden layers.
        activation: ``"tanh"`` or ``"relu"``; the weights are drawn for it (Glorot and Bengio, 2010).
    """

    def __init__(self, inputs: int, width: int, depth: int, activation: Activation) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            linear = nn.Linear(a, b, dtype=torch.float64)
            nn.init.xavier_uniform_(linear.weight, nn.init.calculate_gain(activation))
            layers += [linear, nn.Tanh() if activation == "tanh" else nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, 1, dtype=torch.float64))

    @staticmethod
    def count(inputs: int, width: int, depth: int) -> int:
        """Return how many numbers such a net stores."""
        return (inputs + 1) * width + (depth - 1) * (width + 1) * width + width + 1

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        return self.carry(x, torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1), torch.zeros_like(x))

    def carry(self, h: Tensor, slope: Tensor, curved: Tensor) -> Tensor:
        r"""Return the Laplacian of the net after a map with these values, gradients (n, d, in) and Laplacians (n, in).

        All three go through the layers, :math:`\Delta\,\sigma(h) = \sigma''(h) \|\nabla h\|^2 + \sigma'(h)\,\Delta h`:
        Li et al., *A computational framework for neural network-based variational Monte Carlo with Forward Laplacian*
        (2024).
        """
        for layer in self:
            if isinstance(layer, nn.Linear):
                h, slope, curved = layer(h), slope @ layer.weight.T, curved @ layer.weight.T
            else:
                h = layer(h)
                first, second = (1 - h * h, -2 * h * (1 - h * h)) if isinstance(layer, nn.Tanh) else ((h > 0) * 1.0, 0)
                curved = second * slope.square().sum(1) + first * curved
                slope = first.unsqueeze(1) * slope
        return curved


class Splats(nn.Module):
    r"""Gaussian splats: bumps with a scale and a rotation each.

    .. math:: u(x) = \sum_k w_k \exp\bigl(-\tfrac12 (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k)\bigr),
        \qquad \Sigma_k = R_k S_k S_k^\top R_k^\top,

    as in Kerbl et al., *3D Gaussian Splatting for Real-Time Radiance Field Rendering* (2023), in the plane with one
    angle. In other dimensions :math:`\Sigma_k = L_k L_k^\top` with L lower triangular. Scales, or the diagonal of L,
    are stored as logarithms. At the start every bump is round, as wide as the mean distance to the three nearest.

    Args:
        mean: where the bumps start, (m, d), at least two.
    """

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        m, d = mean.shape
        nearest = torch.cdist(mean, mean).sort(1).values[:, 1:4].mean(1).clamp(min=1e-3)
        self.mean = nn.Parameter(mean.clone())
        self.log_scale = nn.Parameter(nearest.log().unsqueeze(1).repeat(1, d))
        self.shear = nn.Parameter(mean.new_zeros(m, d * (d - 1) // 2))
        """The angle of the rotation, or what is below the diagonal of L."""
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


class PIG(nn.Module):
    r"""Physics-informed Gaussians: features that are sums of bumps, and a small net on top of them.

    .. math:: u(x) = \mathrm{MLP}\Bigl(\sum_k f_k \exp\bigl(-\tfrac12 \|(x - \mu_k) / \sigma_k\|^2\bigr)\Bigr),
        \qquad f_k \in \mathbb R^{\rm features},

    with one hidden layer of tanh (Kang, Oh, Hong and Park, *PIG: Physics-Informed Gaussians as Adaptive Parametric Mesh
    Representations*, ICLR 2025, arXiv 2412.05994); widths per coordinate, stored as logarithms.

    Args:
        mean: where the bumps start, (m, d).
        features: number of sums.
        hidden: size of the hidden layer.
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


class RBF(nn.Module):
    r"""Round bumps with fixed centres and one fixed width: :math:`u(x) = b + \sum_k w_k e^{-\|x - \mu_k\|^2 / 2s^2}`.

    Args:
        centre: the centres, (m, d).
        width: s.
        bias: whether there is a b.
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


class Chebyshev(nn.Module):
    r"""A sum of products of Chebyshev polynomials on [-1, 1]^d.

    .. math:: u(x) = \sum_\alpha c_\alpha \prod_i T_{\alpha_i}(x_i)

    Args:
        inputs: d.
        degree: n.
        total: whether the degrees in a product sum up to n at most, or each is at most n.
    """

    def __init__(self, inputs: int, degree: int, *, total: bool) -> None:
        super().__init__()
        exponents = itertools.product(range(degree + 1), repeat=inputs)
        self.exponents = torch.tensor([e for e in exponents if not total or sum(e) <= degree])
        """(columns, d); nothing that has to be stored, n and ``total`` say it."""
        self.degree = degree
        self.coefficient = nn.Parameter(torch.zeros(len(self.exponents), 1, dtype=torch.float64))

    @staticmethod
    def count(inputs: int, degree: int, *, total: bool) -> int:
        """Return how many numbers such a sum stores."""
        return math.comb(degree + inputs, inputs) if total else (degree + 1) ** inputs

    def columns(self, x: Tensor, axes: Sequence[int] = ()) -> Tensor:
        """Return the products, differentiated by these axes, at points (n, d); (n, columns)."""
        found = x.new_ones(len(x), len(self.exponents))
        for i in range(x.shape[1]):
            found = found * _polynomials(x[:, i], self.degree, list(axes).count(i))[:, self.exponents[:, i]]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.columns(x) @ self.coefficient


def _polynomials(t: Tensor, degree: int, order: int) -> Tensor:
    r"""Return :math:`T_0^{(q)}(t), \dots, T_n^{(q)}(t)`, (points, n + 1), for the q-th derivative.

    By :math:`T_{k+1}^{(q)} = 2t\,T_k^{(q)} + 2q\,T_k^{(q-1)} - T_{k-1}^{(q)}`.
    """
    lower = [torch.zeros_like(t)] * (degree + 1)
    for q in range(order + 1):
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        found = [one, t] if q == 0 else [zero, one] if q == 1 else [zero, zero]
        for k in range(1, degree):
            found.append(2 * t * found[k] + 2 * q * lower[k] - found[k - 1])
        lower = found[: degree + 1]
    return torch.stack(lower, 1)
