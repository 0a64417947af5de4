"""A few bumps that solve an equation: their shapes are trained, and their weights are always the best ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from gmlayers._names import positive
from gmlayers.nn import GMNM
from gmlayers.solve._checks import check_not_negative, check_positive, warn_of_float32
from gmlayers.solve._renamed import solver
from gmlayers.solve.domains import Domain, Points
from gmlayers.solve.domains.wrapped import Wrapped
from gmlayers.solve.engine.collocation import Collocation
from gmlayers.solve.engine.history import Iteration
from gmlayers.solve.engine.least_squares import RANK_TOLERANCE
from gmlayers.solve.engine.levenberg_marquardt import Limits
from gmlayers.solve.engine.modules import Sum, answers, check_module, check_trained, float32_allowed, warn_of_range
from gmlayers.solve.engine.results import VariableProjection
from gmlayers.solve.engine.row_groups import RowGroup
from gmlayers.solve.engine.separable import Separable
from gmlayers.solve.engine.units import root_mean_square
from gmlayers.solve.equations import Problem

SLACK = 1e-9
"""Points may be out of the range of the module by this share of the domain: those on its edge are rounded."""

EDGE = 4.0
"""A part of the boundary has this many points, times the number of those inside to the power (d - 1) / d."""


@solver(weight="importance", tolerance="least_reduction")
def collocate(
    module: GMNM,
    problem: Problem,
    *,
    points: int = 2000,
    importance: Mapping[str, float] | None = None,
    iterations: int = 100,
    least_reduction: float = 1e-6,
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
    function. The method is that of :func:`~gmlayers.solve.variable_projection`, in float64 on the CPU.

    Args:
        module: the start, with one output and a domain that covers that of the problem; its weights do not matter. All
            parameters are written.
        problem: the equation and its conditions.
        points: the number of points inside, at least 1; the boundary has four times its power (d - 1) / d.
        importance: ω, how much the mean square of what is left of each counts, by name: ``"equation"``, and the parts
            of the conditions, ``"initial (1)"`` and so on where there are several. If it is not given, it is the
            reciprocal of the mean square of the rows at the start, and for conditions a hundred times as much.
        iterations: the largest number of iterations, as for :func:`~gmlayers.solve.variable_projection`.
        least_reduction: the run ends when a step reduces the sum of squares by less than this share, at least 0.
        regularisation: λ, at least 0. It is fixed: the targets of equations are no measure of what a small residual is,
            so there is nothing that it could follow, as it does for :func:`~gmlayers.solve.variable_projection`.
        rank_tolerance: singular values of the columns below this times the largest are taken for 0.
        max_seconds: no iteration is begun that is expected to end later; of the first that is not known.
        float32_tolerance: as for :func:`~gmlayers.solve.variable_projection`, by default in terms of what the module
            answers.
        callback: this is called with the start and every iteration, as by
            :func:`~gmlayers.solve.variable_projection`.

    Returns:
        Why the run ended, and the root of the weighted sum of mean squares after each iteration. It is that at the
        points; whether they are enough, other ones tell.

    Raises:
        ValueError: if the module is of other sizes or not on the CPU, an importance or another option is out of range,
            a function of the problem has values that are not finite, or a parameter is frozen (``requires_grad`` is
            False): all are written.
        RuntimeError: if a parameter is parametrized.
        TypeError: if the problem is none, the module of another kind, or options are no numbers.

    Warns:
        UserWarning: if the problem is out of the range of the module, and if float32 loses more than is allowed.
        FutureWarning: if an option is given by its old name: ``weight`` for ``importance``, ``tolerance`` for
            ``least_reduction``.

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
    check_trained("collocate", module)
    if module.in_features != problem.domain.dim or module.out_features != 1 or module.mean.device.type != "cpu":
        raise ValueError(
            f"collocate: expected a module with {problem.domain.dim} inputs and 1 output on the CPU, got "
            f"{module.in_features} and {module.out_features} on {module.mean.device}"
        )
    points = positive("collocate: points", points)
    check_not_negative("collocate: regularisation", regularisation)
    limits = Limits.of(
        "collocate", iterations, least_reduction, rank_tolerance, max_seconds, float32_tolerance, callback
    )
    with torch.device("cpu"):  # whatever the default is
        domain = Wrapped(problem.domain)
        collocation = Collocation.of(problem, lambda part: [(_placed(domain, points, part), 1.0)])
        _check_importance(list(collocation.by_name()), importance)
        groups = weighted(collocation, module, importance)
        x, middle = torch.cat([group.x for group in groups]), (domain.low + domain.high) / 2
        warn_of_range("collocate", module, x.lerp(middle, SLACK))
        separable = Separable.of(module, groups, 1.0, regularisation, rank_tolerance)
        result = separable.descend("collocate", limits)
        size = float(root_mean_square(answers(module, x, Sum.of(module)).flatten()))
    allowed = float32_allowed(module, size, float32_tolerance)
    warn_of_float32("collocate", "the module", result.max_weight, float(result.float32_error), allowed)
    return result


def _placed(domain: Domain, points: int, part: str | None) -> Points:
    """Return the points inside, or of a part of the boundary."""
    if part is None:
        return Points(domain.interior(points))
    return domain.boundary(math.ceil(EDGE * points ** ((domain.dim - 1) / domain.dim)), part)


def _check_importance(names: Sequence[str], importance: Mapping[str, float] | None) -> None:
    if importance is None:
        return
    if not isinstance(importance, Mapping) or set(importance) != set(names):
        raise ValueError(
            f"collocate: expected the importance by name, of {', '.join(map(repr, names))}, got {importance!r}"
        )
    for name, value in importance.items():
        check_positive(f"collocate: the importance of {name!r}", value)


def weighted(collocation: Collocation, module: GMNM, importance: Mapping[str, float] | None) -> list[RowGroup]:
    """Return the rows of every block, which count together what is given, or what balances them at the start."""
    found = []
    for block in collocation.blocks:
        group = RowGroup.of_block(block)
        if importance is None:
            counts, unit = block.weight(float(group.of_bumps(module).square().sum(1).mean()) or 1.0), 1.0
        else:
            counts, unit = importance[block.name], block.unit  # what is given is meant as the problem is written
        root = unit * math.sqrt(counts / len(block.target))
        found.append(group._replace(root=torch.full_like(group.constant, root)))
    return found
