"""What a module leaves of an equation."""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers._arguments import got
from gmlayers._arrays import Array, numbers
from gmlayers.nn import GMNM, AxisAligned
from gmlayers.solve.domains import Points
from gmlayers.solve.engine.derivatives import along_axes, differentiable
from gmlayers.solve.engine.least_squares import BLOCK
from gmlayers.solve.equations import EQUATION, Problem, coefficients, values


@torch.no_grad()
def residual(problem: Problem, u: GMNM, x: Tensor | Array) -> Tensor:
    """Return what a module leaves of an equation at points inside: left-hand side less right-hand side.

    Args:
        problem: the equation, with its domain.
        u: a module of one output, such as that of a solution.
        x: points, (n, d).

    Returns:
        (n,) in float64.

    Raises:
        ValueError: if the points or the module are of a wrong shape, or a function of the equation is not finite.
        TypeError: if the problem is none, u is no module, or x are no points.

    Example:
        >>> from gmlayers import solve
        >>> problem = solve.problems.poisson_a().problem
        >>> left = solve.residual(problem, solve.solve(problem).u, problem.domain.interior(100))
        >>> bool((left.abs() < 1e-8).all())
        True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"residual: problem must be a Problem(domain, equation, conditions), got {got(problem)}")
    if not isinstance(u, GMNM):
        raise TypeError(f"residual: u must be a GMNM, such as answer.u, got {got(u)}")
    points, d = numbers("residual: x", x).double(), problem.domain.dim
    if points.ndim != 2 or (points.shape[1], u.in_features, u.out_features) != (d, d, 1):
        raise ValueError(
            f"residual: expected points x (n, {d}) and a module u of {d} features and one output, got x "
            f"{tuple(points.shape)} and u of {u.in_features} and {u.out_features}"
        )
    parts = points.split(max(1, BLOCK // u.num_components))
    return torch.cat([_residual(problem, u, Points(part)) for part in parts])


def _residual(problem: Problem, u: GMNM, points: Points) -> Tensor:
    by_axes = dict(coefficients(problem.equation.expression, points, f"the {EQUATION}"))
    mean, A = u.mean.double(), u.projection_matrix().double()
    if isinstance(u.form, AxisAligned):
        rows = along_axes(points.x, by_axes, mean, A.diagonal(dim1=1, dim2=2))
    else:
        each = torch.cat([c.expand(len(points.x), 1) for c in by_axes.values()], 1)
        rows = differentiable(list(by_axes), points.x, each, mean, A)
    left = rows @ u.weight.double()
    if u.bias is not None and () in by_axes:
        left = left + by_axes[()] * u.bias.double()
    return (left - values(problem.equation.right, points, f"the right-hand side of the {EQUATION}")).squeeze(1)
