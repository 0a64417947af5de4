"""Sets of bumps that grow until one solves a problem: larger grids, or narrower bumps where the residual is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from gmlayers.nn import GMNM
from gmlayers.solve.domains import Domain
from gmlayers.solve.domains.base import ON_EDGE
from gmlayers.solve.engine.boxes import Boxes
from gmlayers.solve.engine.bump_sets import GRIDS, SETTLED, Bumps, Shape, coarse, grid
from gmlayers.solve.engine.clock import Clock
from gmlayers.solve.engine.least_squares import least_squares
from gmlayers.solve.engine.placement import DENSITY, Assembly
from gmlayers.solve.engine.quality import Answer, Quality, size_and_difference
from gmlayers.solve.engine.results import LeastSquares, Step


@dataclass(frozen=True)
class Growth:
    """How sets grow."""

    first: int = 100
    """The first set has this many bumps."""
    least: int = 16
    """A set of fewer bumps is not tried."""
    factor: float = 1.6
    """A grid has this many times as many bumps as the one before."""
    slower: float = 4.1
    """The next set is expected to take this many times as long: the time grows with the cube of the number of bumps."""
    searched: int = 420
    """The shape is searched for in sets of up to this many bumps; what is best there is kept."""
    rounds: int = 8
    """The search for the shape of the first set takes at most this many rounds; for others it takes one."""
    local_margin: float = 0.15
    """A set that has narrower bumps somewhere has a grid with this margin."""
    patience: int = 5
    """The error is at its limit when in this many sets it is not halved, neither from those before nor from first to
    last."""


GROWTH = Growth()


@dataclass(frozen=True)
class SolvedSet:
    """A set of bumps with the best weights, and how good it is."""

    count: int
    """The number of bumps of the grid and around corners that was aimed at."""
    shape: Shape
    bumps: Bumps
    found: LeastSquares
    size_of_u: float
    """The root mean square of u inside."""
    change: float
    """The difference to the set before, relative to u."""
    quality: Quality
    close: bool
    """True if it was looked at closely, on many points."""
    seconds: float
    """The time that all of this took."""

    @classmethod
    def of(
        cls, assembly: Assembly, count: int, shape: Shape, boxes: Boxes | None, previous: SolvedSet | None, close: bool
    ) -> SolvedSet:
        """Solve for a set of bumps, and see how good it is on points held out."""
        clock = Clock()
        bumps = Bumps.over(assembly.domain, count, shape, boxes)
        fitted = assembly.at(coarse(assembly.domain, count), bumps, held_out=False)
        found = least_squares(fitted.system(bumps))
        held_out = assembly.at(DENSITY.close if close else DENSITY.held_out, bumps, held_out=True)
        answer = Answer(bumps, found.weight)
        size, change = size_and_difference(held_out, answer, None if previous is None else previous.answer)
        quality = Quality.of(held_out, answer, size)
        return cls(count, shape, bumps, found, size, change / size, quality, close, clock.seconds)

    @property
    def answer(self) -> Answer:
        """The bumps with their weights."""
        return Answer(self.bumps, self.found.weight)

    @property
    def size(self) -> int:
        """The number of bumps."""
        return len(self.bumps.mean)

    @property
    def depth(self) -> int:
        """How often boxes were split."""
        return 0 if self.bumps.boxes is None else len(self.bumps.boxes.split)

    @property
    def misfit(self) -> float:
        """The largest of the misfits."""
        return max(self.quality.misfits.values())

    @property
    def error(self) -> float:
        """What is compared with the tolerance."""
        return max(self.change, self.misfit)

    def looked_at_closely(self, assembly: Assembly) -> SolvedSet:
        """Return the same set, judged on more points."""
        clock = Clock()
        many = assembly.at(DENSITY.close, self.bumps, held_out=True)
        quality = Quality.of(many, self.answer, self.size_of_u)
        return replace(self, quality=quality, close=True, seconds=self.seconds + clock.seconds)

    def step(self, seconds: float) -> Step:
        """Return what is told of the set."""
        sizes = self.size, self.shape.factor, self.shape.margin, self.depth
        return Step(*sizes, self.error, self.change, self.quality.misfits, self.quality.residuals, seconds)

    def module(self, domain: Domain) -> GMNM:
        """Return the solution; its domain is wider by rounding, so that points on the edge are in it."""
        m, d = self.bumps.mean.shape
        edge = ON_EDGE * float((domain.high - domain.low).max())
        box = (domain.low - edge).tolist(), (domain.high + edge).tolist()
        with torch.random.fork_rng(devices=[]):  # the parameters that are drawn are written over
            module = GMNM(d, 1, m, form="diagonal", domain=box, bias=False, dtype=torch.float64)
        module.load_state_dict({"mean": self.bumps.mean, "scale": self.bumps.scale, "weight": self.found.weight})
        return module.requires_grad_(False)


def solved_sets(assembly: Assembly, tolerance: float, max_components: int, clock: Clock) -> Iterator[SolvedSet]:
    """Yield solutions by growing sets of bumps: larger grids, or narrower bumps where the residual is.

    There are no more when there is no room or no time; of the first one nothing is known before, so there is always
    one. One that seems to have reached the tolerance is looked at more closely; if it has not, so are all that follow.
    """
    count, shape, rounds, settled = min(GROWTH.first, max_components), Shape(), GROWTH.rounds, False
    boxes, local, close = None, False, False
    by_splitting = 0.0  # the last change
    previous = None
    while True:
        trial = SolvedSet.of(assembly, count, shape, boxes, previous, close)
        if boxes is None and count <= GROWTH.searched:
            trial = _searched(assembly, trial, previous, rounds, clock)
        elif boxes is None and not settled:  # what is best for few bumps need not be so for many
            settled = True
            others = (s for s in SETTLED if s != shape and clock.allows(trial.seconds))
            rivals = (SolvedSet.of(assembly, count, s, None, previous, close) for s in others)
            trial = min([trial, *rivals], key=lambda t: t.misfit)
        if trial.error <= tolerance:
            trial = trial.looked_at_closely(assembly)
        close = trial.close
        if previous is not None and boxes is not previous.bumps.boxes:
            by_splitting = trial.change
        # what larger grids leave as it is may be wrong where boxes are too coarse; rings do grow with the grid
        unsettled = trial.error <= tolerance < by_splitting and not trial.bumps.rings and _is_concentrated(trial)
        if unsettled:
            trial = replace(trial, change=by_splitting)
        yield trial
        if unsettled:
            local = True
        elif previous is not None and trial.misfit > previous.misfit / 2:
            local = not local  # what did not help is not tried again
        finer = _finer(assembly.domain, trial, max_components) if local else None
        local = finer is not None
        if finer is not None:
            shape = Shape(margin=GROWTH.local_margin) if boxes is None else trial.shape
            boxes = finer
        else:
            larger = math.ceil(count * GROWTH.factor)
            room = max_components - (0 if boxes is None else boxes.num_bumps)
            if count >= room or (boxes is not None and larger > room):
                return
            shape, rounds = trial.shape, 1
            count = min(larger, room)
        if not clock.allows(GROWTH.slower * trial.seconds):
            return
        previous = trial


def _searched(assembly: Assembly, trial: SolvedSet, previous: SolvedSet | None, rounds: int, clock: Clock) -> SolvedSet:
    """Return the best solution by sets of that many bumps, among shapes near by, if there is time for a larger set."""
    for _ in range(rounds):
        shapes = (s for s in trial.shape.neighbours() if clock.allows((1 + GROWTH.slower) * trial.seconds))
        near = (SolvedSet.of(assembly, trial.count, shape, None, previous, trial.close) for shape in shapes)
        better = min(near, key=lambda t: t.misfit, default=trial)
        if better.misfit >= trial.misfit:
            break
        trial = better
    return trial


def _is_concentrated(trial: SolvedSet) -> bool:
    """Return whether boxes should be split once more, if they can be."""
    boxes, quality = trial.bumps.boxes, trial.quality
    return boxes is not None and boxes.marked(quality.x, quality.squares) is not None


def _finer(domain: Domain, trial: SolvedSet, max_components: int) -> Boxes | None:
    """Return boxes that are split where the residual of a set is, if it is concentrated and there is room."""
    if not domain.dense or domain.dim > GRIDS:
        return None
    x, square = trial.quality.x, trial.quality.squares
    away = torch.ones(len(x), dtype=torch.bool)
    for ring in trial.bumps.rings:
        away &= ring.copies(x)[0]
    if float(square[away].sum()) < float(square.sum()) / 2:  # rings grow with the grid
        return None
    boxes = trial.bumps.boxes
    if boxes is None:
        spacing, mean = grid(domain, coarse(domain, trial.count), GROWTH.local_margin)
        side = spacing * domain.units
        boxes = Boxes(mean.amin(0) - side / 2, side, trial.count)
    most = min(max_components, 2 * trial.size) - trial.count  # twice: the better set tells where to go on
    return boxes.refined(x[away], square[away], most)


def at_its_limit(errors: list[float]) -> bool:
    """Return whether the last sets are no better than those before, and do not become better one after the other."""
    before, last = errors[: -GROWTH.patience], errors[-GROWTH.patience :]
    return bool(before) and min(last) > min(before) / 2 and last[-1] > last[0] / 2
