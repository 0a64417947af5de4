"""What the solvers return, in one vocabulary.

===================  ================================================================================================
``reason``           Why a run ended.
``error``            How good the result is, as one number: what the run was to make small.
``residual``         What is left of the rows that were fitted.
``rank``             How many singular values of the columns were not taken for 0.
``condition``        The largest singular value over the smallest one; infinite if that is 0.
``max_weight``       The largest absolute output weight.
``regularisation``   λ, the regularisation of the weights.
``float32_error``    What the result loses when all its numbers, and the inputs, are rounded to float32.
``history``          All steps of a run, in order, as a :class:`History`.
===================  ================================================================================================

A result has those of them that it can know: a fit of weights alone takes no steps and has no reason to end. The word
*weight* by itself always means output weights, those of a sum of bumps; rows have a *row weight*, and equations and
conditions an *importance*.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

from torch import Tensor

from gmlayers._shown import brief, shown
from gmlayers.nn import GMNM
from gmlayers.solve.engine.history import History, Iteration
from gmlayers.solve.equations import Problem

GrowthReason = Literal["tolerance", "open", "limit", "bumps", "rows", "time", "interrupted"]
"""A set of bumps does not grow any more for one of these reasons."""

DescentReason = Literal["exact", "gradient", "reduction", "step", "iterations", "time", "interrupted"]
"""A descent takes no more steps for one of these reasons."""


class LeastSquares(NamedTuple):
    """A solution of linear equations in the sense of least squares, and how good it is. All numbers are float64."""

    weight: Tensor
    """The solution, (columns, out)."""
    residual: Tensor
    """Weighted root mean square of what is left, (out,), of the weights as they are, with their rounding."""
    relative: Tensor
    """Norm of what is left over the norm of the target, (out,); 0 where both are 0."""
    rows: int
    """Number of equations that count: those of row weight 0 do not."""
    rank: int
    """Number of singular values that were used, of the matrix with columns of norm 1."""
    condition: float
    """Largest over smallest singular value of that matrix, used or not; infinite if one is 0."""
    max_weight: float
    """Largest absolute weight."""
    regularisation: float
    """The λ that was given or chosen."""
    float32_error: Tensor
    r"""Root mean square of the change of matrix · weight when all is rounded to float32, (out,).

    It is estimated as :math:`2^{-24} (\sum_j \|a_j\|^2 w_j^2 / n)^{1/2}`: entries, weights and products are off by
    independent relative errors of 2⁻²⁴/√3 each."""

    @property
    def error(self) -> float:
        """The root of the sum over the outputs of the squares of ``residual``."""
        return float(self.residual.norm())

    def __repr__(self) -> str:
        """Return the numbers in a few lines, and of tensors the shape."""
        return shown("LeastSquares", self._asdict())


class Widened(NamedTuple):
    """What :func:`~gmlayers.solve.widen` has tried."""

    factor: float
    """The bumps are wider now by this factor, the one of the least error."""
    errors: Tensor
    """Root mean squares of the errors on rows that are left out, outputs summed, a number for every factor; infinite
    where the others do not decide one, or the bumps are not finite."""

    @property
    def error(self) -> float:
        """The error of the factor that was taken."""
        return float(self.errors.min())

    def __repr__(self) -> str:
        """Return the numbers in a few lines."""
        return shown("Widened", self._asdict())


class VariableProjection(NamedTuple):
    """How :func:`~gmlayers.solve.variable_projection` or :func:`~gmlayers.solve.collocate` went."""

    reason: DescentReason
    """Why it ended. ``"exact"``: nothing is left but rounding; ``"gradient"``: the gradient is 0; ``"reduction"``: the
    last step gained less than it had to; ``"step"``: no step is small enough to gain anything, as happens at the limit
    of double precision; ``"iterations"`` and ``"time"``: there were as many, or as much, as allowed;
    ``"interrupted"``: an exception has this result as its ``best_so_far``."""
    history: History[Iteration]
    """The start and every iteration. The residual falls, unless λ pays for the difference."""
    rank: int
    """The number of singular values of the rows of the bumps and the bias, their columns at norm 1, that are not
    taken for 0. What weights the rest leaves open, λ decides; without λ, ``rank_tolerance`` of the columns as they
    are."""
    condition: float
    """Largest over smallest singular value of these; infinite if one is 0."""
    max_weight: float
    """Largest absolute weight."""
    regularisation: float
    """The λ at the end."""
    float32_error: Tensor
    """What the module loses if all its numbers, and the inputs, are in float32: root mean square over the inputs,
    (out,), of what it answers beside what it would answer in float64. A module in float32 has lost it already, one in
    half precision more."""

    @property
    def error(self) -> float:
        """The residual of the last iteration."""
        return self.history[-1].residual

    def __repr__(self) -> str:
        """Return the numbers in a few lines, and of the history the number of iterations."""
        return shown("VariableProjection", self._asdict())


class Step(NamedTuple):
    """One set of bumps that :func:`~gmlayers.solve.solve` has solved for; errors are as in :class:`Solution`."""

    num_components: int
    """The number of bumps."""
    factor: float
    """Width of the bumps in terms of their spacing."""
    margin: float
    """The part of the bumps along an axis that is beyond the domain, on each side."""
    depth: int
    """How often boxes were split where the residual is: there are bumps narrower by that power of 2."""
    error: float
    """The largest of ``change`` and all ``misfits``."""
    change: float
    """The difference to the solution of the set before, relative to u."""
    misfits: dict[str, float]
    """The residuals in units of u."""
    residuals: dict[str, float]
    """The residuals in their own units."""
    seconds: float
    """The time since the start of the run."""

    def __repr__(self) -> str:
        """Return the numbers in a few lines."""
        return shown("Step", self._asdict())


@dataclass(frozen=True, repr=False)
class Solution:
    """What :func:`~gmlayers.solve.solve` has found, and how good it is.

    Names of residuals are ``"equation"``, and of conditions those of their parts, with (1), (2) where there are
    several. All are root mean squares on points that were held out.
    """

    u: GMNM
    """The solution, in float64: ``u(x)``, ``u.gradient(x)``, ``u.laplacian(x)``, ``u.hessian(x)``. Its domain is the
    bounding box; of points beyond it it warns, and :meth:`~gmlayers.GMNM.outside` tells which. Its parameters do not
    require gradients."""
    reason: GrowthReason
    """Why it ended. ``"tolerance"``: the error is below it; ``"limit"``: larger sets did not make it smaller, as at the
    limit of double precision, or where conditions contradict each other; ``"bumps"`` and ``"time"``: there were as many
    bumps, or there was as much time, as allowed. Unless it is the tolerance, the best set is returned. ``"open"``: it
    would be the tolerance, but u is not determined, and the error says nothing but that this u is one of many;
    ``"interrupted"``: an exception has this solution as its ``best_so_far``."""
    error: float
    """What is compared with the tolerance: the largest of ``change`` and all ``misfits``."""
    change: float
    """Difference to the solution of the set before, relative to u: about the error of that one, or if it is larger to
    that of a better set after it. Infinite for the first set."""
    misfits: dict[str, float]
    """Residuals in units of u: relative to it, and to how much larger the rows are than those of u alone. This is what
    they mean for u if they vary as fast as the bumps do."""
    residuals: dict[str, float]
    """Residuals in their own units."""
    rank: int
    """Number of singular values that were used, of the last least-squares problem."""
    condition: float
    """Largest over smallest of them, used or not; large by design."""
    max_weight: float
    """Largest absolute weight; those beyond the domain may be large and count for little."""
    float32_error: float
    """What u loses in float32, relatively: root mean square over points, themselves rounded to float32."""
    history: History[Step]
    """All sets, in order."""
    problem: Problem | None = field(default=None, repr=False)
    """The problem that was solved. It is None in an answer that was pickled or copied, as functions cannot be."""

    @property
    def converged(self) -> bool:
        """Whether the error is below the tolerance."""
        return self.reason == "tolerance"

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled: all but the problem."""
        return {**self.__dict__, "problem": None}

    __repr__ = brief


class Refinement(NamedTuple):
    """One set of bumps that :func:`~gmlayers.solve.approximate` has tried; errors are as in :class:`Approximation`."""

    num_components: int
    """The number of bumps."""
    trained: int
    """How many of them have shapes that were trained."""
    error: float
    """The error on rows that were held out."""
    residual: float
    """The error on the other rows."""
    seconds: float
    """The time since the start of the run."""

    def __repr__(self) -> str:
        """Return the numbers with four digits."""
        return shown("Refinement", self._asdict())


@dataclass(frozen=True, repr=False)
class Approximation:
    """What :func:`~gmlayers.solve.approximate` has found, and how good it is.

    Errors are root mean squares over rows and outputs, every output in units of the standard deviation of its targets.
    """

    f: GMNM
    """The function, in float64: ``f(x)``, ``f.gradient(x)``. Its domain is the box of the data, a tenth wider on each
    side; beyond that it warns, and between the two nothing is known. Its parameters do not require gradients."""
    reason: GrowthReason
    """Why it ended. ``"tolerance"``: the error is below it; ``"limit"``: larger sets did not make it smaller, as where
    the data have noise, or at the limit of double precision; ``"rows"``: more bumps would need more data; ``"bumps"``
    and ``"time"``: there were as many bumps, or there was as much time, as allowed. Unless it is the tolerance, the
    smallest set is returned whose error is within a fiftieth of the least. ``"interrupted"``: an exception has this
    approximation as its ``best_so_far``."""
    error: float
    """The error on the rows that were held out: what is compared with the tolerance. It includes their noise."""
    residual: float
    """The error on the other rows, to which the weights were fitted."""
    trained: int
    """How many of the bumps have shapes that were trained; they are the first ones."""
    rank: int
    """Number of singular values that were used for the weights."""
    condition: float
    """Largest over smallest of them, used or not."""
    max_weight: float
    """Largest absolute weight."""
    regularisation: float
    """The λ of the weights, by cross-validation; see :func:`~gmlayers.solve.least_squares`."""
    float32_error: float
    """What f loses in float32, in the units of the errors, at rows that are themselves rounded to float32."""
    held_out: Tensor
    """True for the rows that were held out; (n,) of bool."""
    history: History[Refinement]
    """All sets, in order."""

    @property
    def converged(self) -> bool:
        """Whether the error is below the tolerance."""
        return self.reason == "tolerance"

    def __repr__(self) -> str:
        """Return the numbers in a few lines, and of the history the number of sets."""
        return shown("Approximation", {field.name: getattr(self, field.name) for field in fields(self)})
