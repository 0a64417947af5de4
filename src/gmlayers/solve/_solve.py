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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from gmlayers.solve._checks import check_limits, warn_of_float32
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.growth import GROWTH, SolvedSet, at_its_limit, solved_sets
from gmlayers.solve.engine.history import History
from gmlayers.solve.engine.modules import float32_loss
from gmlayers.solve.engine.placement import Assembly
from gmlayers.solve.engine.results import GrowthReason, Solution, Step
from gmlayers.solve.equations import Problem

FLOAT32_POINTS = 2000
"""What float32 loses is measured on this many points inside the domain."""


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
        max_seconds: no set is begun that is expected to end later; greater than 0.
        float32_tolerance: warn if u in float32 would lose more, relative to its root mean square; at least 0. None for
            no warning.
        callback: this is called with every set that was solved for.

    Returns:
        The best solution with what is known about it. Contradicting conditions are no error: the residuals tell.

    Raises:
        ValueError: if options are out of range, or coefficients or right-hand sides are of a wrong shape, not finite,
            or too large for float64 in terms of each other; the error names them.
        TypeError: if the problem is none, or options are no numbers.

    Warns:
        UserWarning: if u in float32 loses more than ``float32_tolerance``.
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
    max_components = check_limits(
        "solve", tolerance, max_seconds, max_components, GROWTH.least, float32_tolerance, callback
    )
    with torch.device("cpu"):  # whatever the default is
        assembly = Assembly(problem)
        history: list[Step] = []
        trials: list[SolvedSet] = []
        reason: GrowthReason = "bumps"
        start = before = time.perf_counter()
        for trial in solved_sets(assembly, tolerance, max_components):
            now = time.perf_counter()
            if trials and trial.close and not trials[-1].close:  # something was hidden from those before, too
                trials = [t.looked_at_closely(assembly) for t in trials]
            trials.append(trial)
            history.append(trial.step(now - start))
            if callback is not None:
                callback(history[-1])
            if trial.error <= tolerance:
                reason = "tolerance"
                break
            if at_its_limit([t.error for t in trials]):
                reason = "limit"
                break
            if trial.count < max_components and now - start + (now - before) * GROWTH.factor**3 > max_seconds:
                reason = "time"
                break
            before = now
        best = min(_with_hindsight(trials), key=lambda t: (t.error, t.misfit))
        u = best.module(assembly.domain)
        lost = float(float32_loss(u, assembly.domain.interior(FLOAT32_POINTS))) / best.size_of_u
    warn_of_float32("solve", "u", best.found.max_weight, lost, float32_tolerance)
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
        History(history),
        problem,
    )


def _with_hindsight(trials: Sequence[SolvedSet]) -> Iterator[SolvedSet]:
    """Yield the sets, and let how far a set was from a better one after it count as its change."""
    for trial, after in pairwise(trials):
        better = after.misfit <= trial.misfit
        yield replace(trial, change=max(trial.change, after.change)) if better else trial
    yield trials[-1]
