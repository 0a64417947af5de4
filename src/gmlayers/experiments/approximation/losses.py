r"""What nets are trained on: squared errors of values, and of a differential equation with its condition."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, singledispatch
from operator import add
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gmlayers.experiments.approximation.tasks import Collocation, Regression
from gmlayers.solve import Equation, Expression, Points
from gmlayers.solve.equations import apply, values

Loss = Callable[[nn.Module], Tensor]


@runtime_checkable
class Curved(Protocol):
    """A net that has a way to its Laplacian of its own."""

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        ...


class Misfit(NamedTuple):
    """Something that is asked of a net at points."""

    found: Callable[[nn.Module, Tensor], Tensor]
    """From a net and points (n, d) to what is compared, (n, 1)."""
    x: Tensor
    """(n, d)."""
    y: Tensor
    """What it should be, (n, 1)."""
    weight: float
    """Of the mean of its squares in the loss."""


@singledispatch
def misfits(task: Regression | Collocation) -> tuple[Misfit, ...]:
    """Return all that is asked for: values, or an equation and then its condition."""
    raise TypeError(f"misfits: expected a Regression or a Collocation, got {type(task).__name__}")


@misfits.register
def _(task: Regression) -> tuple[Misfit, ...]:
    return (Misfit(lambda net, x: net(x), task.x, task.y, 1.0),)


@misfits.register
def _(task: Collocation) -> tuple[Misfit, ...]:
    def misfit(equation: Equation, x: Tensor, weight: float, name: str) -> Misfit:
        y = values(equation.right, Points(x), f"the right-hand side of the {name}")
        return Misfit(lambda net, x: operate(equation.expression, net, Points(x)), x, y, weight)

    return (
        misfit(task.known.problem.equation, task.interior, task.weight, "equation"),
        misfit(task.condition, task.boundary, 1.0, "boundary"),
    )


def loss(task: Regression | Collocation) -> Loss:
    r"""Return the loss of a task as a function of the net.

    For a regression :math:`\frac1n \sum_i (u(x_i) - y_i)^2`, for a collocation that of
    :class:`~gmlayers.experiments.approximation.tasks.Collocation`.
    """
    terms = misfits(task)
    return lambda net: reduce(add, (m.weight * (m.found(net, m.x) - m.y).square().mean() for m in terms))


def operate(expression: Expression, net: nn.Module, points: Points) -> Tensor:
    """Return what a differential expression makes of a net at points, (n, 1), differentiable in its parameters.

    Most nets have a way to their Laplacian of their own. All else is by nested automatic differentiation.
    """
    if isinstance(net, Curved) and _is_laplacian(expression):
        return net.laplacian(points.x)
    if not any(term.axes for term in expression.terms):
        return apply(expression, points, lambda _: net(points.x), "the loss")
    x = points.x.clone().requires_grad_()
    found: dict[tuple[int, ...], Tensor] = {(): net(x)}

    def derivative(axes: tuple[int, ...]) -> Tensor:
        for i in range(len(axes)):
            if axes[: i + 1] not in found:  # a gradient is found at once, whichever entry is asked for
                total = found[axes[:i]].sum()
                (slopes,) = torch.autograd.grad(total, x, create_graph=True, materialize_grads=True)
                found.update({(*axes[:i], j): slopes[:, j : j + 1] for j in range(x.shape[1])})
        return found[axes]

    return apply(expression, points, derivative, "the loss")


def _is_laplacian(expression: Expression) -> bool:
    """Return whether the terms are the second derivatives by all coordinates, each once, and nothing else."""
    terms = {term.axes: term.number for term in expression.terms if not term.functions}
    return len(terms) == len(expression.terms) and terms == {(i, i): 1.0 for i in range(expression.dim)}
