"""How wide bumps should be for a fit that solves for their weights, by the error on rows that are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gmlayers._arrays import Array
from gmlayers.nn import GMNM
from gmlayers.solve._checks import check_positive
from gmlayers.solve._memory import check_memory
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.modules import assign, check_trained, data_for, warn_of_range
from gmlayers.solve.engine.results import Widened
from gmlayers.solve.engine.separable import Separable

FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""These factors are tried if none are given."""

COLUMNS = 3
"""At least this many matrices, of rows and bumps times bumps, are held at once for a factor."""

FREE = 1e-10
"""The error of a row that is left out is taken for rounding if the other rows decide all but this share of it."""


@solver(weight="row_weight")
def widen(
    module: GMNM,
    x: Tensor | Array,
    y: Tensor | Array,
    *,
    row_weight: Tensor | Array | None = None,
    factors: Sequence[float] = FACTORS,
    regularisation: float = 1e-8,
) -> Widened:
    r"""Make all bumps of a module wider by the factor that is best for data, and fit its weights.

    Bumps that just overlap, as modules have them at first, are good to train by gradients. With weights that are solved
    for, wide ones are better by orders of magnitude, up to where they are nearly dependent. What is best is not known
    before, but it is found with no rows put aside: left out and predicted from all others, row i has the error

    .. math:: e_i = \frac{r_i}{1 - h_i}

    where r is what the fit to all rows leaves, and h the diagonal of the matrix that takes targets to fitted values
    (Allen, *The relationship between variable selection and data augmentation*, 1974). Each factor takes one QR
    factorisation of (rows + bumps) × bumps numbers, in float64, whatever the dtype of the module.

    Args:
        module: its form is divided by the factor, its ``weight`` and its ``bias`` are written, its ``mean`` stays.
        x: inputs, (n, in_features): a tensor of any dtype, an array of numpy or pandas, or a list of rows.
        y: targets, (n, out_features), or (n,) for one output.
        row_weight: ω, how much each row counts, (n,), not negative; all alike if not given.
        factors: the factors that are tried, each greater than 0; below 1 bumps get narrower.
        regularisation: λ, as for :func:`variable_projection`, but greater than 0: wide bumps are nearly dependent, and
            λ is what decides between the weights that are then equally good. It is small enough not to bias the fit.

    Returns:
        The factor that was taken, and the errors of all that were tried.

    Raises:
        ValueError: if shapes are not those of the module, numbers are not finite, options are out of range, or no
            factor has a finite error, as with more bumps than rows can decide; if what is written is frozen
            (``requires_grad`` is False).
        TypeError: if the module is of another kind, data are no real numbers, or options are no numbers.
        RuntimeError: if the module is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: if inputs are out of the range of the module.
        FutureWarning: if the row weights are given by their old name, ``weight``.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
        >>> module = GMNM(1, 1, 20, domain=(-1, 1), dtype=torch.float64)
        >>> found = solve.widen(module, x, torch.sin(6 * x))
        >>> found.factor, bool(found.errors[1] < found.errors[0] / 10)
        (2.0, True)
    """
    x, y, row_weight = data_for("widen", module, x, y, row_weight)
    check_trained("widen", module, "weight", "bias", *module.form_parameters())
    warn_of_range("widen", module, x, row_weight)
    if not isinstance(factors, Sequence):
        raise TypeError(f"widen: factors must be a sequence of numbers, like {FACTORS}, got {factors!r}")
    for factor in factors:
        check_positive("widen: a factor", factor)
    if not factors:
        raise ValueError(f"widen: expected at least one factor, like {FACTORS}, got none")
    check_positive("widen: regularisation", regularisation)
    problem = Separable.of_data(module, x, y, row_weight, regularisation, 0.0)
    numbers = 8.0 * (len(x) + module.num_components) * COLUMNS
    check_memory("widen", "bumps", module.num_components, lambda m: m * numbers, x.device)
    tried = [_left_out(problem, factor) for factor in factors]
    errors = problem.unit * torch.tensor([error for error, _ in tried], dtype=torch.float64)
    best = int(errors.argmin())
    if not math.isfinite(errors[best]):
        raise ValueError(
            f"widen: with {module.num_components} bumps and {len(x)} rows no error on rows that are left out is "
            f"finite; give more rows, fewer bumps, or factors nearer to 1 than {list(factors)}"
        )
    assign(module, problem.unit * tried[best][1])  # first: it may refuse
    for parameter in module.form_parameters().values():
        parameter.div_(factors[best])
    return Widened(factors[best], errors)


def _left_out(problem: Separable, factor: float) -> tuple[float, Tensor]:
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
