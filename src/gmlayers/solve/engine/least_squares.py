r"""Linear least squares for rows that come in blocks, to the limit of double precision.

Of the rows nothing is kept but the triangle of a QR factorisation, to which every block is stacked and factored again
(Golub, Plemmons and Sameh; "TSQR" in Demmel, Grigori, Hoemmen and Langou, 2012):

.. math:: \begin{pmatrix} R & c \\ A_{\rm block} & y_{\rm block} \end{pmatrix}
    = Q \begin{pmatrix} R' & c' \\ 0 & \rho' \end{pmatrix}.

It is as accurate as one factorisation of all rows, and unlike the normal equations it does not square the condition.
The small triangle, its columns scaled to norm 1, is then solved by its singular values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import got
from gmlayers._arrays import Array, column, numbers
from gmlayers._shown import shown
from gmlayers.solve._checks import (
    check_float32,
    check_not_negative,
    check_rank_tolerance,
    warn_of_weights,
)
from gmlayers.solve._memory import check_memory
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.results import LeastSquares
from gmlayers.solve.engine.units import unit_of, units_of_columns

BLOCK = 2**21
"""Rows are computed in blocks of about this many numbers, which bounds the memory that they take."""

SQUARES = 12
"""A solve needs at least this many matrices of columns times columns at once: rows that wait, factors, and copies."""

RANK_TOLERANCE = 1e-14
"""Singular values below this share of the largest one are taken for 0 by default; it is 45 units of rounding."""

STEPS_PER_DECADE = 64
"""Cross-validation chooses among this many regularisations for each power of ten."""

FREEDOM = 1e-9
"""Cross-validation does not consider a regularisation that leaves less than this share of the rows as freedom."""


class Rows(NamedTuple):
    """A block of equations, matrix · weight = target; any floating dtype, computed in float64."""

    matrix: Tensor
    """The matrix, (rows, columns)."""
    target: Tensor
    """The right-hand side, (rows, out)."""
    weight: Tensor | None = None
    """The row weights: how much the square of each residual counts, (rows,), not negative; None for 1."""

    def __repr__(self) -> str:
        """Return the sizes, not the numbers."""
        return shown("Rows", self._asdict())


@solver()
def least_squares(
    blocks: Iterable[Rows | tuple[Tensor | Array, ...]],
    *,
    rank_tolerance: float = RANK_TOLERANCE,
    regularisation: float | Literal["gcv"] = 0.0,
    float32_tolerance: float | None = None,
) -> LeastSquares:
    r"""Return the best weights for equations that come in blocks of rows.

    .. math:: \min_w\; \sum_i \omega_i \|a_i^\top w - y_i\|^2 + \lambda^2 \sum_j \|a_j\|^2\, w_j^2

    where the columns :math:`a_j` are those of the weighted rows, and :math:`\omega` are the row weights. All is
    measured in columns scaled to norm 1, so that in other units of a column, or of the target, the solution is the same
    in those units, also where rank or λ decide. Where several weights are best, those of the smallest norm in the
    scaled columns are taken.

    The memory needed is a block and about twenty times columns² numbers, however many rows there are.

    Args:
        blocks: any iterable of :class:`Rows` or of tuples like it, which is read once: ``[(A, y)]`` for one matrix, or
            a generator of the rows of an equation and of its conditions. The blocks may be of any sizes. Arrays of
            numpy and pandas and lists of numbers are taken for tensors, and a target (n,) is one column.
        rank_tolerance: singular values below this times the largest one are taken for 0. The default is somewhat above
            the rounding of the factorisations: below it weights grow and the fit gains nothing.
        regularisation: λ, in terms of columns of norm 1. It is 0 by default, because singular values that are left out
            already keep the weights finite. ``"gcv"`` takes the λ of the least generalised cross-validation (Golub,
            Heath and Wahba, 1979), :math:`n\,\mathrm{RSS}(\lambda) / (n - \mathrm{tr} H(\lambda))^2`, among 0 and 64
            for each decade; there is one λ for all outputs.
        float32_tolerance: warn if max \|w\| · 1.2e-7 is larger: what a sum of bumps, which are at most 1, may lose in
            float32. None or infinity for no warning.

    Returns:
        The weights, on the device of the rows, with what is to be known about them.

    Raises:
        MemoryError: if there is not enough; it says what was needed, and how many columns would fit.
        ValueError: if there are no rows, if the shapes of blocks do not fit, if numbers are not finite or too
            large for their weights, if row weights or options are negative or out of range, or the regularisation is
            unknown.
        TypeError: if blocks are not tuples, or not of real numbers.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> t = torch.linspace(0, 1, 50, dtype=torch.float64)
        >>> line = solve.least_squares([(torch.stack([t, torch.ones_like(t)], 1), 3 * t[:, None] + 1)])
        >>> line.weight.flatten().round(decimals=6).tolist(), line.rank
        ([3.0, 1.0], 2)
    """
    check_rank_tolerance("least_squares", rank_tolerance)
    check_float32("least_squares", float32_tolerance)
    if isinstance(regularisation, str) and regularisation != "gcv":
        raise ValueError(f"least_squares: regularisation must be a number or 'gcv', got {regularisation!r}")
    if not isinstance(regularisation, str):
        check_not_negative("least_squares: regularisation", regularisation)
    if not isinstance(blocks, Iterable) or isinstance(blocks, str | type):
        raise TypeError(f"least_squares: blocks must be tuples in a list or the like, got {got(blocks)}")
    triangle = Triangle()
    for i, block in enumerate(blocks):
        rows = _checked(block, i, triangle)
        if not triangle.columns:
            check_memory("least_squares", "columns (bumps)", rows.matrix.shape[1], _needed, rows.matrix.device)
        triangle.add(rows)
    R, c, left = triangle.parts()
    unit = unit_of(c, left)
    c, rest = c / unit, (left / unit).square().sum(0)
    units = units_of_columns(R)
    R = R / units

    norm = torch.linalg.vector_norm(R, dim=0)
    if not bool(norm.isfinite().all() and c.isfinite().all() and rest.isfinite().all()):
        raise ValueError("least_squares: the numbers times their weights are not finite in float64; scale the rows")
    scale = torch.where(norm > 0, norm, 1.0)
    U, sigma, Vh = torch.linalg.svd(R / scale, full_matrices=False)
    rank = numerical_rank(sigma, rank_tolerance)
    beta = U.mT @ c
    lam = regularisation if isinstance(regularisation, str) else float(regularisation)
    if isinstance(lam, str):
        lam = _cross_validated(sigma[:rank], beta[:rank], beta[rank:].square().sum() + rest.sum(), triangle.rows)
    used = sigma[:rank, None]
    weight = Vh[:rank].mT @ (used / (used.square() + lam**2) * beta[:rank]) / scale.unsqueeze(1)

    squares = rest + (R @ weight - c).square().sum(0)
    total = rest + c.square().sum(0)
    lost = 2.0**-24 * ((norm.unsqueeze(1) * weight).square().sum(0) / triangle.mass).sqrt()
    weight = unit * (weight / units.unsqueeze(1))
    max_weight = float(weight.abs().amax())
    warn_of_weights("least_squares", max_weight, float32_tolerance)
    return LeastSquares(
        weight,
        unit * (squares / triangle.mass).sqrt(),
        torch.where(total > 0, squares / torch.where(total > 0, total, 1.0), 0.0).sqrt(),
        triangle.rows,
        rank,
        condition_number(sigma, R.shape[1]),
        max_weight,
        float(lam),
        unit * lost,
    )


def _needed(columns: int) -> float:
    """Return the bytes that are needed beside the block itself, rather too few than too many."""
    return 8.0 * SQUARES * columns**2


def numerical_rank(sigma: Tensor, rank_tolerance: float) -> int:
    """Return how many singular values, in descending order, are not taken for 0."""
    return int((sigma > rank_tolerance * sigma[0]).sum())


def condition_number(sigma: Tensor, columns: int) -> float:
    """Return the largest over the smallest singular value of a matrix with so many columns."""
    smallest = float(sigma[-1]) if len(sigma) == columns else 0.0
    return float(sigma[0]) / smallest if smallest > 0 else math.inf


class Triangle:
    """The triangle of [A | y] of all rows so far, and a buffer of rows that are not in it yet."""

    def __init__(self) -> None:
        self.columns = self.outputs = 0
        self.rows = 0
        self.mass = 0.0
        self._buffer: list[Tensor] = []

    def add(self, block: Rows) -> None:
        """Take rows in; their shapes fit."""
        matrix, target, weight = block
        self.columns, self.outputs = matrix.shape[1], target.shape[1]
        whole = torch.cat([matrix.double(), target.double()], 1)
        if weight is None:
            self.rows += len(whole)
            self.mass += len(whole)
        else:
            self.rows += int((weight > 0).sum())
            self.mass += float(weight.double().sum())
            whole *= weight.double().sqrt().unsqueeze(1)
        for piece in whole.split(self._capacity):
            self._buffer.append(piece)
            if sum(map(len, self._buffer)) > self._capacity:
                self._factor()

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return R (k, columns), c = Qᵀy (k, out), k ≤ columns, and what no weights reach, (..., out)."""
        if self.rows == 0:
            raise ValueError("least_squares: there are no rows, or all have weight 0")
        self._factor()
        (whole,) = self._buffer
        R, y = whole.split([self.columns, self.outputs], 1)
        k = min(self.columns, len(whole))
        return R[:k], y[:k], y[k:]

    @property
    def _capacity(self) -> int:
        """Rows of the buffer: with four times the columns, restacking the triangle costs a quarter."""
        return max(4 * (self.columns + self.outputs), 4096)

    def _factor(self) -> None:
        self._buffer = [torch.linalg.qr(torch.cat(self._buffer), mode="r")[1]]


def _cross_validated(sigma: Tensor, beta: Tensor, rest: Tensor, rows: int) -> float:
    """Return the λ of least generalised cross-validation, given the singular values, Uᵀy, and what is out of reach."""
    if not len(sigma):
        return 0.0
    low, high = float(sigma[-1].log10()) - 1, float(sigma[0].log10()) + 1
    steps = math.ceil((high - low) * STEPS_PER_DECADE) + 1
    lam = torch.cat([sigma.new_zeros(1), torch.logspace(low, high, steps, dtype=sigma.dtype, device=sigma.device)])
    kept = sigma.square() / (sigma.square() + lam.square().unsqueeze(1))  # the eigenvalues of the hat matrix
    left = (1 - kept).square() @ beta.square().sum(1) + rest
    freedom = rows - kept.sum(1)
    score = torch.where(freedom > FREEDOM * rows, rows * left / freedom.square(), math.inf)
    return float(lam[score.argmin()])


def _checked(block: object, i: int, triangle: Triangle) -> Rows:
    """Return the block as rows, or say what is wrong with block number i."""
    if not isinstance(block, tuple) or not 2 <= len(block) <= 3:
        raise TypeError(
            f"least_squares: block {i} must be a tuple (matrix, target) or (matrix, target, weight), got "
            f"{got(block)}; give [(A, y)] for one matrix A"
        )
    taken = {
        name: numbers(f"least_squares: the {name} of block {i}", value)
        for name, value in zip(Rows._fields, block)
        if value is not None or name != "weight"
    }
    rows = Rows(taken["matrix"], column(taken["target"]), taken.get("weight"))
    matrix, target, weight = rows
    if len(devices := {value.device for value in taken.values()}) > 1:
        raise ValueError(f"least_squares: block {i} must be on one device, got its parts on {devices}")
    shapes = [tuple(t.shape) for t in (matrix, target) if t is not None]
    if not (matrix.ndim == target.ndim == 2 and len(matrix) == len(target) and matrix.shape[1] and target.shape[1]):
        raise ValueError(
            f"least_squares: block {i} must be a matrix (n, columns) with a target (n, out), got {shapes}; there must "
            f"be a column and an output"
        )
    if triangle.columns and (triangle.columns, triangle.outputs) != (matrix.shape[1], target.shape[1]):
        raise ValueError(
            f"least_squares: all blocks must have {triangle.columns} columns and {triangle.outputs} outputs as the "
            f"first has, block {i} is {shapes}"
        )
    if weight is not None and (weight.shape != matrix.shape[:1] or bool((weight < 0).any())):
        least = f" with {float(weight.min()):.3g} in it" if bool((weight < 0).any()) else ""
        raise ValueError(
            f"least_squares: the weight of block {i} must be ({len(matrix)},) and not negative, got "
            f"{tuple(weight.shape)}{least}"
        )
    for name, value in rows._asdict().items():
        if value is not None and not bool(value.isfinite().all()):
            raise ValueError(
                f"least_squares: the {name} of block {i} has numbers that are not finite; leave those rows out"
            )
    return rows
