"""Sets of bumps that grow until one fits data: bumps that are trained, then many wide ones beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gmlayers import ops
from gmlayers.nn import GMNM
from gmlayers.nn._k_means import k_means
from gmlayers.nn._placement import by_residual, spacing
from gmlayers.solve._fit import fit
from gmlayers.solve._variable_projection import variable_projection
from gmlayers.solve.engine.clock import Clock
from gmlayers.solve.engine.held_out import FIRST, SEED, Data, Shapes
from gmlayers.solve.engine.least_squares import BLOCK
from gmlayers.solve.engine.pruning import needed
from gmlayers.solve.engine.results import LeastSquares, Refinement
from gmlayers.solve.engine.units import root_mean_square


@dataclass(frozen=True)
class Trained:
    """How sets of trained bumps grow."""

    growth: float = 1.5
    """A set has this many times as many bumps as the one before."""
    iterations: int = 25
    """The shapes of a set are trained by this many iterations of variable projection."""
    restraint: float = 1e-3
    """This times the error of the set before on rows held out is λ of variable projection: it tells more than what
    is left of the rows that are fitted."""
    gained: float = 1e-3
    """An iteration that reduces the squares by less than this share is not followed by another."""
    rows: int = 2**12
    """Shapes are trained with at most this many targets; weights are found with all."""
    size: int = 2**21
    """Shapes are trained while the derivative has at most this many numbers: targets times parameters."""
    spared: float = 0.1
    """Bumps are dropped while what is then left besides is below this part of what is left, or of the tolerance if that
    is larger."""
    patience: int = 2
    """The search ends after this many sets that have not helped."""
    time: float = 0.5
    """No set is begun that is expected to end after this share of the time."""


@dataclass(frozen=True)
class Wide:
    """How sets of wide bumps grow, and what their shape is."""

    first: int = 64
    """The first set has this many bumps; more where more are trained."""
    growth: float = 1.6
    """A set has this many times as many bumps as the one before."""
    factor: float = 3.0
    """The bumps of the first set are wider than their spacing by this factor."""
    step: float = 1.5
    """The factor is multiplied or divided by this in the search for the best."""
    least_factor: float = 2.0
    """The factor is no less. Narrower bumps can be better for a small set, but then larger sets do not converge."""
    largest_factor: float = 12.0
    """The factor is no more: above it bumps are the same in double precision."""
    searched: int = 420
    """The factor is searched for with up to this many bumps; what is best there is kept."""
    sample: int = 8
    """A bump is placed by this many rows."""
    stretch: float = 1.15
    """The places are moved away from the middle of the data by this factor, so that they reach beyond the edge."""
    patience: int = 4
    """The search ends after this many sets that have not helped: few wide bumps may help little beside the trained
    ones."""


TRAINED = Trained()
WIDE = Wide()

BETTER = 0.97
"""A set has helped if its error is below this times the least one so far."""

SLOWER = 2.5
"""The next set is expected to take this many times as long."""


@dataclass(frozen=True)
class FittedSet:
    """A set of bumps, of which the first ones are trained, with the best weights; all in units."""

    module: GMNM
    trained: int
    factor: float
    """Width of those that are not trained in terms of their spacing; 0 if there are none."""
    found: LeastSquares
    left: Tensor
    """What is left of the targets that are fitted, (n, out)."""
    error: float
    """The error on the rows held out."""
    seconds: float
    """The time that the weights took."""

    @classmethod
    def of(cls, data: Data, module: GMNM, trained: int, factor: float = 0.0) -> FittedSet:
        """Find the weights for the bumps of a module, and see how good it is on the rows held out."""
        clock = Clock()
        module.mean.copy_(data.x_units.scaled(data.x_units.given(module.mean)))  # as they can be in inputs far from 0
        found = fit(module, data.x, data.y, regularisation="gcv")
        left, held = (y - _values(module, x) for x, y in ((data.x, data.y), (data.held_x, data.held_y)))
        return cls(module, trained, factor, found, left, rms(held), clock.seconds)

    @property
    def size(self) -> int:
        """The number of bumps."""
        return self.module.num_components

    @property
    def residual(self) -> float:
        """The error on the rows that are fitted."""
        return rms(self.left)

    def step(self, seconds: float) -> Refinement:
        """Return what is told of the set."""
        return Refinement(self.size, self.trained, self.error, self.residual, seconds)


def fitted_sets(data: Data, tolerance: float, most: int, clock: Clock) -> Iterator[FittedSet]:
    """Yield growing sets: bumps that are trained, then others beside the best of those."""
    generator = torch.Generator().manual_seed(SEED)
    best: FittedSet | None = None
    for trial in _trained(data, tolerance, most, clock, generator):
        yield trial
        best = trial if best is None or trial.error < best.error else best
    yield from _wide(data, best, most, clock, generator)


def _trained(data: Data, tolerance: float, most: int, clock: Clock, generator: torch.Generator) -> Iterator[FittedSet]:
    """Yield growing sets of trained bumps, as long as they help and there is room."""
    outputs = data.y.shape[1]
    rows = max(TRAINED.rows // outputs, 1)
    x, y = data.x[:rows], data.y[:rows]
    centres = by_residual(x, y, FIRST, generator)
    module = data.module(_round(data, centres, spacing(centres, x), generator))
    each = sum(value[0].numel() for value in _shapes(module).values())
    different = min(len(x), data.different)
    most = min(most, TRAINED.size // (y.numel() * each), different * outputs // (2 * each), different // 2)
    count, took = FIRST, 0.0
    errors: list[float] = []
    while count <= most and not helps_no_more(errors, TRAINED.patience):
        if errors and not clock.allows(SLOWER * took, TRAINED.time):
            return
        began = clock.seconds
        pull = TRAINED.restraint * (errors[-1] if errors else 1.0)
        variable_projection(
            module,
            x,
            y,
            iterations=TRAINED.iterations,
            least_reduction=TRAINED.gained,
            regularisation=pull,
            max_seconds=clock.left,
        )
        kept = needed(_columns(module, x), y, TRAINED.spared * max(tolerance, rms(y - _values(module, x))))
        shapes = {name: value[kept] for name, value in _shapes(module).items()}
        trial = FittedSet.of(data, data.module(shapes), len(shapes["mean"]))
        yield trial
        errors.append(trial.error)
        count = math.ceil(TRAINED.growth * count)
        more = count - trial.size  # in the place of those that were dropped, too: elsewhere they may help
        centres = k_means(x, more, generator, trial.left[:rows].square().sum(1))
        width = spacing(torch.cat([shapes["mean"], centres]), x)[-more:]
        module = data.module(_joined(shapes, _round(data, centres, width, generator)))
        took = clock.seconds - began


def _wide(
    data: Data, best: FittedSet | None, most: int, clock: Clock, generator: torch.Generator
) -> Iterator[FittedSet]:
    """Yield growing sets of wide bumps beside the trained ones, as long as they help and there is room."""
    trained = 0 if best is None else best.size
    count, factor = max(WIDE.first, 2 * trained), WIDE.factor
    errors = [] if best is None else [best.error]
    each = 0.0 if best is None else best.seconds / best.size  # seconds for a bump; SLOWER leaves room for more
    while (count := min(count, most - trained)) > 0 and not helps_no_more(errors, WIDE.patience):
        if errors and not clock.allows(SLOWER * each * (trained + count)):
            return
        began = clock.seconds
        centres = WIDE.stretch * k_means(data.x[: WIDE.sample * count], count, generator)
        beside = partial(_beside, data, best, centres, generator)
        trial = beside(factor)
        if count <= WIDE.searched:
            trial = _searched(trial, beside, clock)
        each = (clock.seconds - began) / trial.size
        yield trial
        errors.append(trial.error)
        if count == most - trained:
            return
        count, factor = math.ceil(WIDE.growth * count), trial.factor


def _beside(
    data: Data, best: FittedSet | None, centres: Tensor, generator: torch.Generator, factor: float
) -> FittedSet:
    """Return the set of the trained bumps and wide ones, whose width is their mean spacing times the factor."""
    width = factor * spacing(centres, data.x).mean().expand(len(centres))
    shapes = _round(data, centres, width, generator)
    if best is None:
        return FittedSet.of(data, data.module(shapes), 0, factor)
    return FittedSet.of(data, data.module(_joined(_shapes(best.module), shapes)), best.size, factor)


def _searched(trial: FittedSet, beside: Callable[[float], FittedSet], clock: Clock) -> FittedSet:
    """Return the best among sets of wider and of narrower bumps, as long as there is time."""
    for step in (WIDE.step, 1 / WIDE.step):
        while WIDE.least_factor <= trial.factor * step <= WIDE.largest_factor and clock.allows(trial.seconds):
            other = beside(trial.factor * step)
            if other.error >= trial.error:
                break
            trial = other
    return trial


def helps_no_more(errors: list[float], patience: int) -> bool:
    """Return whether the last sets did not help."""
    return len(errors) > patience and min(errors[-patience:]) > BETTER * min(errors[:-patience])


def rms(values: Tensor) -> float:
    """Return the root mean square."""
    return float(root_mean_square(values.flatten()))


def _shapes(module: GMNM) -> Shapes:
    """Return the parameters of the bumps by name, (m, ...)."""
    return {"mean": module.mean, **module.form_parameters()}


def _joined(first: Shapes, second: Shapes) -> Shapes:
    return {name: torch.cat([value, second[name]]) for name, value in first.items()}


def _round(data: Data, centres: Tensor, width: Tensor, generator: torch.Generator) -> Shapes:
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
