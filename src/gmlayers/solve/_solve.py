r"""Linear differential equations by least squares in Gaussian bumps.

Of :math:`u = \sum_k w_k f_k` the equation and its conditions are asked for at more points than there are bumps. Bumps
stand on a grid that goes beyond the domain, they overlap widely, and they are nearly dependent: what makes that a good
basis to the limit of double precision is least squares with more rows than columns, and small singular values left out
(Adcock and Huybrechs, *Frames and numerical approximation*, 2019).

Near re-entrant corners bumps are graded: :mod:`gmlayers.solve.engine.bump_sets`. Where larger sets do not help and the
residual is concentrated, as at narrow peaks and layers, boxes are split: :mod:`gmlayers.solve.engine.boxes`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from gmlayers.solve._checks import check_limits, warn_of_float32
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.clock import Clock
from gmlayers.solve.engine.growth import GROWTH, SolvedSet, at_its_limit, solved_sets
from gmlayers.solve.engine.history import History
from gmlayers.solve.engine.interrupted import kept
from gmlayers.solve.engine.modules import float32_loss
from gmlayers.solve.engine.openness import is_open
from gmlayers.solve.engine.placement import Assembly
from gmlayers.solve.engine.results import GrowthReason, Solution, Step
from gmlayers.solve.equations import Problem

FLOAT32_POINTS = 2000
"""What float32 loses is measured on this many points inside the domain."""

OPEN = (
    "the equation and its conditions leave u open, or nearly: there are functions as large as u that can be added and "
    "change next to nothing of what is asked for; give the conditions that are missing, like an initial one, or values "
    "at points, by Domain.marked"
)
"""This is said where u is not determined."""

ZERO = (
    "all right-hand sides are 0, and so u = 0 is what is returned; if another u is meant, give the source or the "
    "condition that is missing (eigenvalue problems are not supported)"
)
"""This is said where nothing is asked for that is not 0."""


@solver(tol="tolerance")
def solve(
    problem: Problem,
    tolerance: float = 1e-10,
    *,
    max_components: int = 2000,
    max_seconds: float = math.inf,
    float32_tolerance: float | None = None,
    callback: Callable[[Step], object] | None = None,
) -> Solution:
    """Solve a linear differential equation; centres, widths and numbers of bumps are found.

    Sets of bumps grow until the estimated error is below the tolerance. For the small ones the best width and margin
    are searched for. When larger sets do not help, narrower bumps are added where the residual is, if it is
    concentrated: at peaks and layers, in up to three dimensions. All is in float64 on the CPU, and the same in every
    run unless time runs out.

    Args:
        problem: equation, domain and conditions. Functions in it are called with points (n, d) in float64.
        tolerance: the error that is to be reached, relative to the root mean square of u; greater than 0.
        max_components: the number of bumps of the largest set, at least 16. Time grows with the cube: 2000 take some
            seconds on one core. The error is estimated from two sets; if there is room for one only, up to 100, it is
            infinite.
        max_seconds: no set is begun that is expected to end later, but for the first; greater than 0. The search for
            the best width and margin is given up if it would leave no time for a larger set.
        float32_tolerance: warn if u in float32 would lose more, relative to its root mean square; at least 0. None for
            no warning.
        callback: this is called with every set that was solved for. If it raises, or the run is interrupted, the
            exception has the best solution so far as its attribute ``best_so_far``, with the reason "interrupted".

    Returns:
        The best solution with what is known about it. Contradicting conditions are no error: the residuals tell.

    Raises:
        ValueError: if options are out of range, or coefficients or right-hand sides are of a wrong shape, not finite,
            or too large for float64 in terms of each other; the error names them.
        TypeError: if the problem is none, or options are no numbers.

    Warns:
        UserWarning: if the equation and its conditions are seen to leave u open, as where an initial condition was
            forgotten, or to be fulfilled by u = 0; and if u in float32 loses more than ``float32_tolerance``.
        FutureWarning: if the tolerance is given by its old name, ``tol``.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> u = solve.unknown(1)
        >>> string = solve.Problem(
        ...     solve.Box((0,), (1,)),
        ...     solve.laplacian(u) + u == 0,
        ...     {"low 0": u == 0, "high 0": u == 1},
        ... )
        >>> found = solve.solve(string)
        >>> x = torch.tensor([[0.5]], dtype=torch.float64)
        >>> bool((found.u(x) - torch.sin(x) / torch.sin(2 * x)).abs() < 1e-10)
        True
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"solve: expected a Problem(domain, equation, conditions), got {type(problem).__name__}")
    clock = Clock(max_seconds)
    max_components = check_limits(
        "solve", tolerance, max_seconds, max_components, GROWTH.least, float32_tolerance, callback
    )
    with torch.device("cpu"):  # whatever the default is
        search = _Search(problem)
        with kept(lambda: search.solution("interrupted") if search.trials else None):
            for trial in solved_sets(search.assembly, tolerance, max_components, clock):
                search.add(trial, clock.seconds)
                if callback is not None:
                    with torch.enable_grad():
                        callback(search.history[-1])
                if trial.error <= tolerance:
                    reason: GrowthReason = "tolerance"
                    break
                if at_its_limit([t.error for t in search.trials]):
                    reason = "limit"
                    break
            else:
                reason = "time" if clock.refused else "bumps"
            found = search.solution(reason)
            left_open = clock.allows(search.trials[0].seconds) and is_open(search.assembly)
    if left_open or not found.max_weight:
        warnings.warn(f"solve: {OPEN if left_open else ZERO}", stacklevel=3)  # past the decorator
        found = replace(found, reason="open") if left_open and found.converged else found
    warn_of_float32("solve", "u", found.max_weight, found.float32_error, float32_tolerance)
    return found


class _Search:
    """The sets of a run so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.assembly = problem, Assembly(problem)
        self.points = self.assembly.domain.interior(FLOAT32_POINTS)  # now: where that takes long, time is up at the end
        self.trials: list[SolvedSet] = []
        self.history: list[Step] = []

    def add(self, trial: SolvedSet, seconds: float) -> None:
        """Take in the next set, which was there after so many seconds."""
        if self.trials and trial.close and not self.trials[-1].close:  # something was hidden from those before, too
            self.trials = [t.looked_at_closely(self.assembly) for t in self.trials]
        self.trials.append(trial)
        self.history.append(trial.step(seconds))

    def solution(self, reason: GrowthReason) -> Solution:
        """Return the best set as what is returned; there is at least one."""
        best = min(_with_hindsight(self.trials), key=lambda t: (t.error, t.misfit))
        u = best.module(self.assembly.domain)
        lost = float(float32_loss(u, self.points)) / best.size_of_u
        return Solution(
            u,
            reason,
            best.error,
            best.change,
            best.quality.misfits,
            best.quality.residuals,
            best.found.rank,
            best.found.condition,
            best.found.max_weight,
            lost,
            History(self.history),
            self.problem,
        )


def _with_hindsight(trials: Sequence[SolvedSet]) -> Iterator[SolvedSet]:
    """Yield the sets, and let how far a set was from a better one after it count as its change."""
    for trial, after in pairwise(trials):
        better = after.misfit <= trial.misfit
        yield replace(trial, change=max(trial.change, after.change)) if better else trial
    yield trials[-1]
