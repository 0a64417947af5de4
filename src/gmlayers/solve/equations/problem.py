"""A problem: an equation in a domain with its conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gmlayers.solve.domains import Domain
from gmlayers.solve.equations.expression import Equation, Expression
from gmlayers.solve.equations.unknowns import NO_SYSTEMS

EQUATION = "equation"
"""The residual of the equation has this name; conditions are named by their part of the boundary."""


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
