r"""A few bumps that solve an equation: shapes trained, weights always at the best values.

The rows are those of :func:`~gmlayers.solve.solve`, linear in the weights. With :math:`v = A(x - \mu)`,
:math:`s = A^\top v` and :math:`G = A^\top A`, a bump f has :math:`\partial_i f = -s_i f` and
:math:`\partial_i \partial_j f = (s_i s_j - G_{ij}) f`, so that a row of the expression
:math:`\sum_\alpha c_\alpha \partial^\alpha u` is a polynomial in s times f.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from gmlayers._names import positive
from gmlayers.nn import GMNM
from gmlayers.solve._domain import Points
from gmlayers.solve._equation import Equation, coefficients, values
from gmlayers.solve._fit import Sum, answers, check_module, float32_allowed, warn_of_range
from gmlayers.solve._least_squares import RANK_TOLERANCE
from gmlayers.solve._limits import check_not_negative, check_positive, warn_of_float32
from gmlayers.solve._solve import CONDITION, EQUATION, Problem
from gmlayers.solve._variable_projection import (
    Group,
    Iteration,
    VariableProjection,
    _Problem,
    check_options,
    descend,
)

SLACK = 1e-9
"""Share of the domain by which points on its edge may be out of the range of the module: they are rounded."""

EDGE = 4.0
"""Times the number of points inside to the power (d - 1) / d: points of a part of the boundary."""


@torch.no_grad()
def collocate(
    module: GMNM,
    problem: Problem,
    *,
    points: int = 2000,
    weight: Mapping[str, float] | None = None,
    iterations: int = 100,
    tolerance: float = 1e-6,
    regularisation: float = 1e-8,
    rank_tolerance: float = RANK_TOLERANCE,
    max_seconds: float = math.inf,
    float32_tolerance: float | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> VariableProjection:
    r"""Train the bumps of a module to solve a linear equation, by Levenberg–Marquardt, the weights solved for.

    .. math:: \min_\theta\;\min_w\; \sum_b \frac{\omega_b}{n_b} \sum_{x \in b} (\mathcal D_b u(x) - f_b(x))^2
        + \lambda^2 \|w\|^2

    over the equation inside and all conditions b, at points of the domain. :func:`~gmlayers.solve.solve` takes as many
    fixed bumps as a tolerance needs; here a given number of them learns where to be and of what shape, for a small
    function. It goes as for :func:`~gmlayers.solve.variable_projection`, in float64 on the CPU.

    Args:
        module: where it starts, with one output and a domain that covers that of the problem; its weights do not
            matter. All is written.
        problem: the equation and its conditions.
        points: how many are inside; of the boundary there are four times their root, or of its power (d - 1) / d.
        weight: ω, how much the mean square of what is left of each counts, by name: ``"equation"``, and the parts of
            the conditions, ``"initial (1)"`` and so on where there are several. If not given, the reciprocal of the
            mean square of the rows at the start, and for conditions a hundred times as much.
        iterations: as for :func:`~gmlayers.solve.variable_projection`, and so are those below.
        tolerance: when it ends.
        regularisation: λ.
        rank_tolerance: which singular values count as 0.
        max_seconds: no iteration is begun that is expected to end later; of the first that is not known.
        float32_tolerance: as for :func:`~gmlayers.solve.variable_projection`, by default in terms of what the module
            answers.
        callback: called with the start and every iteration, as by :func:`~gmlayers.solve.variable_projection`.

    Returns:
        Why it ended, and the root of the weighted sum of mean squares after each iteration. It is that at the points;
        whether they are enough, other ones tell.

    Raises:
        ValueError: a module of other sizes or not on the CPU, weights or other options out of range, an equation whose
            functions have values that are not finite.
        RuntimeError: if a parameter is parametrized.
        TypeError: what is no problem, or no module of this kind; options that are no numbers.

    Warns:
        UserWarning: a problem that is out of the range of the module, and if float32 loses more than it may.

    Example:
        >>> import math
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> u = solve.unknown(1)
        >>> string = solve.Problem(
        ...     solve.Box((0,), (1,)), solve.laplacian(u) + 36 * u == 0, {"low 0": u == 0, "high 0": u == 1}
        ... )
        >>> module = GMNM(1, 1, 6, domain=(0, 1), dtype=torch.float64)
        >>> result = solve.collocate(module, string, points=100)
        >>> x = torch.tensor([[0.5]], dtype=torch.float64)
        >>> bool((module(x) - torch.sin(6 * x) / math.sin(6)).abs() < 1e-4)
        True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"collocate: expected a Problem(domain, equation, conditions), got {type(problem).__name__}")
    check_module("collocate", module)
    if module.in_features != problem.domain.dim or module.out_features != 1 or module.mean.device.type != "cpu":
        raise ValueError(
            f"collocate: expected a module with {problem.domain.dim} inputs and 1 output on the CPU, got "
            f"{module.in_features} and {module.out_features} on {module.mean.device}"
        )
    points = positive("collocate: points", points)
    check_not_negative("collocate", {"regularisation": regularisation})
    limits = check_options("collocate", iterations, tolerance, rank_tolerance, max_seconds, float32_tolerance, callback)
    with torch.device("cpu"):  # whatever the default is
        groups = _groups(module, problem, points, weight)
        x, middle = torch.cat([group.x for group in groups]), (problem.domain.low + problem.domain.high) / 2
        warn_of_range("collocate", module, x.lerp(middle, SLACK))
        result = descend("collocate", _Problem.of_groups(module, groups, 1.0, regularisation, rank_tolerance), limits)
        size = float(answers(module, x, Sum.of(module)).square().mean().sqrt())
    allowed = float32_allowed(module, size, float32_tolerance)
    warn_of_float32("collocate", "the module", result.max_weight, float(result.float32_error), allowed)
    return result


def _groups(module: GMNM, problem: Problem, points: int, weight: Mapping[str, float] | None) -> list[Group]:
    """Return the rows of the equation and of each condition."""
    asked = list(problem.asked())
    names = [name for name, _, _ in asked]
    if weight is not None:
        if not isinstance(weight, Mapping) or set(weight) != set(names):
            raise ValueError(f"collocate: expected weights by name, of {', '.join(map(repr, names))}, got {weight!r}")
        for name, value in weight.items():
            check_positive(f"collocate: the weight of {name!r}", value)
    found, domain = [], problem.domain
    for name, part, equation in asked:
        edge = math.ceil(EDGE * points ** ((domain.dim - 1) / domain.dim))
        where = Points(domain.interior(points)) if part is None else domain.boundary(edge, part)
        group = _group(equation, where, name)
        if weight is None:
            x, mean = module.centred(group.x, module.mean.double())
            of_bumps = group.feature(x, group.coefficients, mean, module.projection_matrix().double())
            size = float(of_bumps.square().sum(1).mean()) or 1.0
            counts = (1.0 if name == EQUATION else CONDITION**2) / size
        else:
            counts = weight[name]
        found.append(group._replace(root=torch.full_like(group.constant, math.sqrt(counts / len(group.x)))))
    return found


def _group(equation: Equation, points: Points, name: str) -> Group:
    """Return rows that all count 1."""
    by_axes = dict(coefficients(equation.expression, points, f"the {name}"))
    ones = torch.ones_like(points.x[:, :1])
    target = values(equation.right, points, f"the right-hand side of the {name}")
    found = torch.cat([c.expand_as(ones) for c in by_axes.values()], 1)
    constant = by_axes[()].expand_as(ones) if () in by_axes else 0 * ones
    return Group(partial(_feature, tuple(by_axes)), points.x, found, constant, target, ones)


def _feature(
    all_axes: tuple[tuple[int, ...], ...], x: Tensor, coefficients: Tensor, mean: Tensor, projection: Tensor
) -> Tensor:
    """Return what an expression makes of bumps, (..., m); coefficients (..., c) are those of its derivatives."""
    v = torch.einsum("kpd,...kd->...kp", projection, x.unsqueeze(-2) - mean)
    slope = torch.einsum("kpd,...kp->...kd", projection, v)
    total = torch.zeros_like(slope[..., 0])
    for axes, c in zip(all_axes, coefficients.unsqueeze(-2).unbind(-1)):
        if len(axes) == 0:
            total = total + c
        elif len(axes) == 1:
            total = total - c * slope[..., axes[0]]
        else:
            i, j = axes
            gram = (projection[..., i] * projection[..., j]).sum(-1)
            total = total + c * (slope[..., i] * slope[..., j] - gram)
    return total * torch.exp(-0.5 * v.square().sum(-1))
