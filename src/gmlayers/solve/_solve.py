r"""Linear differential equations by least squares in Gaussian bumps.

Of :math:`u = \sum_k w_k f_k` the equation and its conditions are asked for at more points than there are bumps. Bumps
stand on a grid that goes beyond the domain, they overlap widely, and they are nearly dependent: what makes that a good
basis to the limit of double precision is least squares with more rows than columns, and small singular values left out
(Adcock and Huybrechs, *Frames and numerical approximation*, 2019).

Near a re-entrant corner a solution is like a power of the distance r to it, so the bumps are graded: those of a ring,
shrunk again and again by half, fill the corner, and so do the points, because the domain is a cone there (the
geometric meshes of Babuška and Guo, *The h-p version of the finite element method*, 1986).

Where larger sets do not help and the residual is concentrated, as at narrow peaks and layers, boxes are split instead:
:mod:`gmlayers.solve._boxes`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gmlayers.nn import GMNM
from gmlayers.solve._boxes import Boxes
from gmlayers.solve._domain import ON_EDGE, Corner, Domain, Points, Remembered, spread
from gmlayers.solve._equation import Equation, Expression, rows, unknown, values
from gmlayers.solve._fit import BLOCK, float32_loss
from gmlayers.solve._least_squares import LeastSquares, Rows, least_squares
from gmlayers.solve._limits import check_limits, warn_of_float32

FIRST = 100
"""Bumps of the first set."""

LEAST = 16
"""Bumps below which a set is none."""

GROWTH = 1.6
"""Of the number of bumps, from one set to the next."""

SEARCHED = 420
"""Bumps up to which the shape is searched for; what is best there is kept."""

ROUNDS = 8
"""Of that search, for the first set; there is one for others."""

POINTS = 2.5
"""Points inside, per bump."""

CONDITION = 10.0
"""How much residuals of conditions count, against those of the equation, in terms of the size of their rows."""

HELD_OUT = 300
"""Bumps for which points would be as many as those on which the error is estimated."""

CLOSE = 3200
"""The same, where the tolerance seems to be reached: nothing is to hide between the points."""

FLOAT32_POINTS = 2000
"""Inside the domain, on which it is measured what float32 loses."""

CORNER_SHARE = 0.6
"""Of the bumps, around re-entrant corners."""

DEPTH = 4.0
"""How often a ring is shrunk towards a corner, in terms of its radius in spacings."""

STEP = 1.25
"""Of the factor and the margin in that search."""

LEAST_FACTOR = 2.0
"""Narrower bumps can be better for a small set, but then they are independent, and larger sets do not converge."""

LARGEST_MARGIN = 0.35
"""Part of an axis, on each side, that is margin."""

LOCAL_MARGIN = 0.15
"""Of the grid of a set that has narrower bumps somewhere."""

PATIENCE = 5
"""Sets in which the error is not halved, neither from those before nor from first to last, after which it is at its
limit."""

EQUATION = "equation"
"""Name of the residual of the equation; conditions are named by their part."""

Reason = Literal["tolerance", "limit", "bumps", "time"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A linear differential equation with its conditions.

    Args:
        domain: where it holds.
        equation: between an expression in the unknown and a right-hand side.
        conditions: by the part of the boundary, one or several.

    Raises:
        ValueError: an equation or condition without the unknown; another number of coordinates than the domain has; a
            part that the domain does not have.
        TypeError: what is no equation.

    Example:
        >>> from gmlayers import solve
        >>> u = solve.unknown(2)
        >>> plate = solve.Problem(solve.Ball((0, 0), 1), solve.laplacian(u) == -4, {"boundary": u == 0})
        >>> bool((solve.solve(plate).u(plate.domain.interior(10)) > 0).all())
        True
    """

    domain: Domain
    equation: Equation
    conditions: Mapping[str, Equation | Sequence[Equation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.domain, Domain):
            raise TypeError(
                f"Problem: the domain must be one of gmlayers.solve, like Box(low, high), got "
                f"{type(self.domain).__name__}"
            )
        if not isinstance(self.conditions, Mapping):
            raise TypeError(
                f"Problem: conditions must be given by the part of the boundary, like {{'boundary': u == 0}}, got "
                f"{type(self.conditions).__name__}"
            )
        unknown_parts = set(self.conditions) - set(self.domain.parts)
        if unknown_parts:
            raise ValueError(
                f"Problem: the domain has no part {sorted(unknown_parts)[0]!r}; there are: "
                f"{', '.join(self.domain.parts)}"
            )
        for name, _, equation in self.asked():
            if not isinstance(equation, Equation):
                raise TypeError(
                    f"Problem: the {name} must be an equation between an expression in the unknown and a right-hand "
                    f"side, like laplacian(u) == 0, got {type(equation).__name__}"
                )
            if equation.expression.dim != self.domain.dim:
                raise ValueError(
                    f"Problem: the unknown of the {name} has {equation.expression.dim} coordinates, the domain "
                    f"{self.domain.dim}"
                )
            if _vanishes(equation.expression):
                raise ValueError(f"Problem: the {name} does not have the unknown in it")

    def asked(self) -> Iterator[tuple[str, str | None, Equation]]:
        """Yield name, part of the boundary and equation of all that is asked for; the equation inside is first."""
        yield EQUATION, None, self.equation
        for part, given in self.conditions.items():
            several = [given] if isinstance(given, Equation) or not isinstance(given, Sequence) else list(given)
            for i, condition in enumerate(several):
                yield f"{part}" if len(several) == 1 else f"{part} ({i + 1})", part, condition


class Step(NamedTuple):
    """One set of bumps that was solved for; what is not explained here is as in :class:`Solution`."""

    num_components: int
    factor: float
    """Width of the bumps in terms of their spacing."""
    margin: float
    """Which part of the bumps along an axis is beyond the domain, on each side."""
    depth: int
    """How often boxes were split where the residual is: there are bumps narrower by that power of 2."""
    error: float
    change: float
    misfits: dict[str, float]
    residuals: dict[str, float]
    seconds: float
    """Since the start."""


@dataclass(frozen=True)
class Solution:
    """What :func:`solve` found, and how good it is.

    Names of residuals are ``"equation"``, and of conditions those of their parts, with (1), (2) where there are
    several. All are root mean squares on points that were held out.
    """

    u: GMNM
    """The solution, in float64: ``u(x)``, ``u.gradient(x)``, ``u.laplacian(x)``, ``u.hessian(x)``. Its domain is the
    bounding box; of points beyond it it warns, and :meth:`~gmlayers.GMNM.outside` tells which. Its parameters do not
    require gradients."""
    reason: Reason
    """Why it ended. ``"tolerance"``: the error is below it; ``"limit"``: larger sets did not make it smaller, as at the
    limit of double precision, or where conditions contradict each other; ``"bumps"`` and ``"time"``: as much as
    allowed. Unless it is the tolerance, the best set is returned."""
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
    history: tuple[Step, ...]
    """All sets, in order."""

    @property
    def converged(self) -> bool:
        """Whether the error is below the tolerance."""
        return self.reason == "tolerance"


@torch.no_grad()
def solve(
    problem: Problem,
    tol: float = 1e-10,
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
        tol: for the error, relative to the root mean square of u.
        max_components: of the largest set, at least 16. Time grows with the cube: 2000 take some seconds on one core.
            The error is estimated from two sets; if there is room for one only, up to 100, it is infinite.
        max_seconds: no set is begun that is expected to end later.
        float32_tolerance: warn if u in float32 would lose more. None for no warning.
        callback: called with every set that was solved for.

    Returns:
        The best solution with what is known about it. Contradicting conditions are no error: the residuals tell.

    Raises:
        ValueError: options out of range; coefficients or right-hand sides that are of a wrong shape, or not finite, or
            too large to be squared, by name.
        TypeError: what is no problem, or no number.

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
    max_components = check_limits("solve", tol, max_seconds, max_components, LEAST, float32_tolerance, callback)
    with torch.device("cpu"):  # whatever the default is
        problem = replace(problem, domain=Remembered(problem.domain))  # for all sets the points are the same
        history: list[Step] = []
        trials: list[_Trial] = []
        reason: Reason = "bumps"
        start = before = time.perf_counter()
        for trial in _sets(problem, tol, max_components):
            now = time.perf_counter()
            if trials and trial.close and not trials[-1].close:  # something was hidden from those before, too
                trials = [t.looked_at_closely(problem) for t in trials]
            trials.append(trial)
            history.append(trial.step(now - start))
            if callback is not None:
                callback(history[-1])
            errors = [t.error for t in trials]
            if trial.error <= tol:
                reason = "tolerance"
                break
            if _stale(errors):
                reason = "limit"
                break
            if trial.count < max_components and now - start + (now - before) * GROWTH**3 > max_seconds:
                reason = "time"
                break
            before = now
        best = min(_with_hindsight(trials), key=lambda t: (t.error, t.misfit))
        u = best.module(problem.domain)
        lost = float(float32_loss(u, problem.domain.interior(FLOAT32_POINTS))) / best.size_of_u
    warn_of_float32("solve", "u", best.found.max_weight, lost, float32_tolerance)
    return Solution(
        u,
        reason,
        best.error,
        best.change,
        best.misfits,
        best.residuals,
        best.found.rank,
        best.found.condition,
        best.found.max_weight,
        lost,
        tuple(history),
    )


def _with_hindsight(trials: Sequence[_Trial]) -> Iterator[_Trial]:
    """Yield the sets, and let how far a set was from a better one after it count as its change."""
    for trial, after in pairwise(trials):
        better = after.misfit <= trial.misfit
        yield replace(trial, change=max(trial.change, after.change)) if better else trial
    yield trials[-1]


def _stale(errors: Sequence[float]) -> bool:
    """Return whether the last sets are no better than those before, and do not become better one after the other."""
    before, last = errors[:-PATIENCE], errors[-PATIENCE:]
    return bool(before) and min(last) > min(before) / 2 and last[-1] > last[0] / 2


def _sets(problem: Problem, tol: float, max_components: int) -> Iterator[_Trial]:
    """Yield solutions by growing sets of bumps: larger grids, or narrower bumps where the residual is.

    One that seems to have reached the tolerance is looked at more closely; if it has not, so are all that follow.
    """
    count, shape, rounds, settled = min(FIRST, max_components), _Shape(), ROUNDS, False
    boxes, local, close = None, False, False
    by_splitting = 0.0  # the last change
    previous = None
    while True:
        trial = _try(problem, count, shape, boxes, previous, close)
        if boxes is None and count <= SEARCHED:
            trial = _searched(problem, trial, previous, rounds)
        elif boxes is None and not settled:  # what is best for few bumps need not be so for many
            settled = True
            rivals = (_try(problem, count, s, None, previous, close) for s in SETTLED if s != shape)
            trial = min(trial, *rivals, key=lambda t: t.misfit)
        if trial.error <= tol:
            trial = trial.looked_at_closely(problem)
        close = trial.close
        if previous is not None and boxes is not previous.bumps.boxes:
            by_splitting = trial.change
        # what larger grids leave as it is may be wrong where boxes are too coarse; rings do grow with the grid
        unsettled = trial.error <= tol < by_splitting and not trial.bumps.rings and _is_concentrated(trial)
        if unsettled:
            trial = replace(trial, change=by_splitting)
        yield trial
        if unsettled:
            local = True
        elif previous is not None and trial.misfit > previous.misfit / 2:
            local = not local  # what did not help is not tried again
        finer = _finer(problem.domain, trial, max_components) if local else None
        local = finer is not None
        if finer is not None:
            shape = _Shape(margin=LOCAL_MARGIN) if boxes is None else trial.shape
            boxes = finer
        else:
            larger = math.ceil(count * GROWTH)
            room = max_components - (0 if boxes is None else boxes.num_bumps)
            if count >= room or (boxes is not None and larger > room):
                return
            shape, rounds = trial.shape, 1
            count = min(larger, room)
        previous = trial


def _is_concentrated(trial: _Trial) -> bool:
    """Return whether boxes should be split once more, if they can be."""
    return trial.bumps.boxes is not None and trial.bumps.boxes.marked(*trial.left) is not None


def _finer(domain: Domain, trial: _Trial, max_components: int) -> Boxes | None:
    """Return boxes that are split where the residual of a trial is, if it is concentrated and there is room."""
    if not domain.dense or domain.dim > 3:
        return None
    x, square = trial.left
    away = torch.ones(len(x), dtype=torch.bool)
    for ring in trial.bumps.rings:
        away &= ring.copies(x)[0]
    if float(square[away].sum()) < float(square.sum()) / 2:  # rings grow with the grid
        return None
    boxes = trial.bumps.boxes
    if boxes is None:
        spacing, mean = _grid(domain, _coarse(domain, trial.count), LOCAL_MARGIN)
        side = spacing * domain.units
        boxes = Boxes(mean.amin(0) - side / 2, side, trial.count)
    most = min(max_components, 2 * trial.size) - trial.count  # twice: the better set tells where to go on
    return boxes.refined(x[away], square[away], most)


def _searched(problem: Problem, trial: _Trial, previous: _Trial | None, rounds: int) -> _Trial:
    """Return the best solution by sets of that many bumps, among shapes near by."""
    for _ in range(rounds):
        near = (_try(problem, trial.count, s, None, previous, trial.close) for s in trial.shape.neighbours())
        better = min(near, key=lambda t: t.misfit)
        if better.misfit >= trial.misfit:
            break
        trial = better
    return trial


@dataclass(frozen=True)
class _Shape:
    """Of a set of bumps: their width in terms of their spacing, and which part of an axis is a margin, on each side."""

    factor: float = LEAST_FACTOR
    margin: float = 0.25

    def neighbours(self) -> list[_Shape]:
        wider, narrower = self.factor * STEP, max(self.factor / STEP, LEAST_FACTOR)
        more, less = min(self.margin * STEP, LARGEST_MARGIN), self.margin / STEP
        near = {(wider, self.margin), (narrower, self.margin), (self.factor, more), (self.factor, less)}
        return [_Shape(*pair) for pair in sorted(near - {(self.factor, self.margin)})]


SETTLED = _Shape(), _Shape(margin=0.06)
"""Of large sets: for solutions that go on smoothly beyond the domain, and for others."""


class _Bumps(NamedTuple):
    """Centres (m, d), reciprocal widths (m, d), and where they are denser: rings around the corners, and boxes."""

    mean: Tensor
    scale: Tensor
    rings: tuple[_Ring, ...]
    boxes: Boxes | None


class _Ring(NamedTuple):
    """Between half the radius and the radius; it is shrunk so many times."""

    corner: Corner
    radius: float
    times: int

    def copies(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return which points are not nearer than the ring, and which are in it."""
        r = torch.linalg.vector_norm(x - self.corner.point, dim=1)
        return r >= self.radius / 2, (r >= self.radius / 2) & (r < self.radius)


def _bumps(domain: Domain, count: int, shape: _Shape, boxes: Boxes | None) -> _Bumps:
    """Return about that many bumps, and those of the boxes."""
    corners = domain.corners
    spacing, mean = _grid(domain, _coarse(domain, count), shape.margin)
    scale = (1 / (shape.factor * spacing * domain.units)).expand_as(mean)
    rings = []
    for corner in corners:  # a ring of r spacings has 3πr²/4 bumps, and is shrunk r · DEPTH times
        share = CORNER_SHARE * count / len(corners)
        radius = (share / (0.75 * math.pi * DEPTH)) ** (1 / 3)
        ring = _Ring(corner, min(corner.radius / 2, radius * spacing), 0)  # half: those of two corners are apart
        outside, inside = ring.copies(mean)
        each = max(int(inside.sum()), 1)
        times = max(1, math.floor(share / each))
        shrunk = [corner.point + (mean[inside] - corner.point) * 0.5**j for j in range(1, times + 1)]
        sharper = [scale[inside] * 2.0**j for j in range(1, times + 1)]
        mean, scale = torch.cat([mean[outside], *shrunk]), torch.cat([scale[outside], *sharper])
        rings.append(ring._replace(times=times))
    if boxes is not None:
        centres, sharper = boxes.bumps(LEAST_FACTOR)
        mean, scale = torch.cat([mean, centres]), torch.cat([scale, sharper])
    return _Bumps(mean, scale, tuple(rings), boxes)


def _coarse(domain: Domain, count: int) -> int:
    """Return how many of the bumps are not around corners."""
    return math.ceil(count * (1 - CORNER_SHARE)) if domain.corners else count


def _grid(domain: Domain, count: int, margin: float) -> tuple[float, Tensor]:
    """Return the spacing and the points of a grid over the domain and a margin, about that many.

    Beyond three dimensions, where grids are too coarse, points are of low discrepancy.
    """
    units, d = domain.units, domain.dim
    extent = (domain.high - domain.low) / units
    margin = margin * count ** (1 / d)
    middle = (domain.low + domain.high) / 2

    def points(spacing: float) -> Tensor:
        if d > 3:
            return middle + units * (extent + 2 * margin * spacing) * (spread(count, d) - 0.5)
        sizes = [math.floor(e / spacing + 2 * margin) + 1 for e in extent.tolist()]
        axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * spacing for n in sizes]
        x = middle + units * torch.cartesian_prod(*axes).reshape(-1, d)
        return x[domain.reached(x, margin * spacing)]

    if d > 3:
        spacing = float(extent.log().mean().exp()) / (count ** (1 / d) - 2 * margin)
        return spacing, points(spacing)
    fine = float(extent.log().mean().exp()) / max(count ** (1 / d), 1.0) / 8
    coarse = 4096 * fine
    for _ in range(24):
        spacing = math.sqrt(fine * coarse)
        if math.prod(float(e) / spacing + 2 * margin + 1 for e in extent) > 8 * count or len(points(spacing)) > count:
            fine = spacing
        else:
            coarse = spacing
    return coarse, points(coarse)


class _Block(NamedTuple):
    """Points at which one thing is asked for, with the volumes they stand for, in parts of similar rows."""

    name: str
    equation: Equation
    parts: list[tuple[Points, float]]

    @classmethod
    def all_of(cls, problem: Problem, n: int, bumps: _Bumps, *, held_out: bool) -> list[_Block]:
        d = problem.domain.dim
        found = []
        for name, part, equation in problem.asked():
            draw = partial(_draw, problem.domain, part, held_out)
            fixed = part in problem.domain.fixed  # not to be moved, nor to be had more densely
            parts = [(draw(n), 1.0)] if fixed else _graded(draw, n, bumps, held_out, d if part is None else d - 1)
            found.append(cls(name, equation, parts))
        return found


def _draw(domain: Domain, part: str | None, held_out: bool, n: int) -> Points:
    """Return the points for n bumps, inside or of a part of the boundary."""
    if part is None:
        return Points(domain.interior(math.ceil(POINTS * n), held_out=held_out))
    number = math.ceil(min(16 * n ** ((domain.dim - 1) / domain.dim), 1.5 * n))
    return domain.boundary(number, part, held_out=held_out)


def _graded(
    draw: Callable[[int], Points], n: int, bumps: _Bumps, held_out: bool, dim: int
) -> list[tuple[Points, float]]:
    """Return the points in parts, denser in boxes and in rings."""
    points = draw(n)
    outside, rings = _shrunk(points, bumps.rings, dim)
    if bumps.boxes is None:
        return [(outside, 1.0), *rings]
    boxes, parts = bumps.boxes.sampled(), []
    density = HELD_OUT if held_out else boxes.density
    for depth in range(len(boxes.split) + 1):
        finer = points if depth == 0 else draw(max(n, density * 2 ** (depth * len(boxes.low))))
        outside, _ = _shrunk(finer, bumps.rings, dim)
        here = _take(outside, boxes.depth(outside.x) == depth)
        if len(here.x):
            parts.append((here, len(points.x) / len(finer.x)))
    return [*parts, *rings]


def _shrunk(points: Points, rings: Sequence[_Ring], dim: int) -> tuple[Points, list[tuple[Points, float]]]:
    """Return the points outside of the rings, and those in them, shrunk to the corners once more than the bumps."""
    parts = []
    for ring in rings:
        outside, inside = ring.copies(points.x)
        if bool(inside.any()):
            towards = points.x[inside] - ring.corner.point
            normal = None if points.normal is None else points.normal[inside]
            for j in range(1, ring.times + 2):
                parts.append((Points(ring.corner.point + towards * 0.5**j, normal), 0.5 ** (j * dim)))
        points = _take(points, outside)
    return points, parts


def _system(problem: Problem, bumps: _Bumps, n: int) -> Iterator[Rows]:
    """Yield all equations, each part in terms of the size of its rows."""
    for block in _Block.all_of(problem, n, bumps, held_out=False):
        importance = 1.0 if block.name == EQUATION else CONDITION
        for points, _ in block.parts:
            target = values(block.equation.right, points, f"the right-hand side of the {block.name}")
            size = _row_size(block, points, bumps)
            weight = torch.full_like(target[:, 0], (importance / size) ** 2)
            begin = 0
            for part in _split(points, bumps):
                end = begin + len(part.x)
                yield Rows(_rows(block, part, bumps), target[begin:end], weight[begin:end])
                begin = end


def _rows(block: _Block, points: Points, bumps: _Bumps) -> Tensor:
    return rows(block.equation.expression, points, bumps.mean, bumps.scale, f"the {block.name}")


def _row_size(block: _Block, points: Points, bumps: _Bumps) -> float:
    """Return the root mean square of the norms of the rows, from some of them; 1 if they are 0."""
    some = _take(points, slice(None, None, max(1, len(points.x) // 128)))
    return float(_rows(block, some, bumps).square().sum(1).mean().sqrt()) or 1.0


def _split(points: Points, bumps: _Bumps) -> Iterator[Points]:
    """Yield the points in blocks whose rows take little memory."""
    step = max(1, BLOCK // len(bumps.mean))
    for i in range(0, len(points.x), step):
        yield _take(points, slice(i, i + step))


def _take(points: Points, part: slice | Tensor) -> Points:
    return Points(points.x[part], None if points.normal is None else points.normal[part])


class _Judged(NamedTuple):
    """What is left, as in :class:`_Trial`."""

    misfits: dict[str, float]
    residuals: dict[str, float]
    left: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Trial:
    """A set of bumps, with the best weights."""

    count: int
    shape: _Shape
    bumps: _Bumps
    found: LeastSquares
    size_of_u: float
    """Root mean square."""
    change: float
    misfits: dict[str, float]
    residuals: dict[str, float]
    left: tuple[Tensor, Tensor]
    """Points (n, d), and their shares of the squares of the misfits, (n,)."""
    close: bool
    """Whether it was looked at closely, on many points."""

    @property
    def size(self) -> int:
        return len(self.bumps.mean)

    @property
    def depth(self) -> int:
        return 0 if self.bumps.boxes is None else len(self.bumps.boxes.split)

    @property
    def misfit(self) -> float:
        return max(self.misfits.values())

    @property
    def error(self) -> float:
        return max(self.change, self.misfit)

    def looked_at_closely(self, problem: Problem) -> _Trial:
        """Return the same set, judged on more points."""
        blocks = _Block.all_of(problem, CLOSE, self.bumps, held_out=True)
        return replace(self, **_judged(blocks, self.bumps, self.found, self.size_of_u)._asdict(), close=True)

    def step(self, seconds: float) -> Step:
        factor, margin = self.shape.factor, self.shape.margin
        sizes = self.size, factor, margin, self.depth
        return Step(*sizes, self.error, self.change, self.misfits, self.residuals, seconds)

    def module(self, domain: Domain) -> GMNM:
        """Return the solution; its domain is wider by rounding, so that points on the edge are in it."""
        m, d = self.bumps.mean.shape
        edge = ON_EDGE * float((domain.high - domain.low).max())
        box = (domain.low - edge).tolist(), (domain.high + edge).tolist()
        with torch.random.fork_rng(devices=[]):  # the parameters that are drawn are written over
            module = GMNM(d, 1, m, form="diagonal", domain=box, bias=False, dtype=torch.float64)
        module.load_state_dict({"mean": self.bumps.mean, "scale": self.bumps.scale, "weight": self.found.weight})
        return module.requires_grad_(False)


def _try(
    problem: Problem, count: int, shape: _Shape, boxes: Boxes | None, previous: _Trial | None, close: bool
) -> _Trial:
    """Solve for a set of bumps, and see how good it is on points held out."""
    bumps = _bumps(problem.domain, count, shape, boxes)
    found = least_squares(_system(problem, bumps, _coarse(problem.domain, count)))
    blocks = _Block.all_of(problem, CLOSE if close else HELD_OUT, bumps, held_out=True)
    itself = blocks[0]._replace(equation=unknown(problem.domain.dim) == 0)
    u, change = _Mean(), _Mean()
    for part, volume in ((part, volume) for points, volume in itself.parts for part in _split(points, bumps)):
        f = _rows(itself, part, bumps)
        value = f @ found.weight
        u.add(value, volume)
        if previous is not None:
            change.add(value - _rows(itself, part, previous.bumps) @ previous.found.weight, volume)
    size = u.root or 1.0
    changed = math.inf if previous is None else change.root / size
    judged = _judged(blocks, bumps, found, size)
    return _Trial(count, shape, bumps, found, size, changed, *judged, close)


def _judged(blocks: Sequence[_Block], bumps: _Bumps, found: LeastSquares, size: float) -> _Judged:
    """Return what is left of equation and conditions on points held out; size is that of u."""
    misfits, residuals = {}, {}
    x, squares = [], []
    itself = unknown(bumps.mean.shape[1]) == 0
    for block in blocks:
        left, scaled, shares = _Mean(), _Mean(), []
        for points, volume in block.parts:
            target = values(block.equation.right, points, f"the right-hand side of the {block.name}")
            residual = torch.cat([_rows(block, part, bumps) @ found.weight for part in _split(points, bumps)]) - target
            left.add(residual, volume)
            of_u = _row_size(block._replace(equation=itself), points, bumps)
            in_units = residual * (of_u / _row_size(block, points, bumps))
            scaled.add(in_units, volume)
            shares.append(volume * in_units.square().flatten())
            x.append(points.x)
        residuals[block.name], misfits[block.name] = left.root, scaled.root / size
        squares += [share / scaled.volume for share in shares]
    return _Judged(misfits, residuals, (torch.cat(x), torch.cat(squares)))


class _Mean:
    """A mean square of numbers that stand for different volumes."""

    def __init__(self) -> None:
        self.total = self.volume = 0.0

    def add(self, numbers: Tensor, volume: float) -> None:
        self.total += volume * float(numbers.square().sum())
        self.volume += volume * len(numbers)

    @property
    def root(self) -> float:
        return math.sqrt(self.total / self.volume)


def _vanishes(expression: Expression) -> bool:
    """Return whether the terms cancel, as far as their coefficients are numbers."""
    numbers: dict[tuple[object, ...], float] = {}
    for term in expression.terms:
        key = (term.axes, term.functions)
        numbers[key] = numbers.get(key, 0.0) + term.number
    return not any(numbers.values())
