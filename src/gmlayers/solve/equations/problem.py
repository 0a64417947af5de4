"""A problem: an equation in a domain with its conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmlayers._arguments import got
from gmlayers._arrays import Array, numbers
from gmlayers.nn import GMNM
from gmlayers.solve.domains import Domain, Points
from gmlayers.solve.equations.expression import Equation, Expression
from gmlayers.solve.equations.rows import apply, values
from gmlayers.solve.equations.unknowns import NO_SYSTEMS

EQUATION = "equation"
"""The residual of the equation has this name; conditions are named by their part of the boundary."""

BLOCK = 4096
"""What is left of an equation is computed for this many points at a time."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A linear differential equation with its conditions.

    Args:
        domain: the domain in which the equation holds.
        equation: an equation between an expression in the unknown and a right-hand side.
        conditions: the conditions by the part of the boundary on which they hold, one or several for each.

    Raises:
        ValueError: if the equation or a condition does not have the unknown in it, if the unknown does not have as many
            coordinates as the domain, if a condition is in another unknown than the equation, or if the domain does not
            have a part.
        TypeError: if something is no equation, or no domain.

    Example:
        >>> from gmlayers import solve
        >>> u = solve.unknown(2)
        >>> plate = solve.Problem(solve.Ball((0, 0), 1), solve.laplacian(u) == -4, {"boundary": u == 0})
        >>> bool((solve.solve(plate).u(plate.domain.interior(10)) > 0).all())
        True
    """

    domain: Domain
    equation: Equation
    conditions: Mapping[str, Equation | Sequence[Equation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.domain, Domain):
            raise TypeError(
                f"Problem: the domain must be one of gmlayers.solve, like Box(low, high), got "
                f"{type(self.domain).__name__}"
            )
        if not isinstance(self.conditions, Mapping):
            raise TypeError(
                f"Problem: conditions must be given by the part of the boundary, like {{'boundary': u == 0}}, got "
                f"{type(self.conditions).__name__}"
            )
        unknown_parts = set(self.conditions) - set(self.domain.parts)
        if unknown_parts:
            raise ValueError(
                f"Problem: the domain has no part {sorted(unknown_parts)[0]!r}; there are: "
                f"{', '.join(self.domain.parts)}"
            )
        for name, _, equation in self.asked():
            if not isinstance(equation, Equation):
                raise TypeError(
                    f"Problem: the {name} must be an equation between an expression in the unknown and a right-hand "
                    f"side, like laplacian(u) == 0, got {type(equation).__name__}"
                )
            if equation.expression.dim != self.domain.dim:
                raise ValueError(
                    f"Problem: the unknown of the {name} has {equation.expression.dim} coordinates, the domain "
                    f"{self.domain.dim}"
                )
            if equation.expression.unknown is not self.equation.expression.unknown:
                raise ValueError(
                    f"Problem: the equation is one of {self.equation.expression.unknown!r}, and the {name} of another "
                    f"unknown, {equation.expression.unknown!r}; {NO_SYSTEMS}"
                )
            if _vanishes(equation.expression):
                raise ValueError(f"Problem: the {name} does not have the unknown in it")

    @property
    def unknown(self) -> Expression:
        """The unknown of the equation, to write other conditions with."""
        return Expression.of(self.equation.expression.unknown)

    @torch.no_grad()
    def residual(self, u: GMNM, x: Tensor | Array) -> Tensor:
        """Return what a module leaves of the equation at points inside: left-hand side less right-hand side, (n,).

        Args:
            u: a module of one output, such as the one of a solution.
            x: points, (n, d).

        Raises:
            ValueError: if the points or the module are of a wrong shape, or a function of the equation is not finite.
            TypeError: if u is no module, or x are no points.

        Example:
            >>> from gmlayers import solve
            >>> problem = solve.problems.poisson_a().problem
            >>> answer = solve.solve(problem)
            >>> bool((problem.residual(answer.u, problem.domain.interior(100)).abs() < 1e-8).all())
            True
        """
        if not isinstance(u, GMNM):
            raise TypeError(f"Problem.residual: u must be a GMNM, such as answer.u, got {got(u)}")
        points = numbers("Problem.residual: x", x).double()
        if points.ndim != 2 or (points.shape[1], u.in_features, u.out_features) != (self.domain.dim,) * 2 + (1,):
            raise ValueError(
                f"Problem.residual: expected points x (n, {self.domain.dim}) and a module u of {self.domain.dim} "
                f"features and one output, got x {tuple(points.shape)} and u of {u.in_features} and {u.out_features}"
            )
        return torch.cat([self._residual(u, part) for part in points.split(BLOCK)])

    def _residual(self, u: GMNM, x: Tensor) -> Tensor:
        def derivative(axes: tuple[int, ...]) -> Tensor:
            found = (u, u.gradient, u.hessian)[len(axes)](x.to(u.mean))
            return found[(slice(None), slice(None), *axes)].double()

        points = Points(x)
        left = apply(self.equation.expression, points, derivative, f"the {EQUATION}")
        return (left - values(self.equation.right, points, f"the right-hand side of the {EQUATION}")).squeeze(1)

    def asked(self) -> Iterator[tuple[str, str | None, Equation]]:
        """Yield name, part of the boundary and equation of all that is asked for; the equation inside is first."""
        yield EQUATION, None, self.equation
        for part, given in self.conditions.items():
            several = [given] if isinstance(given, Equation) or not isinstance(given, Sequence) else list(given)
            for i, condition in enumerate(several):
                yield f"{part}" if len(several) == 1 else f"{part} ({i + 1})", part, condition


def _vanishes(expression: Expression) -> bool:
    """Return whether the terms cancel, as far as their coefficients are numbers."""
    numbers: dict[tuple[object, ...], float] = {}
    for term in expression.terms:
        key = (term.axes, term.functions)
        numbers[key] = numbers.get(key, 0.0) + term.number
    return not any(numbers.values())
