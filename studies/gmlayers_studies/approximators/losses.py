"""What nets are trained on: squared errors of values, or of a differential equation and its condition."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, singledispatch
from operator import add
from typing import NamedTuple

from torch import Tensor, nn

from gmlayers.solve import Equation, Points
from gmlayers_studies.approximators.equations import operate, right_side
from gmlayers_studies.approximators.tasks import EquationTask, FunctionTask, Task

Loss = Callable[[nn.Module], Tensor]


class Misfit(NamedTuple):
    """Something that is asked of a net at points."""

    found: Callable[[nn.Module, Tensor], Tensor]
    """This takes a net and points (n, d) to what is compared, (n, 1)."""
    x: Tensor
    """The points, (n, d)."""
    y: Tensor
    """What it should be, (n, 1)."""
    weight: float
    """The factor of the mean of the squares in the loss."""


@singledispatch
def misfits(task: Task) -> tuple[Misfit, ...]:
    """Return all that is asked of a net: the values, or the equation and then its condition."""
    raise TypeError(f"misfits: expected a FunctionTask or an EquationTask, got {type(task).__name__}")


@misfits.register
def _(task: FunctionTask) -> tuple[Misfit, ...]:
    return (Misfit(lambda net, x: net(x), task.x, task.y, 1.0),)


@misfits.register
def _(task: EquationTask) -> tuple[Misfit, ...]:
    def misfit(equation: Equation, x: Tensor, weight: float, name: str) -> Misfit:
        y = right_side(equation, Points(x), f"the right-hand side of the {name}")
        return Misfit(lambda net, x: operate(equation.expression, net, Points(x)), x, y, weight)

    return (
        misfit(task.known.problem.equation, task.interior, task.weight, "equation"),
        misfit(task.condition, task.boundary, 1.0, "boundary"),
    )


def loss(task: Task) -> Loss:
    r"""Return the loss of a task as a function of the net.

    For a function it is :math:`\frac1n \sum_i (u(x_i) - y_i)^2`, for an equation that of
    :class:`~gmlayers_studies.approximators.tasks.EquationTask`.
    """
    terms = misfits(task)
    return lambda net: reduce(add, (m.weight * (m.found(net, m.x) - m.y).square().mean() for m in terms))
