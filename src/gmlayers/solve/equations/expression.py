r"""Linear differential equations, written as they are in mathematics.

An expression is a sum of derivatives of the unknown, up to the second, times coefficients,

.. math:: Lu(x) = \sum_\alpha c_\alpha(x)\, \partial^\alpha u(x), \qquad |\alpha| \le 2,

and for :math:`u = \sum_k w_k f_k` its value at a point is a row, :math:`(Lf_1, \dots, Lf_m)`, times the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from gmlayers._arguments import got, number_or_none, several
from gmlayers._names import brief_value, positive
from gmlayers.solve._checks import without_gradient
from gmlayers.solve.equations.unknowns import NO_SYSTEMS, Unknown

Function = Callable[[Tensor], Tensor]
"""A function takes points (n, d) and returns values (n,) or (n, 1)."""

Coefficient = float | Function
"""A coefficient, or a right-hand side, is a number or a function of the point.

Its gradient is not kept: a number that requires one is refused, and of what a function returns the values are taken.
"""


@dataclass(frozen=True)
class Normal:
    """An entry of the outward normal, as a coefficient."""

    axis: int


@dataclass(frozen=True)
class Term:
    """A derivative of the unknown times a number and functions; it has up to two axes, which are sorted."""

    axes: tuple[int, ...]
    number: float
    functions: tuple[Function | Normal, ...] = ()


@dataclass(frozen=True, eq=False)
class Expression:
    """A linear differential expression in the unknown: :func:`unknown` starts it, and arithmetic makes others of it.

    Expressions can be added, multiplied by numbers and by functions of the point, and set equal to a right-hand side by
    ``==``, which makes an :class:`Equation`.
    """

    __array_ufunc__ = None  # so that an array of numpy does not multiply its entries one by one

    unknown: Unknown
    """The one function whose derivatives the terms are."""
    terms: tuple[Term, ...]

    @classmethod
    def of(cls, unknown: Unknown) -> Expression:
        """Return the unknown itself as an expression."""
        return cls(unknown, (Term((), 1.0),))

    def __add__(self, other: Expression) -> Expression:
        if not isinstance(other, Expression):
            raise TypeError(
                f"Expression: only terms with the unknown can be added, got {other!r}; write what is given on the "
                f"other side of =="
            )
        if self.unknown is not other.unknown:
            raise ValueError(
                f"Expression: got terms of {self.unknown!r} and of another unknown, {other.unknown!r}; {NO_SYSTEMS}"
            )
        return Expression(self.unknown, self.terms + other.terms)

    def __radd__(self, other: float) -> Expression:
        return self if other == 0 else self + other  # type: ignore[operator]  (the 0 is where `sum` starts)

    def __rsub__(self, other: float) -> Expression:
        return -self + other  # type: ignore[operator]

    def __mul__(self, factor: Coefficient) -> Expression:
        if isinstance(factor, Expression):
            raise TypeError("Expression: a product of two terms with the unknown is not linear in it")
        if callable(factor):
            function = _hashable(factor)
            terms = (Term(t.axes, t.number, (*t.functions, function)) for t in self.terms)
        else:
            number = _number("a coefficient", factor)
            if not math.isfinite(number):
                raise ValueError(f"Expression: a coefficient must be finite, got {number}")
            terms = (Term(t.axes, t.number * number, t.functions) for t in self.terms)
        return Expression(self.unknown, tuple(terms))

    __rmul__ = __mul__

    def __truediv__(self, number: float) -> Expression:
        if callable(number) or isinstance(number, Expression):
            raise TypeError(
                f"Expression: it can be divided by numbers only, got {number!r}; multiply by a function 1/c"
            )
        divisor = _number("a divisor", number)
        if not (math.isfinite(divisor) and divisor):
            raise ValueError(f"Expression: a divisor must be finite and not 0, got {divisor}")
        return self * (1 / divisor)

    def __neg__(self) -> Expression:
        return -1.0 * self

    def __sub__(self, other: Expression) -> Expression:
        return self + -1.0 * other if isinstance(other, Expression) else self + other

    def __eq__(self, right: Expression | Coefficient) -> Equation:  # type: ignore[override]
        if isinstance(right, Expression):
            return Equation(self - right, 0.0)
        return Equation(self, right if callable(right) else _number("a right-hand side", right))

    __hash__ = None  # type: ignore[assignment]

    @property
    def space(self) -> int:
        """The number of coordinates of space; they come first."""
        return self.unknown.space

    @property
    def time(self) -> bool:
        """True if time is the last coordinate."""
        return self.unknown.time

    @property
    def dim(self) -> int:
        """The number of coordinates, time included."""
        return self.space + self.time

    def derivative(self, axis: int) -> Expression:
        """Return the derivative by one coordinate.

        Raises:
            ValueError: if a term has a function as its coefficient, or the derivative would be the third.
        """
        if any(t.functions for t in self.terms):
            raise ValueError(
                "Expression: a term whose coefficient is a function has no derivative here; apply the product rule "
                "and give the derivative of the function as a coefficient"
            )
        if any(len(t.axes) == 2 for t in self.terms):
            raise ValueError("Expression: derivatives go up to the second; this one would be the third")
        terms = tuple(Term(tuple(sorted((*t.axes, axis))), t.number) for t in self.terms)
        return Expression(self.unknown, terms)


@dataclass(frozen=True, eq=False)
class Equation:
    """An expression that is to be equal to a number or to a function of the point."""

    expression: Expression
    right: Coefficient

    def __bool__(self) -> bool:
        raise TypeError("Equation: an equation between expressions is neither true nor false")


def unknown(space: int, *, time: bool = False, name: str | None = None) -> Expression:
    """Return an unknown function of so many coordinates of space, and of time, which is then the last coordinate.

    Every call makes another unknown. The equation of a problem and its conditions are all of one: call this once, and
    write them with what it returned.

    Args:
        space: the number of coordinates of space, at least 1.
        time: whether the unknown depends on time, too.
        name: what messages call it.

    Raises:
        ValueError: if there are no coordinates.
        TypeError: if the number is not whole.

    Example:
        >>> from gmlayers import solve
        >>> u = solve.unknown(1, time=True)
        >>> heat = solve.dt(u) - 0.1 * solve.laplacian(u) == 0
    """
    return Expression.of(Unknown(positive("unknown: space", space), time, name))


def grad(u: Expression) -> tuple[Expression, ...]:
    """Return the first derivatives by the coordinates of space.

    Raises:
        ValueError: if a term has a function as its coefficient, or a derivative would be the third.
        TypeError: if u is no expression.

    Example:
        >>> from gmlayers import solve
        >>> u_x, u_y = solve.grad(solve.unknown(2))
    """
    _check_expression("grad", u)
    return tuple(u.derivative(i) for i in range(u.space))


def laplacian(u: Expression) -> Expression:
    r"""Return :math:`\Delta u`, the sum of the second derivatives by the coordinates of space.

    Raises:
        ValueError: if a term has a function as its coefficient, or a derivative would be the third.
        TypeError: if u is no expression.

    Example:
        >>> from gmlayers import solve
        >>> poisson = solve.laplacian(solve.unknown(2)) == 1
    """
    _check_expression("laplacian", u)
    first, *others = (u.derivative(i).derivative(i) for i in range(u.space))
    return sum(others, first)


def dt(u: Expression) -> Expression:
    """Return the derivative by time.

    Raises:
        ValueError: if the unknown does not depend on time, a term has a function as its coefficient, or the derivative
            would be the third.
        TypeError: if u is no expression.

    Example:
        >>> from gmlayers import solve
        >>> u = solve.unknown(1, time=True)
        >>> wave = solve.dt(solve.dt(u)) == solve.laplacian(u)
    """
    _check_expression("dt", u)
    if not u.time:
        raise ValueError("dt: the unknown does not depend on time; make it by unknown(..., time=True)")
    return u.derivative(u.space)


def normal_derivative(u: Expression) -> Expression:
    r"""Return :math:`\partial_n u`, the derivative along the outward normal in space; for conditions on a boundary.

    Raises:
        ValueError: if a term has a function as its coefficient, or a derivative would be the third.
        TypeError: if u is no expression.

    Example:
        >>> from gmlayers import solve
        >>> insulated = solve.normal_derivative(solve.unknown(2)) == 0
    """
    _check_expression("normal_derivative", u)
    parts = []
    for i, part in enumerate(grad(u)):
        parts.extend(Term(t.axes, t.number, (Normal(i),)) for t in part.terms)
    return Expression(u.unknown, tuple(parts))


def dot(factors: Sequence[Coefficient], terms: Sequence[Expression]) -> Expression:
    """Return the sum of the products: a velocity times a gradient.

    Args:
        factors: numbers, or functions of points (n, d) with values (n,) or (n, 1).
        terms: as many expressions in the unknown.

    Raises:
        ValueError: if there are not as many factors as terms, or a factor is not finite.
        TypeError: if a term is no expression, or a factor no coefficient.

    Example:
        >>> from gmlayers import solve
        >>> u = solve.unknown(2)
        >>> advection = solve.dot((1.0, lambda x: x[:, 0]), solve.grad(u)) == 0
    """
    several("dot: factors", factors, object, "numbers or functions of points, several in a tuple")
    terms = several("dot: terms", terms, Expression, "expressions in u = unknown(...), several in a tuple")
    if len(factors) != len(terms) or not terms:
        raise ValueError(f"dot: expected as many factors as terms, got {len(factors)} and {len(terms)}")
    first, *others = (term * factor for factor, term in zip(factors, terms))
    return sum(others, first)


def _check_expression(name: str, given: object) -> None:
    if not isinstance(given, Expression):
        raise TypeError(f"{name}: expected an expression in u = unknown(...), got {brief_value(given)}")


def _hashable(function: Function) -> Function:
    """Return the function, or what it does when called: that can always be hashed, by which function it is."""
    try:
        hash(function)
    except TypeError:
        return function.__call__
    return function


def _number(name: str, given: object) -> float:
    number = number_or_none(without_gradient(f"Expression: {name}", given))
    if number is None:
        raise TypeError(f"Expression: {name} must be a number or a function of points (n, d), got {got(given)}")
    return number
