"""How wide bumps should be for a fit that solves for their weights, by the error on rows that are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.nn import GMNM
from gmlayers.solve._fit import assign, check_data, warn_of_range
from gmlayers.solve._limits import check_positive
from gmlayers.solve._variable_projection import _Problem

FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)

FREE = 1e-10
"""Share of a row that the other rows do not decide, below which its error when left out is rounding."""


class Widened(NamedTuple):
    """What :func:`widen` tried."""

    factor: float
    """By which the bumps are wider now: the one of the least error."""
    errors: Tensor
    """For every factor the root mean square of the errors on rows that are left out, outputs summed; infinite where the
    others do not decide one, or the bumps are not finite."""


@torch.no_grad()
def widen(
    module: GMNM,
    x: Tensor,
    y: Tensor,
    *,
    weight: Tensor | None = None,
    factors: Sequence[float] = FACTORS,
    regularisation: float = 1e-8,
) -> Widened:
    r"""Make all bumps of a module wider by the factor that is best for data, and fit its weights.

    Bumps that just overlap, as modules have them at first, are good to train by gradients. With weights that are solved
    for, wide ones are better by orders of magnitude, up to where they are nearly dependent. What is best is not known
    before, but is found with no rows put aside: left out and predicted from all others, row i has the error

    .. math:: e_i = \frac{r_i}{1 - h_i}

    where r is what the fit to all rows leaves, and h the diagonal of the matrix that takes targets to fitted values
    (Allen, *The relationship between variable selection and data augmentation*, 1974). Each factor takes one QR
    factorisation of (rows + bumps) × bumps numbers, in float64, whatever the dtype of the module.

    Args:
        module: its form is divided by the factor, its ``weight`` and ``bias`` are written, its ``mean`` stays.
        x: inputs, (n, in_features), of any floating dtype.
        y: targets, (n, out_features).
        weight: how much each row counts, (n,), not negative.
        factors: that are tried; below 1 bumps get narrower.
        regularisation: λ, as for :func:`variable_projection`, but greater than 0.

    Returns:
        The factor, and the errors of all.

    Raises:
        ValueError: shapes that are not those of the module, numbers that are not finite, options out of range, and if
            no factor has a finite error, as with more bumps than rows can decide.
        TypeError: what is no module of this kind; data that are no tensors, or complex; options that are no numbers.
        RuntimeError: if the module is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: inputs out of the range of the module.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
        >>> module = GMNM(1, 1, 20, domain=(-1, 1), dtype=torch.float64)
        >>> found = solve.widen(module, x, torch.sin(6 * x))
        >>> found.factor, bool(found.errors[1] < found.errors[0] / 10)
        (2.0, True)
    """
    check_data("widen", module, x, y, weight)
    warn_of_range("widen", module, x, weight)
    if not isinstance(factors, Sequence):
        raise TypeError(f"widen: factors must be a sequence of numbers, like {FACTORS}, got {factors!r}")
    for factor in factors:
        check_positive("widen: a factor", factor)
    if not factors:
        raise ValueError(f"widen: expected at least one factor, like {FACTORS}, got none")
    check_positive("widen: regularisation", regularisation)
    problem = _Problem.of(module, x, y, weight, regularisation, 0.0)
    tried = [_left_out(problem, factor) for factor in factors]
    errors = torch.tensor([error for error, _ in tried], dtype=torch.float64)
    best = int(errors.argmin())
    if not math.isfinite(errors[best]):
        raise ValueError(
            f"widen: with {module.num_components} bumps and {len(x)} rows no error on rows that are left out is "
            f"finite; give more rows, fewer bumps, or factors nearer to 1 than {list(factors)}"
        )
    assign(module, tried[best][1])  # first: it may refuse
    for parameter in module.form_parameters().values():
        parameter.div_(factors[best])
    return Widened(factors[best], errors)


def _left_out(problem: _Problem, factor: float) -> tuple[float, Tensor]:
    """Return the error on rows that are left out, with bumps that much wider, and the weights."""
    form = {name: value.double() / factor for name, value in problem.module.form_parameters().items()}
    columns = problem.columns(problem.shapes({"mean": problem.module.mean, **form}))
    if not bool(columns.isfinite().all()):
        return math.inf, columns
    n, target = problem.rows, problem.target[: problem.rows]
    Q, R = torch.linalg.qr(columns)
    fitted = Q[:n].mT @ target
    free = 1 - Q[:n].square().sum(1, keepdim=True)
    errors = torch.where(free > FREE, (target - Q[:n] @ fitted) / free, math.inf)
    return float(errors.norm()) / math.sqrt(problem.mass), torch.linalg.solve_triangular(R, fitted, upper=True)
