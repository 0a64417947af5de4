r"""Functions from data, by as many bumps as they need.

First few bumps, whose shapes are trained: at every step some are added where a residual is, all are trained by variable
projection, and those that the others can do without are dropped. This finds peaks, ridges and directions, and needs few
bumps, but its time grows with the cube of their number. Then many that are not trained: they overlap widely, are nearly
dependent, and are spread like the data. Beside the trained ones they have what is smooth to approximate, at which such
sets are best (Adcock and Huybrechs, *Frames and numerical approximation*, 2019).

What the others can do without is measured by how much more they leave with their own best weights. For columns Φ of
full rank, weights w and the sum of squares RSS that is left, dropping column k alone makes it larger by

.. math:: \mathrm{RSS}_{-k} - \mathrm{RSS} = \|w_k\|^2 \,/\, \bigl((\Phi^\top \Phi)^{-1}\bigr)_{kk}

(backward elimination; Draper and Smith, *Applied regression analysis*, 1966). It is 0 for a bump of weight 0, and for
one of two that coincide, whose weight the other takes over: this prunes and merges.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gmlayers import ops
from gmlayers.nn import GMNM
from gmlayers.nn._gmnm import FormName
from gmlayers.nn._k_means import k_means
from gmlayers.nn._placement import by_residual, domain_of, spacing
from gmlayers.solve._fit import BLOCK, assign, fit, float32_loss
from gmlayers.solve._least_squares import LeastSquares, Rows, Triangle
from gmlayers.solve._limits import check_limits, floating, warn_of_float32
from gmlayers.solve._variable_projection import variable_projection

HELD_OUT = 0.15
"""Share of the rows."""

LEAST_ROWS = 20
"""That differ; with fewer no error can be estimated."""

SEED = 0
"""Of the rows that are held out, and of places to start from."""

NEARLY = 1e-6
"""Of a standard deviation of the inputs, by which rows differ that count as copies of one."""

FIRST = 6
"""Bumps of the first set."""

TRAINED_GROWTH = 1.5
"""Of the number of bumps, from one set to the next, while they are trained."""

ITERATIONS = 25
"""Of variable projection for a set."""

RESTRAINT = 1e-3
"""λ of variable projection, in terms of the error of the set before on rows held out, which tells more than what is
left of those that are fitted."""

GAINED = 1e-3
"""Share of the squares by which an iteration must reduce them to be followed by another."""

TRAINED_ROWS = 2**12
"""At most, with which shapes are trained; weights are found with all."""

TRAINED_SIZE = 2**21
"""Numbers in the derivative up to which shapes are trained: targets times parameters."""

FULL = 5
"""Features up to which trained bumps may be turned and sheared."""

SPARED = 0.1
"""Of what is left, or of the tolerance if that is larger: what may be left besides after bumps are dropped."""

PULL = 1e-8
"""Of weights towards 0, for columns of norm 1: where columns depend on others, their weights are still determined."""

WIDE = 64
"""Bumps of the first set that is not trained; more where more are trained."""

WIDE_GROWTH = 1.6
"""Of their number, from one set to the next."""

FACTOR = 3.0
"""Their width in terms of their spacing, at first."""

STEP = 1.5
"""Of that factor in the search for the best."""

LEAST_FACTOR = 2.0
"""Narrower bumps can be better for a small set, but then larger sets do not converge."""

LARGEST_FACTOR = 12.0
"""Above it bumps are the same in double precision."""

SEARCHED = 420
"""Wide bumps up to which the factor is searched for; what is best there is kept."""

SAMPLE = 8
"""Rows for each of them by which it is placed."""

STRETCH = 1.15
"""Of the places of wide bumps away from the middle of the data, so that they reach beyond the edge."""

BUMPS_PER_ROW = 0.5
"""At most."""

BETTER = 0.97
"""Of the least error so far: a set that is not below it has not helped."""

TRAINED_PATIENCE = 2
"""Sets of trained bumps that do not help after which there are no more."""

WIDE_PATIENCE = 4
"""The same of wide ones: few of them may help little beside the trained ones."""

EQUAL = 1.02
"""Of the least error: the smallest set that is not above it is as good, and is returned."""

TRAINED_SHARE = 0.5
"""Of the time."""

SLOWER = 2.5
"""How much more time the next set takes, about."""

FLOAT32_ROWS = 2**12
"""At most, on which it is measured what float32 loses."""

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Spread of numbers, relative to their size, below which they are constant."""

Reason = Literal["tolerance", "limit", "bumps", "rows", "time"]
Shapes = Mapping[str, Tensor]


class Refinement(NamedTuple):
    """One set of bumps; what is not explained here is as in :class:`Approximation`."""

    num_components: int
    trained: int
    error: float
    residual: float
    seconds: float
    """Since the start."""


@dataclass(frozen=True)
class Approximation:
    """What :func:`approximate` found, and how good it is.

    Errors are root mean squares over rows and outputs, every output in units of the standard deviation of its targets.
    """

    f: GMNM
    """The function, in float64: ``f(x)``, ``f.gradient(x)``. Its domain is the box of the data, a tenth wider on each
    side; beyond that it warns, and between the two nothing is known. Its parameters do not require gradients."""
    reason: Reason
    """Why it ended. ``"tolerance"``: the error is below it; ``"limit"``: larger sets did not make it smaller, as where
    the data have noise, or at the limit of double precision; ``"rows"``: more bumps would need more data; ``"bumps"``
    and ``"time"``: as much as allowed. Unless it is the tolerance, the smallest set is returned whose error is within
    a fiftieth of the least."""
    error: float
    """On the rows that were held out: what is compared with the tolerance. It includes their noise."""
    residual: float
    """On the other rows, to which the weights were fitted."""
    trained: int
    """How many of the bumps have shapes that were trained; they are the first ones."""
    rank: int
    """Number of singular values that were used for the weights."""
    condition: float
    """Largest over smallest of them, used or not."""
    max_weight: float
    """Largest absolute weight."""
    regularisation: float
    """λ of the weights, by cross-validation; see :func:`~gmlayers.solve.least_squares`."""
    float32_error: float
    """What f loses in float32, in the units of the errors, at rows that are themselves rounded to float32."""
    held_out: Tensor
    """Which rows were held out, (n,) of bool."""
    history: tuple[Refinement, ...]
    """All sets, in order."""

    @property
    def converged(self) -> bool:
        """Whether the error is below the tolerance."""
        return self.reason == "tolerance"


@torch.no_grad()
def approximate(
    x: Tensor,
    y: Tensor,
    tol: float = 1e-6,
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
        x: inputs, (n, d), of any floating dtype, at least 20 different ones. Every seventh or so is held out, and
            copies of a row, to a millionth of the standard deviation, are on the same side.
        y: targets, (n, out).
        tol: for the error, relative to the standard deviation of the targets.
        max_components: of the largest set, at least 6. There are no more than half as many as rows to fit.
        max_seconds: no set is begun that is expected to end later.
        float32_tolerance: warn if f in float32 would lose more. None for no warning.
        callback: called with every set.

    Returns:
        The best function with what is known about it. Noise is no error: the ``reason`` and the ``error`` tell. The
        error is that of the best of some dozens of sets on rows among the others: where few are held out, or rows are
        sparse at edges, the true one may be several times larger, and nothing is known between tracks of rows.

    Raises:
        ValueError: inputs or targets of a wrong shape, with numbers that are not finite, or too few; options out of
            range.
        TypeError: inputs or targets that are not of floating-point numbers.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> x = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None]
        >>> found = solve.approximate(x, torch.sin(3 * x) + torch.exp(-200 * (x - 0.3) ** 2), tol=1e-6)
        >>> found.converged, found.f.num_components < 40
        (True, True)
    """
    _check(x, y)
    max_components = check_limits("approximate", tol, max_seconds, max_components, FIRST, float32_tolerance, callback)
    with torch.device("cpu"):  # whatever the default is
        clock, data = _Clock(max_seconds), _Data.of(x, y)
        trials: list[_Trial] = []
        history: list[Refinement] = []
        for trial in _sets(data, tol, min(max_components, data.most), clock):
            trials.append(trial)
            history.append(Refinement(trial.size, trial.trained, trial.error, trial.residual, clock.seconds))
            if callback is not None:
                callback(history[-1])
            if trial.error <= tol:
                best, reason = trial, "tolerance"
                break
        else:
            least = min(t.error for t in trials)
            best = min((t for t in trials if t.error <= EQUAL * least), key=lambda t: (t.size, t.error))
            reason = _end(trials, data, max_components, clock)
        f = data.function(best)
        lost = _rms(float32_loss(f, data.x_units.given(data.x[:FLOAT32_ROWS])) / data.y_units.size)
    max_weight = float(f.weight.abs().amax())
    warn_of_float32("approximate", "f", max_weight, lost, float32_tolerance)
    return Approximation(
        f,
        reason,
        best.error,
        best.residual,
        best.trained,
        best.found.rank,
        best.found.condition,
        max_weight,
        best.found.regularisation,
        lost,
        data.held_out,
        tuple(history),
    )


def _check(x: Tensor, y: Tensor) -> None:
    for name, value in {"x": x, "y": y}.items():
        floating(f"approximate: {name}", value)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not x.shape[1] or not y.shape[1]:
        raise ValueError(
            f"approximate: expected x (n, features) and y (n, outputs), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    for name, value in {"x": x, "y": y}.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"approximate: {name} has numbers that are not finite; leave those rows out")
    _check_number(len(x))


def _check_number(different: int) -> None:
    if different < LEAST_ROWS:
        raise ValueError(
            f"approximate: {different} different rows of x are too few to fit and to hold some out; give at least "
            f"{LEAST_ROWS} that are more than {NEARLY:g} of the standard deviation apart, and no outliers that make it "
            f"large"
        )


class _Clock:
    """The time that is allowed."""

    def __init__(self, limit: float) -> None:
        self.limit, self.start = limit, time.perf_counter()
        self.refused = False
        """Whether there was no time at the last question."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.start

    def allows(self, share: float, expected: float) -> bool:
        """Return whether what is expected to take so long would end within a share of the time."""
        self.refused = self.seconds + expected > share * self.limit
        return not self.refused


@dataclass(frozen=True)
class _Data:
    """Rows to fit and rows that are held out, in units: of mean 0 and standard deviation 1, where they vary.

    They are in random order, so that the first ones are a sample.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    different: int
    """Rows to fit that are no copies of others."""
    held_out: Tensor
    x_units: _Units
    y_units: _Units
    domain: tuple[Tensor, Tensor]
    """Of the function: the box of all rows, and a margin as :meth:`~gmlayers.GMNM.from_data` has it."""

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Data:
        """Take data in; copies of a row, and rows that are nearly copies, are on the same side."""
        x, y = x.detach().double().cpu(), y.detach().double().cpu()
        x_units, y_units = _Units.of(x), _Units.of(y)
        unit_x, unit_y = x_units.scaled(x), y_units.scaled(y)
        different, row = (unit_x / NEARLY).round().unique(dim=0, return_inverse=True)
        _check_number(len(different))
        generator = torch.Generator().manual_seed(SEED)
        held_out = (torch.randperm(len(different), generator=generator) < HELD_OUT * len(different))[row]
        order = torch.randperm(len(x), generator=generator)
        fitted, held = order[~held_out[order]], order[held_out[order]]
        sides = unit_x[fitted], unit_y[fitted], unit_x[held], unit_y[held]
        return cls(*sides, len(row[fitted].unique()), held_out, x_units, y_units, domain_of(x))

    @property
    def most(self) -> int:
        """Bumps there may be."""
        return max(FIRST, int(BUMPS_PER_ROW * self.different))

    @property
    def form(self) -> FormName:
        """Of bumps that are trained."""
        return "mahalanobis" if self.x.shape[1] <= FULL else "diagonal"

    def module(self, shapes: Shapes) -> GMNM:
        """Return a module in units with bumps of these shapes; its weights are not yet found."""
        return self._module(shapes, *map(self.x_units.scaled, self.domain))

    def function(self, trial: _Trial) -> GMNM:
        """Return the function of rows as they are given."""
        shapes = {name: value / self.x_units.size for name, value in _shapes(trial.module).items()}
        shapes["mean"] = self.x_units.given(trial.module.mean)
        weight = self.y_units.size * trial.found.weight
        weight[-1] += self.y_units.mean
        module = self._module(shapes, *self.domain)
        assign(module, weight)
        return module.requires_grad_(False)

    def _module(self, shapes: Shapes, low: Tensor, high: Tensor) -> GMNM:
        m, d = shapes["mean"].shape
        rank = d if self.form == "mahalanobis" else None
        with torch.random.fork_rng(devices=[]):  # the parameters that are drawn are written over
            module = GMNM(d, self.y.shape[1], m, form=self.form, rank=rank, domain=(low, high), dtype=torch.float64)
        for name, value in shapes.items():
            getattr(module, name).copy_(value)
        return module


class _Units(NamedTuple):
    """Means and standard deviations, (k,) each; where numbers are constant the latter are 1."""

    mean: Tensor
    size: Tensor

    @classmethod
    def of(cls, values: Tensor) -> _Units:
        largest = values.abs().amax(0)
        top = torch.where(largest > 0, largest, 1.0)
        size = top * (values / top).std(0, correction=0)
        varies = size > ROUNDING * largest
        return cls(torch.where(varies, values.mean(0), values[0]), torch.where(varies, size, 1.0))

    def scaled(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.size

    def given(self, values: Tensor) -> Tensor:
        return self.mean + self.size * values


@dataclass(frozen=True)
class _Trial:
    """A set of bumps, of which the first ones are trained, with the best weights; all in units."""

    module: GMNM
    trained: int
    factor: float
    """Width of those that are not trained in terms of their spacing; 0 if there are none."""
    found: LeastSquares
    left: Tensor
    """Of the targets that are fitted, (n, out)."""
    error: float
    seconds: float
    """That the weights took."""

    @classmethod
    def of(cls, data: _Data, module: GMNM, trained: int, factor: float = 0.0) -> _Trial:
        """Find the weights for the bumps of a module, and see how good it is on the rows held out."""
        start = time.perf_counter()
        module.mean.copy_(data.x_units.scaled(data.x_units.given(module.mean)))  # as they can be in inputs far from 0
        found = fit(module, data.x, data.y, regularisation="gcv")
        left, held = (y - _values(module, x) for x, y in ((data.x, data.y), (data.held_x, data.held_y)))
        return cls(module, trained, factor, found, left, _rms(held), time.perf_counter() - start)

    @property
    def size(self) -> int:
        return self.module.num_components

    @property
    def residual(self) -> float:
        return _rms(self.left)


def _sets(data: _Data, tol: float, most: int, clock: _Clock) -> Iterator[_Trial]:
    """Yield growing sets: bumps that are trained, then others beside the best of those."""
    generator = torch.Generator().manual_seed(SEED)
    best: _Trial | None = None
    for trial in _trained(data, tol, most, clock, generator):
        yield trial
        best = trial if best is None or trial.error < best.error else best
    yield from _wide(data, best, most, clock, generator)


def _trained(data: _Data, tol: float, most: int, clock: _Clock, generator: torch.Generator) -> Iterator[_Trial]:
    """Yield growing sets of trained bumps, as long as they help and there is room."""
    outputs = data.y.shape[1]
    rows = max(TRAINED_ROWS // outputs, 1)
    x, y = data.x[:rows], data.y[:rows]
    centres = by_residual(x, y, FIRST, generator)
    module = data.module(_round(data, centres, spacing(centres, x), generator))
    each = sum(value[0].numel() for value in _shapes(module).values())
    different = min(len(x), data.different)
    most = min(most, TRAINED_SIZE // (y.numel() * each), different * outputs // (2 * each), different // 2)
    count, took = FIRST, 0.0
    errors: list[float] = []
    while count <= most and not _stale(errors, TRAINED_PATIENCE):
        if errors and not clock.allows(TRAINED_SHARE, SLOWER * took):
            return
        began = clock.seconds
        pull = RESTRAINT * (errors[-1] if errors else 1.0)
        variable_projection(module, x, y, iterations=ITERATIONS, tolerance=GAINED, regularisation=pull)
        kept = needed(_columns(module, x), y, SPARED * max(tol, _rms(y - _values(module, x))))
        shapes = {name: value[kept] for name, value in _shapes(module).items()}
        trial = _Trial.of(data, data.module(shapes), len(shapes["mean"]))
        yield trial
        errors.append(trial.error)
        count = math.ceil(TRAINED_GROWTH * count)
        more = count - trial.size  # in the place of those that were dropped, too: elsewhere they may help
        centres = k_means(x, more, generator, trial.left[:rows].square().sum(1))
        width = spacing(torch.cat([shapes["mean"], centres]), x)[-more:]
        module = data.module(_joined(shapes, _round(data, centres, width, generator)))
        took = clock.seconds - began


def _wide(data: _Data, best: _Trial | None, most: int, clock: _Clock, generator: torch.Generator) -> Iterator[_Trial]:
    """Yield growing sets of wide bumps beside the trained ones, as long as they help and there is room."""
    trained = 0 if best is None else best.size
    count, factor = max(WIDE, 2 * trained), FACTOR
    errors = [] if best is None else [best.error]
    each = 0.0 if best is None else best.seconds / best.size  # seconds for a bump; SLOWER leaves room for more
    while (count := min(count, most - trained)) > 0 and not _stale(errors, WIDE_PATIENCE):
        if errors and not clock.allows(1.0, SLOWER * each * (trained + count)):
            return
        began = clock.seconds
        centres = STRETCH * k_means(data.x[: SAMPLE * count], count, generator)
        beside = partial(_beside, data, best, centres, generator)
        trial = beside(factor)
        if count <= SEARCHED:
            trial = _searched(trial, beside, clock)
        each = (clock.seconds - began) / trial.size
        yield trial
        errors.append(trial.error)
        if count == most - trained:
            return
        count, factor = math.ceil(WIDE_GROWTH * count), trial.factor


def _beside(data: _Data, best: _Trial | None, centres: Tensor, generator: torch.Generator, factor: float) -> _Trial:
    """Return the set of the trained bumps and wide ones, whose width is their mean spacing times the factor."""
    width = factor * spacing(centres, data.x).mean().expand(len(centres))
    shapes = _round(data, centres, width, generator)
    if best is None:
        return _Trial.of(data, data.module(shapes), 0, factor)
    return _Trial.of(data, data.module(_joined(_shapes(best.module), shapes)), best.size, factor)


def _searched(trial: _Trial, beside: Callable[[float], _Trial], clock: _Clock) -> _Trial:
    """Return the best among sets of wider and of narrower bumps, as long as there is time."""
    for step in (STEP, 1 / STEP):
        while LEAST_FACTOR <= trial.factor * step <= LARGEST_FACTOR and clock.allows(1.0, trial.seconds):
            other = beside(trial.factor * step)
            if other.error >= trial.error:
                break
            trial = other
    return trial


def _stale(errors: list[float], patience: int) -> bool:
    """Return whether the last sets did not help."""
    return len(errors) > patience and min(errors[-patience:]) > BETTER * min(errors[:-patience])


def _end(trials: list[_Trial], data: _Data, max_components: int, clock: _Clock) -> Reason:
    """Return why there are no more sets."""
    if clock.refused:
        return "time"
    room = trials[-1].size < min(max_components, data.most)
    if room or _stale([t.error for t in trials], TRAINED_PATIENCE):
        return "limit"
    return "bumps" if max_components <= data.most else "rows"


@torch.no_grad()
def needed(columns: Tensor, y: Tensor, spared: float) -> Tensor:
    """Return which columns but the last, the bias, are needed, (m,) of bool.

    The others are dropped one after another, the one first without which the best weights leave least more. One bump is
    always kept.

    Args:
        columns: (n, m + 1).
        y: targets, (n, out).
        spared: root mean square of what may be left besides, in the sense that squares add.
    """
    m = columns.shape[1] - 1
    size = torch.linalg.vector_norm(columns, dim=0)
    triangle = Triangle()
    triangle.add(Rows(columns / torch.where(size > 0, size, 1.0), y))
    triangle.add(Rows(PULL * torch.eye(m + 1, dtype=y.dtype), y.new_zeros(m + 1, y.shape[1])))
    R, c, _ = triangle.parts()
    kept = torch.arange(m + 1)
    room = y.numel() * spared**2
    while len(kept) > 2:
        inverse = torch.linalg.solve_triangular(R, torch.eye(len(R), dtype=R.dtype), upper=True)
        more = ((inverse @ c).square().sum(1) / inverse.square().sum(1))[:-1]
        least = int(more.argmin())
        room -= float(more[least])
        if room < 0:
            break
        others = torch.arange(len(kept)) != least
        kept = kept[others]
        Q, R = torch.linalg.qr(R[:, others])
        c = Q.mT @ c
    return torch.isin(torch.arange(m), kept)


def _shapes(module: GMNM) -> Shapes:
    """Return the parameters of the bumps by name, (m, ...)."""
    return {"mean": module.mean, **module.form_parameters()}


def _joined(first: Shapes, second: Shapes) -> Shapes:
    return {name: torch.cat([value, second[name]]) for name, value in first.items()}


def _round(data: _Data, centres: Tensor, width: Tensor, generator: torch.Generator) -> Shapes:
    """Return bumps as wide in all directions, from centres (m, d) and widths (m,)."""
    module = data.module({"mean": centres})
    module.form.init(module.form_parameters(), (1 / width).unsqueeze(1).expand_as(centres), generator)
    return _shapes(module)


def _columns(module: GMNM, x: Tensor) -> Tensor:
    """Return the bumps at rows, with 1 for the bias, (n, m + 1)."""
    f = ops.bumps(x, module.mean, module.projection_matrix())
    return torch.cat([f, f.new_ones(len(f), 1)], 1)


def _values(module: GMNM, x: Tensor) -> Tensor:
    """Return what a module answers, in blocks of rows."""
    return torch.cat([module(rows) for rows in x.split(max(1, BLOCK // module.num_components))])


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
