r"""Linear equations with known solutions, to measure with: each is made by a function, and :data:`KNOWN` names all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import positive_number
from gmlayers.solve.domains import Box, SpaceTime, l_shape
from gmlayers.solve.equations import Problem, dot, dt, grad, laplacian, unknown

PI = math.pi


class Known(NamedTuple):
    """A problem, and its solution: a function of points (n, d) with values (n,)."""

    problem: Problem
    exact: Callable[[Tensor], Tensor]


def poisson_a() -> Known:
    r"""Return :math:`\Delta u = -2\pi^2 \sin \pi x \sin \pi y` on [-1, 1]², 0 on the edge: the example of pykan."""

    def exact(x: Tensor) -> Tensor:
        return torch.sin(PI * x).prod(1)

    u = unknown(2)
    equation = laplacian(u) == (lambda x: -2 * PI**2 * exact(x))
    return Known(Problem(Box((-1, -1), (1, 1)), equation, {"boundary": u == 0}), exact)


def poisson_b() -> Known:
    r"""Return a problem on [-1, 1]² with :math:`u = \sin \pi x \sin \pi y^2`: section 3.4 of arXiv 2404.19756."""

    def exact(x: Tensor) -> Tensor:
        return torch.sin(PI * x[:, 0]) * torch.sin(PI * x[:, 1] ** 2)

    def right(x: Tensor) -> Tensor:
        square = x[:, 1] ** 2
        curved = 2 * PI * torch.sin(PI * x[:, 0]) * torch.cos(PI * square)
        return curved - PI**2 * (1 + 4 * square) * exact(x)

    u = unknown(2)
    return Known(Problem(Box((-1, -1), (1, 1)), laplacian(u) == right, {"boundary": u == 0}), exact)


def poisson_l() -> Known:
    r"""Return :math:`\Delta u = 0` on the L-shape, :math:`u = r^{2/3} \sin \tfrac23\theta`, which is singular."""

    def exact(x: Tensor) -> Tensor:
        angle = torch.atan2(x[:, 1], x[:, 0])
        angle = torch.where(angle < -PI / 4, angle + 2 * PI, angle)  # the cut is in the quarter that is left out
        return x.square().sum(1) ** (1 / 3) * torch.sin(2 / 3 * angle)

    u = unknown(2)
    return Known(Problem(l_shape(), laplacian(u) == 0, {"boundary": u == exact}), exact)


def helmholtz() -> Known:
    r"""Return :math:`\Delta u + u = f` on [-1, 1]² with :math:`u = \sin 4\pi y \sin \pi x`, as in arXiv 2412.05994."""

    def exact(x: Tensor) -> Tensor:
        return torch.sin(4 * PI * x[:, 1]) * torch.sin(PI * x[:, 0])

    u = unknown(2)
    equation = laplacian(u) + u == (lambda x: (1 - 17 * PI**2) * exact(x))
    return Known(Problem(Box((-1, -1), (1, 1)), equation, {"boundary": u == 0}), exact)


def poisson_peak() -> Known:
    r"""Return a problem on [-1, 1]² with a peak: s is 1/50 of the side.

    .. math:: u = \sin \pi x \cos \tfrac{\pi}{2} y + e^{-\|x - c\|^2 / 2s^2}
    """
    s = 1 / 25

    def peak(x: Tensor) -> tuple[Tensor, Tensor]:
        square = (x - x.new_tensor((0.23, -0.31))).square().sum(1) / s**2
        return torch.exp(-square / 2), square

    def smooth(x: Tensor) -> Tensor:
        return torch.sin(PI * x[:, 0]) * torch.cos(PI / 2 * x[:, 1])

    def exact(x: Tensor) -> Tensor:
        return smooth(x) + peak(x)[0]

    def right(x: Tensor) -> Tensor:
        value, square = peak(x)
        return (square - 2) / s**2 * value - 1.25 * PI**2 * smooth(x)

    u = unknown(2)
    return Known(Problem(Box((-1, -1), (1, 1)), laplacian(u) == right, {"boundary": u == exact}), exact)


def advection_diffusion(e: float = 1 / 10) -> Known:
    r"""Return :math:`-\varepsilon\Delta u + u_x = 0` on the unit square, which has a boundary layer.

    .. math:: u = (e^{(x - 1)/\varepsilon} - e^{-1/\varepsilon}) / (1 - e^{-1/\varepsilon})

    Args:
        e: :math:`\varepsilon > 0`, which is about the width of the layer.
    """
    e = positive_number("advection_diffusion: e", e)

    def exact(x: Tensor) -> Tensor:
        return (torch.exp((x[:, 0] - 1) / e) - math.exp(-1 / e)) / -math.expm1(-1 / e)

    u = unknown(2)
    equation = -e * laplacian(u) + dot((1.0, 0.0), grad(u)) == 0
    return Known(Problem(Box((0, 0), (1, 1)), equation, {"boundary": u == exact}), exact)


def heat() -> Known:
    r"""Return :math:`u_t = \tfrac1{10} u_{xx}` on [0, 1] to time 2 with :math:`u = e^{-\pi^2 t/10} \sin \pi x`."""

    def exact(x: Tensor) -> Tensor:
        return torch.exp(-(PI**2) * x[:, 1] / 10) * torch.sin(PI * x[:, 0])

    u = unknown(1, time=True)
    equation = dt(u) - 0.1 * laplacian(u) == 0
    return Known(Problem(SpaceTime(Box((0,), (1,)), 2.0), equation, {"initial": u == exact, "boundary": u == 0}), exact)


def wave() -> Known:
    r"""Return :math:`u_{tt} = u_{xx}` on [0, 1] to time 1, 0 at both ends, with two modes.

    .. math:: u = \sin \pi x \cos \pi t + \tfrac12 \sin 2\pi x \cos 2\pi t
    """

    def exact(x: Tensor) -> Tensor:
        first, second = (torch.sin(k * x[:, 0]) * torch.cos(k * x[:, 1]) for k in (PI, 2 * PI))
        return first + second / 2

    u = unknown(1, time=True)
    conditions = {"initial": [u == exact, dt(u) == 0], "boundary": u == 0}
    return Known(Problem(SpaceTime(Box((0,), (1,)), 1.0), dt(dt(u)) == laplacian(u), conditions), exact)


def poisson_3d() -> Known:
    r"""Return :math:`\Delta u = f` on the unit cube with :math:`u = \sin \pi x \sin \pi y \sin \pi z`."""

    def exact(x: Tensor) -> Tensor:
        return torch.sin(PI * x).prod(1)

    u = unknown(3)
    equation = laplacian(u) == (lambda x: -3 * PI**2 * exact(x))
    return Known(Problem(Box((0,) * 3, (1,) * 3), equation, {"boundary": u == 0}), exact)


def poisson_10d() -> Known:
    r"""Return :math:`\Delta u = 0` on [0, 1]^10 with :math:`u = \sum_{k=1}^5 x_{2k-1} x_{2k}`, from Deep Ritz."""

    def exact(x: Tensor) -> Tensor:
        return (x[:, ::2] * x[:, 1::2]).sum(1)

    u = unknown(10)
    return Known(Problem(Box((0,) * 10, (1,) * 10), laplacian(u) == 0, {"boundary": u == exact}), exact)


KNOWN: Mapping[str, Callable[[], Known]] = {
    "poisson-a": poisson_a,
    "poisson-b": poisson_b,
    "poisson-l": poisson_l,
    "poisson-3d": poisson_3d,
    "poisson-10d": poisson_10d,
    "helmholtz": helmholtz,
    "poisson-peak": poisson_peak,
    "advection-diffusion": advection_diffusion,
    "layer-50": partial(advection_diffusion, 1 / 50),
    "layer-100": partial(advection_diffusion, 1 / 100),
    "heat": heat,
    "wave": wave,
}
"""Every problem is made by a function, which stands here by its name."""
