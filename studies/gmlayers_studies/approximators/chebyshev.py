"""Chebyshev polynomials, whose coefficients are found by least squares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gmlayers import solve
from gmlayers.solve import Points
from gmlayers_studies.approximators.equations import best_weights, check_unit_box, of_derivatives
from gmlayers_studies.approximators.fitting import Fitted
from gmlayers_studies.approximators.nets import largest, product
from gmlayers_studies.approximators.tasks import Clock, FunctionTask, Task


class Chebyshev(nn.Module):
    r"""A sum of products of Chebyshev polynomials on [-1, 1]^d.

    .. math:: u(x) = \sum_\alpha c_\alpha \prod_i T_{\alpha_i}(x_i)

    Args:
        inputs: the number d of coordinates.
        degree: the highest degree n.
        total: whether the degrees in a product sum up to n at most; otherwise each is at most n.
    """

    def __init__(self, inputs: int, degree: int, *, total: bool) -> None:
        super().__init__()
        exponents = itertools.product(range(degree + 1), repeat=inputs)
        self.exponents = torch.tensor([e for e in exponents if not total or sum(e) <= degree])
        """The exponents α, (columns, d). They need not be stored, because n and ``total`` say what they are."""
        self.degree = degree
        self.coefficient = nn.Parameter(torch.zeros(len(self.exponents), 1, dtype=torch.float64))

    @staticmethod
    def count(inputs: int, degree: int, *, total: bool) -> int:
        """Return how many numbers such a sum stores."""
        return math.comb(degree + inputs, inputs) if total else (degree + 1) ** inputs

    def columns(self, x: Tensor, axes: Sequence[int] = ()) -> Tensor:
        """Return the products, differentiated along these axes, at points (n, d): (n, columns)."""
        found = x.new_ones(len(x), len(self.exponents))
        for i in range(x.shape[1]):
            found = found * _polynomials(x[:, i], self.degree, list(axes).count(i))[:, self.exponents[:, i]]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.columns(x) @ self.coefficient


def _polynomials(t: Tensor, degree: int, order: int) -> Tensor:
    r"""Return :math:`T_0^{(q)}(t), \dots, T_n^{(q)}(t)`, (points, n + 1), for the q-th derivative.

    They follow from :math:`T_{k+1}^{(q)} = 2t\,T_k^{(q)} + 2q\,T_k^{(q-1)} - T_{k-1}^{(q)}`.
    """
    lower = [torch.zeros_like(t)] * (degree + 1)
    for q in range(order + 1):
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        found = [one, t] if q == 0 else [zero, one] if q == 1 else [zero, zero]
        for k in range(1, degree):
            found.append(2 * t * found[k] + 2 * q * lower[k] - found[k - 1])
        lower = found[: degree + 1]
    return torch.stack(lower, 1)


@dataclass(frozen=True)
class Polynomials(Fitted):
    """Chebyshev polynomials of higher and higher degree by least squares, for an equation at Chebyshev's points."""

    default: ClassVar[int] = 2000

    total: bool = False
    """If true, the degrees of a product are bounded in sum, otherwise each by itself."""
    oversampling: float = 2.0
    """The least number of data for each coefficient; of an equation, of points along an axis for each degree."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield a sum for every degree."""
        d = task.points.shape[1]
        if isinstance(task, FunctionTask):
            parameters = min(parameters, int(len(task.x) / self.oversampling))
        highest = largest(lambda n: Chebyshev.count(d, n, total=self.total), parameters, 0)
        for degree in range(min(2, highest), highest + 1):
            net = Chebyshev(d, degree, total=self.total)
            with torch.no_grad():
                net.coefficient.copy_(self._coefficients(net, task))
            yield net

    def _coefficients(self, net: Chebyshev, task: Task) -> Tensor:
        if isinstance(task, FunctionTask):
            return solve.least_squares([(net.columns(task.x), task.y)]).weight
        check_unit_box("Polynomials", task)
        d = task.points.shape[1]
        n = math.ceil(self.oversampling * (net.degree + 1))
        nodes = torch.cos(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
        sides = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        edge = torch.cat([product([sides if i == j else nodes for j in range(d)]) for i in range(d)])
        return best_weights(task, Points(product([nodes] * d)), Points(edge), of_derivatives(net.columns))
