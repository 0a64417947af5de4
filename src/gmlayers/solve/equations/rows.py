"""What an expression asks for at points: coefficients of derivatives, and values of right-hand sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import torch
from torch import Tensor

from gmlayers.solve.domains import Points
from gmlayers.solve.equations.expression import Coefficient, Expression, Normal, Term


def apply(expression: Expression, points: Points, derivative: Callable[[tuple[int, ...]], Tensor], name: str) -> Tensor:
    r"""Return :math:`\sum_\alpha c_\alpha\, \partial^\alpha u` at the points, for anything that has derivatives.

    Args:
        expression: the sum.
        points: where.
        derivative: gives that by the axes, (n, columns), for no axes the values.
        name: says in errors whose coefficients are wrong.
    """
    first, *others = (c * derivative(axes) for axes, c in coefficients(expression, points, name))
    return sum(others, first)


def coefficients(expression: Expression, points: Points, name: str) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield every derivative of the expression once, with its coefficient (n, 1) or (1, 1)."""
    ordered = sorted(expression.terms, key=lambda t: t.axes)
    for axes, terms in groupby(ordered, key=lambda t: t.axes):
        first, *others = (_coefficient(t, points, name) for t in terms)
        yield axes, sum(others, first)


def values(given: Coefficient, points: Points, name: str) -> Tensor:
    """Return a number or a function at points, (n, 1); name says in errors whose it is."""
    n = len(points.x)
    if not callable(given):
        found = points.x.new_full((n, 1), given)
    else:
        with torch.enable_grad():  # it may differentiate
            found = given(points.x.clone())  # whatever it does with them
        if not isinstance(found, Tensor) or found.shape not in ((n,), (n, 1)):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"solve: {name} must have values ({n},) or ({n}, 1) at {n} points, got {shape}")
        if found.is_complex():
            raise TypeError(f"solve: {name} must have real values, got {found.dtype}")
        found = found.detach().to(points.x).reshape(n, 1)
    wrong = ~found.isfinite().flatten()
    if bool(wrong.any()):
        raise ValueError(f"solve: {name} is not finite, first at x = {points.x[wrong][0].tolist()}")
    return found


def _coefficient(term: Term, points: Points, name: str) -> Tensor:
    """Return the coefficient at the points, (n, 1), or (1, 1) of a number."""
    found = points.x.new_full((1, 1), term.number)
    for function in term.functions:
        if isinstance(function, Normal):
            if points.normal is None:
                raise ValueError(f"solve: {name} needs normals, and its points have none")
            found = found * points.normal[:, function.axis : function.axis + 1]
        else:
            found = found * values(function, points, f"a coefficient of {name}")
    return found
