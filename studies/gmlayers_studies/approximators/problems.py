r"""Challenges to compare methods by: what a method is given of them, and how what it comes to is judged.

An error is a root mean square over test points, and so is that of the gradient: together they are the H¹ norm,

.. math:: \|u - u^*\|_{H^1}^2 = \|u - u^*\|_{L^2}^2 + \|\nabla u - \nabla u^*\|_{L^2}^2,

of a box of volume 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.nets import product
from gmlayers_studies.approximators.targets import FEYNMAN, FIT2D, POISSON, Target
from gmlayers_studies.approximators.tasks import EquationTask, State, Task

POINTS = 1000
"""A function is given at this many points to train, and tested at as many others."""

SHARE = 0.1
"""This share of the training points is held out, to choose by."""

SIDE = 101
"""Solutions of equations are tested on a grid that has this many points on a side."""

Box = tuple[tuple[float, ...], tuple[float, ...]]
Judge = Callable[[State], Mapping[str, float]]


class Question(NamedTuple):
    """What a method is given, and what judges what it comes to."""

    task: Task
    held_out: Callable[[State], float]
    """This takes a state to its error on training points that the method is not given; all choices go by it."""
    judge: Judge
    """This takes a state to ``error`` on test points and, if the gradient is square integrable, ``gradient_error``."""


class Challenge(Protocol):
    """Something to approximate, which is posed anew with every seed."""

    @property
    def formula(self) -> str:
        """The formula that stands over its figure."""
        ...

    @property
    def box(self) -> Box:
        """The lowest and the highest coordinates."""
        ...

    def exact(self, x: Tensor) -> Tensor:
        """Return what is to be approximated, (n, 1), at points (n, d)."""
        ...

    def pose(self, seed: int) -> Question:
        """Return training points drawn with a seed, of which a tenth is held out, and test points."""
        ...


@dataclass(frozen=True)
class FunctionChallenge:
    """A function, given at random points."""

    target: Target
    """The function and its box."""
    gradient: bool = True
    """If false, the gradient is not square integrable, and its error is not found."""

    @property
    def formula(self) -> str:
        """The formula of the function."""
        return self.target.formula

    @property
    def box(self) -> Box:
        """The lowest and the highest coordinates."""
        return self.target.low, self.target.high

    def exact(self, x: Tensor) -> Tensor:
        """Return the function, (n, 1), at points (n, d)."""
        return self.target(x)

    def pose(self, seed: int) -> Question:
        """Return points of the function, and a test on others."""
        data = self.target.data(seed, POINTS)
        left = POINTS - int(SHARE * POINTS)
        x, y = data.x[left:], data.y[left:]
        return Question(
            dataclasses.replace(data, x=data.x[:left], y=data.y[:left]),
            lambda state: _rms(state.predict(x).detach() - y),
            _against(self.target, self.target.data(seed, POINTS, held_out=True).x, gradient=self.gradient),
        )


@dataclass(frozen=True)
class EquationChallenge:
    """A differential equation on a square with a known solution."""

    formula: str
    """The equation and its solution."""
    task: Callable[[int], EquationTask]
    """This takes a seed to the points for the equation and its condition."""
    box: Box = ((-1.0, -1.0), (1.0, 1.0))
    """The lowest and the highest coordinates."""

    def exact(self, x: Tensor) -> Tensor:
        """Return the solution, (n, 1), at points (n, 2)."""
        return self.task(0).known.exact(x).unsqueeze(1)

    def pose(self, seed: int) -> Question:
        """Return points for the equation and its condition, and a test against the solution on a grid."""
        task = self.task(seed)
        interior, held_interior = _divided(task.interior, seed)
        boundary, held_boundary = _divided(task.boundary, seed)
        held_out = loss(dataclasses.replace(task, interior=held_interior, boundary=held_boundary))
        return Question(
            dataclasses.replace(task, interior=interior, boundary=boundary),
            lambda state: math.sqrt(float(held_out(state.predict).detach())),
            _against(self.exact, grid(self.box, SIDE), gradient=True),
        )


FIT2D_PROBLEMS: Mapping[str, Challenge] = {
    name: FunctionChallenge(target, gradient=name != "square-root") for name, target in FIT2D.items()
}
"""The table has the functions of two variables."""

FEYNMAN_PROBLEMS: Mapping[str, Challenge] = {name: FunctionChallenge(target) for name, target in FEYNMAN.items()}
"""The table has the formulas of the Feynman lectures."""

POISSON_PROBLEMS: Mapping[str, Challenge] = {
    "poisson-a": EquationChallenge("Δu = f, u = sin πx · sin πy", POISSON["poisson-a"]),
    "poisson-b": EquationChallenge("Δu = f, u = sin πx · sin πy²", POISSON["poisson-b"]),
}
"""The table has the two Poisson equations."""


def grid(box: Box, side: int) -> Tensor:
    """Return points of a grid over a box, (side^d, d), its corners too; the last coordinate runs fastest."""
    return product([torch.linspace(low, high, side, dtype=torch.float64) for low, high in zip(*box)])


def _against(function: Callable[[Tensor], Tensor], points: Tensor, *, gradient: bool) -> Judge:
    """Return what compares the values of a state, and its gradients, with those of a function at points."""
    x = points.clone().requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()

    def judge(state: State) -> Mapping[str, float]:
        own = points.clone().requires_grad_()
        value = state.predict(own)
        found = {"error": _rms(value.detach() - y)}
        if gradient:
            (own_slope,) = torch.autograd.grad(value.sum(), own)
            found["gradient_error"] = float((own_slope - slope).square().sum(1).mean().sqrt())
        return found

    return judge


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())


def _divided(points: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return nine tenths of points and the rest, at random."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    left = len(points) - int(SHARE * len(points))
    return points[order[:left]], points[order[left:]]
