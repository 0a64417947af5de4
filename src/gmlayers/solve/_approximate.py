r"""Functions from data, by as many bumps as they need.

First few bumps, whose shapes are trained: at every step some are added where a residual is, all are trained by variable
projection, and those that the others can do without are dropped (:mod:`gmlayers.solve.engine.pruning`). This finds
peaks, ridges and directions, and needs few bumps, but its time grows with the cube of their number. Then many that are
not trained: they overlap widely, are nearly dependent, and are spread like the data. Beside the trained ones they have
what is smooth to approximate, at which such sets are best (Adcock and Huybrechs, *Frames and numerical approximation*,
2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmlayers._arrays import Array, column, numbers
from gmlayers.solve._checks import check_limits, warn_of_float32
from gmlayers.solve._fitted_sets import TRAINED, FittedSet, fitted_sets, helps_no_more, rms
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.clock import Clock
from gmlayers.solve.engine.held_out import FIRST, Data, check_number
from gmlayers.solve.engine.history import History
from gmlayers.solve.engine.interrupted import kept
from gmlayers.solve.engine.modules import float32_loss
from gmlayers.solve.engine.results import Approximation, GrowthReason, Refinement

EQUAL = 1.02
"""The smallest set whose error is not above this times the least one is as good as the best, and is returned."""

FLOAT32_ROWS = 2**12
"""What float32 loses is measured on at most this many rows."""


@solver(tol="tolerance")
def approximate(
    x: Tensor | Array,
    y: Tensor | Array,
    tolerance: float = 1e-6,
    *,
    max_components: int = 2000,
    max_seconds: float = math.inf,
    float32_tolerance: float | None = None,
    callback: Callable[[Refinement], object] | None = None,
) -> Approximation:
    """Approximate a function from data; centres, shapes and the number of bumps are found.

    Sets of bumps grow until the error on rows held out is below the tolerance: few with trained shapes, where the
    residual is, then many wide ones besides. Regularisation is by cross-validation. All is in float64 on the CPU, and
    the same in every run unless time runs out.

    Args:
        x: inputs, (n, d), at least 20 different ones: a tensor, an array of numpy or pandas, or a list of rows. Every
            seventh or so is held out, and copies of a row, to a millionth of the standard deviation, are on the same
            side.
        y: targets, (n, out), or (n,) for one output.
        tolerance: the error that is to be reached, relative to the standard deviation of the targets; greater than 0.
        max_components: the number of bumps of the largest set, at least 6. There are no more than half as many as rows
            to fit.
        max_seconds: no set is begun that is expected to end later, but for the first, whose shapes are trained no
            longer; greater than 0.
        float32_tolerance: warn if f in float32 would lose more, in the same units; at least 0. None for no warning.
        callback: this is called with every set. If it raises, or the run is interrupted, the exception has the best
            approximation so far as its attribute ``best_so_far``, with the reason "interrupted".

    Returns:
        The best function with what is known about it. Noise is no error: the ``reason`` and the ``error`` tell. The
        error is that of the best of some dozens of sets on rows among the others: where few are held out, or rows are
        sparse at edges, the true one may be several times larger, and nothing is known between tracks of rows.

    Raises:
        ValueError: if inputs or targets are of a wrong shape, not finite, or too few, or options are out of range.
        TypeError: if inputs or targets are no real numbers.

    Warns:
        UserWarning: if f in float32 loses more than ``float32_tolerance``.
        FutureWarning: if the tolerance is given by its old name, ``tol``.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> x = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None]
        >>> found = solve.approximate(x, torch.sin(3 * x) + torch.exp(-200 * (x - 0.3) ** 2), tolerance=1e-6)
        >>> found.converged, found.f.num_components < 40
        (True, True)
    """
    clock = Clock(max_seconds)
    x, y = _taken(x, y)
    max_components = check_limits(
        "approximate", tolerance, max_seconds, max_components, FIRST, float32_tolerance, callback
    )
    with torch.device("cpu"):  # whatever the default is
        data = Data.of(x, y)
        trials: list[FittedSet] = []
        history: list[Refinement] = []
        with kept(lambda: _found(data, trials, history, tolerance, "interrupted") if trials else None):
            for trial in fitted_sets(data, tolerance, min(max_components, data.most), clock):
                trials.append(trial)
                history.append(trial.step(clock.seconds))
                if callback is not None:
                    with torch.enable_grad():
                        callback(history[-1])
                if trial.error <= tolerance:
                    reason: GrowthReason = "tolerance"
                    break
            else:
                reason = _end(trials, data, max_components, clock)
            found = _found(data, trials, history, tolerance, reason)
    warn_of_float32("approximate", "f", found.max_weight, found.float32_error, float32_tolerance)
    return found


def _found(
    data: Data, trials: list[FittedSet], history: list[Refinement], tolerance: float, reason: GrowthReason
) -> Approximation:
    """Return the smallest set that is as good as the best, or good enough, as what is returned."""
    least = min(t.error for t in trials)
    most = tolerance if least <= tolerance else EQUAL * least
    best = min((t for t in trials if t.error <= most), key=lambda t: (t.size, t.error))
    f = data.function(best.module, best.found.weight)
    lost = rms(float32_loss(f, data.x_units.given(data.x[:FLOAT32_ROWS])) / data.y_units.size)
    return Approximation(
        f,
        reason,
        best.error,
        best.residual,
        best.trained,
        best.found.rank,
        best.found.condition,
        float(f.weight.abs().amax()),
        best.found.regularisation,
        lost,
        data.held_out,
        History(history),
    )


def _taken(given_x: Tensor | Array, given_y: Tensor | Array) -> tuple[Tensor, Tensor]:
    """Return data as tensors; raise for what is none."""
    x, y = numbers("approximate: x", given_x), column(numbers("approximate: y", given_y))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not x.shape[1] or not y.shape[1]:
        raise ValueError(
            f"approximate: expected x (n, features) and y (n, outputs), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    for name, value in {"x": x, "y": y}.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"approximate: {name} has numbers that are not finite; leave those rows out")
    check_number(len(x))
    return x, y


def _end(trials: list[FittedSet], data: Data, max_components: int, clock: Clock) -> GrowthReason:
    """Return why there are no more sets."""
    if clock.refused:
        return "time"
    room = trials[-1].size < min(max_components, data.most)
    if room or helps_no_more([t.error for t in trials], TRAINED.patience):
        return "limit"
    return "bumps" if max_components <= data.most else "rows"
