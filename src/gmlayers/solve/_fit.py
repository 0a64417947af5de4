"""Fits of Gaussian mixture modules that use their linearity in the output weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gmlayers import ops
from gmlayers._arrays import Array
from gmlayers.nn import GMNM
from gmlayers.solve._checks import check_float32, warn_of_weights
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.least_squares import BLOCK, RANK_TOLERANCE, Rows, least_squares
from gmlayers.solve.engine.modules import assign, check_trained, data_for, float32_allowed, warn_of_range
from gmlayers.solve.engine.results import LeastSquares
from gmlayers.solve.engine.units import unit_of


@solver(weight="row_weight")
def fit(
    module: GMNM,
    x: Tensor | Array,
    y: Tensor | Array,
    *,
    row_weight: Tensor | Array | None = None,
    rank_tolerance: float = RANK_TOLERANCE,
    regularisation: float | Literal["gcv"] = 0.0,
    float32_tolerance: float | None = None,
) -> LeastSquares:
    r"""Set the output weights of a module, and its bias, to the best ones for data; the bumps stay as they are.

    All is computed in float64, whatever the dtype of the module, in which the weights are then written. Training by
    gradients wants bumps that hardly overlap. A solve makes good use of wide ones, but their weights are large and
    cancel: ``max_weight`` and ``float32_error`` of the result say what a module in float32 loses.

    If there is a bias, targets are fitted as differences from their weighted mean, so that regularisation does not pull
    them towards 0.

    Args:
        module: its ``mean`` and its form are used, its ``weight`` and its ``bias`` are written.
        x: inputs, (n, in_features): a tensor of any dtype, an array of numpy or pandas, or a list of rows.
        y: targets, (n, out_features), or (n,) for one output.
        row_weight: ω, how much each row counts, (n,), not negative; all alike if not given.
        rank_tolerance: as for :func:`least_squares`.
        regularisation: λ, as for :func:`least_squares`. It is 0 by default because a fit of weights alone has one best
            answer without it; the methods that also train shapes need a λ that keeps bumps from drifting together.
        float32_tolerance: as for :func:`least_squares`; by default 10⁻³ of the root mean square of the targets for
            modules of less than float64, and infinity for others.

    Returns:
        The same as :func:`least_squares`. The ``weight`` is in float64 and has the bias as its last row; with a bias
        ``relative`` is in terms of the targets less their mean.

    Raises:
        ValueError: as for :func:`least_squares`, and if shapes or a device are not those of the module, or its dtype
            cannot hold the weights; if the weight or the bias is frozen (``requires_grad`` is False).
        TypeError: if the module is of another kind, data are no real numbers, or options are no numbers.
        RuntimeError: if the module is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: if inputs are out of the range of the module, and if float32 may lose more than is allowed.
        FutureWarning: if the row weights are given by their old name, ``weight``.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
        >>> module = GMNM(2, 1, 100, domain=(-1, 1), dtype=torch.float64)
        >>> with torch.no_grad():
        ...     wider = module.projection.div_(5)
        >>> result = solve.fit(module, x, x.prod(1, keepdim=True))
        >>> bool(result.relative < 1e-4)
        True
    """
    x, y, row_weight = data_for("fit", module, x, y, row_weight)
    check_trained("fit", module, "weight", "bias")
    warn_of_range("fit", module, x, row_weight)
    check_float32("fit", float32_tolerance)
    wide = y.double()
    unit = unit_of(wide)
    wide = wide / unit
    share = (
        torch.full_like(wide[:, 0], 1 / len(wide))
        if row_weight is None
        else row_weight.double() / row_weight.double().sum()
    )
    level = share @ wide if module.bias is not None else torch.zeros_like(wide[0])
    result = least_squares(
        _blocks(module, x, wide - level, row_weight), rank_tolerance=rank_tolerance, regularisation=regularisation
    )
    solution, lost = result.weight.clone(), result.float32_error
    if module.bias is not None:
        more = (solution[-1] + level).square() - solution[-1].square()
        lost = (lost.square() + 2.0**-48 * more).clamp(min=0).sqrt()
        solution[-1] += level
    solution = unit * solution
    assign(module, solution)
    largest = float(solution.abs().amax())
    size = unit * float((share @ wide.square()).mean().sqrt())
    warn_of_weights("fit", largest, float32_allowed(module, size, float32_tolerance))
    return result._replace(
        weight=solution, residual=unit * result.residual, max_weight=largest, float32_error=unit * lost
    )


def _blocks(module: GMNM, x: Tensor, y: Tensor, row_weight: Tensor | None) -> Iterator[Rows]:
    mean, projection = module.mean.double(), module.projection_matrix().double()
    counts = None if row_weight is None else row_weight.double()
    size = max(1, BLOCK // (module.num_components * projection.shape[1]))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        f = ops.bumps(*module.centred(x[part].double(), mean), projection)
        if module.bias is not None:
            f = torch.cat([f, f.new_ones(len(f), 1)], 1)
        yield Rows(f, y[part], None if counts is None else counts[part])
