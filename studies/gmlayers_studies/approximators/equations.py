"""What a differential expression makes of nets and of sums of fixed functions.

A net is differentiated; the best weights of fixed functions are found by least squares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gmlayers import solve
from gmlayers.solve import Equation, Expression, Points
from gmlayers.solve.engine import rows
from gmlayers.solve.equations import apply, values
from gmlayers_studies.approximators.tasks import EquationTask

CONDITION = 10.0
"""Least squares weigh residuals of the condition by this factor against those of the equation, after the rows of each
have been divided by their size."""

Columns = Callable[[Expression, Points], Tensor]
"""What an expression makes of every function of a sum at points, (n, columns)."""


@runtime_checkable
class Curved(Protocol):
    """A net that has a way to its Laplacian of its own."""

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        ...


def operate(expression: Expression, net: nn.Module, points: Points) -> Tensor:
    """Return what a differential expression makes of a net at points, (n, 1), differentiable in its parameters.

    Most nets have a way to their Laplacian of their own. All else is found by nested automatic differentiation.
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


def right_side(equation: Equation, points: Points, name: str) -> Tensor:
    """Return the right-hand side of an equation at points, (n, 1); errors call it by the name."""
    return values(equation.right, points, name)


def of_derivatives(derivative: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Columns:
    """Return the columns of functions, given by their derivatives (n, columns) at points (n, d) along some axes."""
    return lambda expression, points: apply(expression, points, lambda axes: derivative(points.x, axes), "the equation")


def of_bumps(mean: Tensor, scale: Tensor) -> Columns:
    """Return the columns of bumps along the axes, given by their means and inverse widths, both (m, d)."""
    return lambda expression, points: rows(expression, points, mean, scale, "the equation")


def best_weights(task: EquationTask, inside: Points, edge: Points, columns: Columns) -> Tensor:
    """Return the best weights of a sum, (columns, 1), for the equation inside and the condition on the edge.

    The rows of each are divided by their size, so that neither is lost beside the other.
    """
    blocks = []
    for equation, points, importance in (
        (task.known.problem.equation, inside, 1.0),
        (task.condition, edge, CONDITION),
    ):
        matrix = columns(equation.expression, points)
        size = float(matrix.square().sum(1).mean().sqrt())
        target = right_side(equation, points, "a right-hand side")
        blocks.append((matrix, target, target.new_full((len(target),), (importance / size) ** 2)))
    return solve.least_squares(blocks).weight


def check_unit_box(name: str, task: EquationTask) -> None:
    """Refuse an equation on another domain than the box [-1, 1]^d.

    Raises:
        ValueError: if it is on another, naming that.
    """
    domain = task.known.problem.domain
    if not isinstance(domain, solve.Box) or bool((domain.low != -1).any() | (domain.high != 1).any()):
        where = f"a {type(domain).__name__} from {domain.low.tolist()} to {domain.high.tolist()}"
        raise ValueError(
            f"{name}: expected an equation on the box [-1, 1]^d, got one on {where}; use Collocated or Solve"
        )


def _is_laplacian(expression: Expression) -> bool:
    """Return whether the terms are the second derivatives along all axes, each once, and nothing else."""
    terms = {term.axes: term.number for term in expression.terms if not term.functions}
    return len(terms) == len(expression.terms) and terms == {(i, i): 1.0 for i in range(expression.dim)}
