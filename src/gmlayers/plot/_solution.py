"""The solution of an equation, and what is left of the equation beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gmlayers.plot._module import Plane, plane_through
from gmlayers.plot._style import COLOURS, field, grid, names_of, new_axes
from gmlayers.solve import Domain, Problem, Solution, SpaceTime, residual

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 801
"""A function of one variable is drawn from this many points."""

LEAST = 1e-17
"""A residual below this is drawn as if it were this large."""


def solution(
    answer: Solution,
    problem: Problem | None = None,
    *,
    along: Sequence[int] = (0, 1),
    at: Sequence[float] | Tensor | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> tuple[Axes, ...]:
    """Draw the solution of an equation, and beside it what is left of the equation, in modulus.

    One variable gives a curve, and two a field of colours, in which time is upwards. Of more variables a plane is
    drawn, through the middle of the domain or through ``at``. See :func:`animation` for films.

    Args:
        answer: what :func:`~gmlayers.solve.solve` returned.
        problem: the problem; an answer knows its own, unless it has been pickled.
        along: the two coordinates that vary, if there are more than one; time is the last one.
        at: a point, for the other coordinates; by default the middle of the domain.
        ax: a pair of axes to draw in, or one, for the solution alone; by default a pair in a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the answer does not know its problem, or there are no such coordinates.
        TypeError: if it is no solution.

    Example:
        >>> from gmlayers import plot, solve
        >>> answer = solve.solve(solve.problems.poisson_a().problem, 1e-4)
        >>> left, right = plot.solution(answer)
        >>> right.get_title()
        'log₁₀ |residual|'
    """
    problem = problem_of("solution", answer, problem)
    domain = problem.domain
    plane = plane_through("solution", (domain.low + domain.high) / 2, domain.low, domain.high, along, at)  # type: ignore[arg-type]
    axes = tuple(new_axes(2)) if ax is None else tuple(ax) if isinstance(ax, Sequence) else (ax,)
    x = _points(plane)
    value = inside_only(domain, x, answer.u(x).squeeze(1))
    _draw(axes[0], plane, domain, value, curve="u")
    axes[0].set_title(f"u, {answer.u.num_components} bumps")
    if len(axes) > 1:
        left = residual(problem, answer.u, x).abs().clamp(min=LEAST).log10()
        _draw(axes[1], plane, domain, inside_only(domain, x, left), curve="residual")
        axes[1].set_title("log₁₀ |residual|")
    return axes


def problem_of(name: str, answer: Solution, problem: Problem | None) -> Problem:
    """Return the problem that was solved."""
    if not isinstance(answer, Solution):
        raise TypeError(f"plot.{name}: expected what solve.solve returned, got {type(answer).__name__}")
    problem = answer.problem if problem is None else problem
    if problem is None:
        raise ValueError(f"plot.{name}: an answer that has been pickled has lost its problem; pass problem=")
    return problem


def inside_only(domain: Domain, x: Tensor, values: Tensor) -> Tensor:
    """Return the values inside, and NaN outside, which is not drawn."""
    return torch.where(domain.inside(x), values, math.nan)


def _points(plane: Plane) -> Tensor:
    if len(plane.along) == 1:
        return plane.points(torch.linspace(plane.low[0], plane.high[0], POINTS, dtype=torch.float64).unsqueeze(1))
    return plane.points(grid(plane.low, plane.high))


def _draw(ax: Axes, plane: Plane, domain: Domain, values: Tensor, *, curve: str) -> None:
    names = names_of(domain.dim, time=isinstance(domain, SpaceTime))
    ax.set_xlabel(names[plane.along[0]])
    if len(plane.along) == 1:
        x = torch.linspace(plane.low[0], plane.high[0], POINTS, dtype=torch.float64)
        ax.plot(x.numpy(), values.numpy(), color=COLOURS[0] if curve == "u" else COLOURS[2])
        return
    ax.set_ylabel(names[plane.along[1]])
    in_time = isinstance(domain, SpaceTime) and domain.dim - 1 in plane.along
    field(ax, values, plane.low, plane.high, equal=not in_time)
