r"""What nets are trained on: squared errors of values, and of a differential equation with its condition."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gmlayers.experiments.approximation.tasks import Collocation, Regression
from gmlayers.solve import Expression, Points
from gmlayers.solve._equation import apply, values

Loss = Callable[[nn.Module], Tensor]


@runtime_checkable
class Curved(Protocol):
    """A net that has a way to its Laplacian of its own."""

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        ...


@singledispatch
def loss(task: Regression | Collocation) -> Loss:
    r"""Return the loss of a task as a function of the net.

    For a regression :math:`\frac1n \sum_i (u(x_i) - y_i)^2`, for a collocation that of
    :class:`~gmlayers.experiments.approximation.tasks.Collocation`.
    """
    raise TypeError(f"loss: expected a Regression or a Collocation, got {type(task).__name__}")


@loss.register
def _(task: Regression) -> Loss:
    return lambda net: (net(task.x) - task.y).square().mean()


@loss.register
def _(task: Collocation) -> Loss:
    equation, condition = task.known.problem.equation, task.condition
    inside, edge = Points(task.interior), Points(task.boundary)
    f = values(equation.right, inside, "the right-hand side of the equation")
    g = values(condition.right, edge, "the right-hand side of the boundary")

    def physics(net: nn.Module) -> Tensor:
        residual = operate(equation.expression, net, inside) - f
        misfit = operate(condition.expression, net, edge) - g
        return task.weight * residual.square().mean() + misfit.square().mean()

    return physics


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
