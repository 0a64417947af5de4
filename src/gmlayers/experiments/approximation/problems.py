r"""Problems to compare methods by: what a method is given of them, and how what it comes to is judged.

An error is a root mean square over test points, and so is that of the gradient: together they are the H¹ norm,

.. math:: \|u - u^*\|_{H^1}^2 = \|u - u^*\|_{L^2}^2 + \|\nabla u - \nabla u^*\|_{L^2}^2,

of a box of volume 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gmlayers.experiments.approximation.losses import loss
from gmlayers.experiments.approximation.targets import FEYNMAN, FIT2D, POISSON, Target
from gmlayers.experiments.approximation.tasks import Collocation, Regression, State

POINTS = 1000
"""To train with, and as many to test."""

SHARE = 0.1
"""Of the training points that are held out where settings are chosen."""

SIDE = 101
"""Points on a side of the grid that solutions of equations are tested on."""

Box = tuple[tuple[float, ...], tuple[float, ...]]
Judge = Callable[[State], Mapping[str, float]]


class Question(NamedTuple):
    """What a method is given, and what judges it: as ``error``, and ``gradient_error`` on test points."""

    task: Regression | Collocation
    judge: Judge


class Problem(Protocol):
    """Something to approximate."""

    @property
    def formula(self) -> str:
        """What stands over its figure."""
        ...

    @property
    def box(self) -> Box:
        """Lowest and highest coordinates."""
        ...

    def exact(self, x: Tensor) -> Tensor:
        """Return what is to be approximated, (n, 1), at points (n, d)."""
        ...

    def pose(self, seed: int, *, choosing: bool) -> Question:
        """Return points drawn with a seed; a tenth of the training points judges where something is to be chosen."""
        ...


@dataclass(frozen=True)
class Fit:
    """A function, given at random points."""

    target: Target

    @property
    def formula(self) -> str:
        """The formula of the function."""
        return self.target.formula

    @property
    def box(self) -> Box:
        """Lowest and highest coordinates."""
        return self.target.low, self.target.high

    def exact(self, x: Tensor) -> Tensor:
        """Return the function, (n, 1), at points (n, d)."""
        return self.target(x)

    def pose(self, seed: int, *, choosing: bool) -> Question:
        """Return points of the function, and a test on others."""
        data = self.target.data(seed, POINTS)
        if not choosing:
            return Question(data, _against(self.target, self.target.data(seed, POINTS, held_out=True).x))
        left = POINTS - int(SHARE * POINTS)
        x, y = data.x[left:], data.y[left:]
        return Question(
            dataclasses.replace(data, x=data.x[:left], y=data.y[:left]),
            lambda state: {"error": _rms(state.predict(x).detach() - y)},
        )


@dataclass(frozen=True)
class Equation:
    """A differential equation on a square with a known solution."""

    formula: str
    task: Callable[[int], Collocation]
    """Of a seed."""
    box: Box = ((-1.0, -1.0), (1.0, 1.0))

    def exact(self, x: Tensor) -> Tensor:
        """Return the solution, (n, 1), at points (n, 2)."""
        return self.task(0).known.exact(x).unsqueeze(1)

    def pose(self, seed: int, *, choosing: bool) -> Question:
        """Return points for the equation and its condition, and a test against the solution on a grid."""
        task = self.task(seed)
        if not choosing:
            return Question(task, _against(self.exact, grid(self.box, SIDE)))
        interior, held_interior = _divided(task.interior, seed)
        boundary, held_boundary = _divided(task.boundary, seed)
        held = dataclasses.replace(task, interior=held_interior, boundary=held_boundary)
        return Question(
            dataclasses.replace(task, interior=interior, boundary=boundary),
            lambda state: {"error": float(loss(held)(state.predict).detach().sqrt())},
        )


FIT2D_PROBLEMS: Mapping[str, Problem] = {name: Fit(target) for name, target in FIT2D.items()}
FEYNMAN_PROBLEMS: Mapping[str, Problem] = {name: Fit(target) for name, target in FEYNMAN.items()}
POISSON_PROBLEMS: Mapping[str, Problem] = {
    "poisson-a": Equation("Δu = f, u = sin πx · sin πy", POISSON["poisson-a"]),
    "poisson-b": Equation("Δu = f, u = sin πx · sin πy²", POISSON["poisson-b"]),
}


def grid(box: Box, side: int) -> Tensor:
    """Return points of a grid over a box, (side^d, d), its corners too; the last coordinate runs fastest."""
    lines = [torch.linspace(low, high, side, dtype=torch.float64) for low, high in zip(*box)]
    return torch.cartesian_prod(*lines).view(-1, len(lines))


def _against(function: Callable[[Tensor], Tensor], points: Tensor) -> Judge:
    """Return what compares values and gradients with those of a function at points."""
    x = points.clone().requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()

    def judge(state: State) -> Mapping[str, float]:
        own = points.clone().requires_grad_()
        value = state.predict(own)
        (gradient,) = torch.autograd.grad(value.sum(), own)
        return {
            "error": _rms(value.detach() - y),
            "gradient_error": float((gradient - slope).square().sum(1).mean().sqrt()),
        }

    return judge


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())


def _divided(points: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return nine tenths of points and the rest, at random."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    left = len(points) - int(SHARE * len(points))
    return points[order[:left]], points[order[left:]]
