"""Where a problem is asked for a set of bumps: points as dense as the bumps are, and others that are held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gmlayers.solve.domains import Domain, Points
from gmlayers.solve.domains.wrapped import Remembered
from gmlayers.solve.engine.bump_sets import Bumps, Ring
from gmlayers.solve.engine.collocation import Collocation, take
from gmlayers.solve.equations import Problem


@dataclass(frozen=True)
class Density:
    """How many points there are."""

    per_bump: float = 2.5
    """There are this many points inside for each bump."""
    edge: float = 16.0
    """A part of the boundary has this many points, times the number of bumps to the power (d - 1) / d."""
    edge_per_bump: float = 1.5
    """A part of the boundary has at most this many points for each bump."""
    held_out: int = 300
    """The error is estimated on as many points as are fitted for this many bumps."""
    close: int = 3200
    """The number of bumps for whose points the error is estimated if the tolerance seems to be reached: nothing is
    to hide between the points."""


DENSITY = Density()


class Assembly:
    """A problem that is assembled for one set of bumps after another, only as often as the points change."""

    def __init__(self, problem: Problem) -> None:
        self.problem = replace(problem, domain=Remembered(problem.domain))  # for all sets the points are the same
        self.domain = self.problem.domain
        self._latest: dict[bool, tuple[int, Collocation]] = {}

    def at(self, n: int, bumps: Bumps, *, held_out: bool) -> Collocation:
        """Return the problem at the points for n bumps, denser where the bumps are."""
        if bumps.rings or bumps.boxes is not None:
            return self._assembled(n, bumps, held_out)
        if held_out not in self._latest or self._latest[held_out][0] != n:
            self._latest[held_out] = n, self._assembled(n, bumps, held_out)
        return self._latest[held_out][1]

    def _assembled(self, n: int, bumps: Bumps, held_out: bool) -> Collocation:
        domain = self.domain

        def place(part: str | None) -> Sequence[tuple[Points, float]]:
            def draw(n: int) -> Points:
                return _draw(domain, part, held_out, n)

            if part in domain.fixed:  # those points are not to be moved, nor to be had more densely
                return [(draw(n), 1.0)]
            return _graded(draw, n, bumps, held_out, domain.dim if part is None else domain.dim - 1)

        return Collocation.of(self.problem, place)


def _draw(domain: Domain, part: str | None, held_out: bool, n: int) -> Points:
    """Return the points for n bumps, inside or of a part of the boundary."""
    if part is None:
        return Points(domain.interior(math.ceil(DENSITY.per_bump * n), held_out=held_out))
    number = math.ceil(min(DENSITY.edge * n ** ((domain.dim - 1) / domain.dim), DENSITY.edge_per_bump * n))
    return domain.boundary(number, part, held_out=held_out)


def _graded(
    draw: Callable[[int], Points], n: int, bumps: Bumps, held_out: bool, dim: int
) -> list[tuple[Points, float]]:
    """Return the points in parts, denser in boxes and in rings, with the volumes that they stand for."""
    points = draw(n)
    outside, rings = _shrunk(points, bumps.rings, dim)
    if bumps.boxes is None:
        return [(outside, 1.0), *rings]
    boxes, parts = bumps.boxes.sampled(), []
    density = DENSITY.held_out if held_out else boxes.density
    for depth in range(len(boxes.split) + 1):
        finer = points if depth == 0 else draw(max(n, density * 2 ** (depth * len(boxes.low))))
        outside, _ = _shrunk(finer, bumps.rings, dim)
        here = take(outside, boxes.depth(outside.x) == depth)
        if len(here.x):
            parts.append((here, len(points.x) / len(finer.x)))
    return [*parts, *rings]


def _shrunk(points: Points, rings: Sequence[Ring], dim: int) -> tuple[Points, list[tuple[Points, float]]]:
    """Return the points outside of the rings, and those in them, shrunk to the corners once more than the bumps."""
    parts = []
    for ring in rings:
        outside, inside = ring.copies(points.x)
        if bool(inside.any()):
            towards = points.x[inside] - ring.corner.point
            normal = None if points.normal is None else points.normal[inside]
            for j in range(1, ring.times + 2):
                parts.append((Points(ring.corner.point + towards * 0.5**j, normal), 0.5 ** (j * dim)))
        points = take(points, outside)
    return points, parts
