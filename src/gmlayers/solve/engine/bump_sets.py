r"""Sets of bumps for a domain: a grid that goes beyond it, denser around corners and in boxes.

Near a re-entrant corner a solution is like a power of the distance r to it, so the bumps are graded: those of a ring,
shrunk again and again by half, fill the corner (the geometric meshes of Babuška and Guo, *The h-p version of the finite
element method*, 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.solve.domains import Corner, Domain
from gmlayers.solve.domains.sampling import spread
from gmlayers.solve.engine.boxes import Boxes


@dataclass(frozen=True)
class Grading:
    """How bumps are graded towards re-entrant corners."""

    share: float = 0.6
    """This share of the bumps is around corners."""
    depth: float = 4.0
    """A ring is shrunk this many times for each spacing that its radius has."""


@dataclass(frozen=True)
class Search:
    """How the shape of a set is searched for."""

    step: float = 1.25
    """Factor and margin are multiplied or divided by this to get to the next shapes."""
    least_factor: float = 2.0
    """No bumps are narrower than this. Narrower ones can be better for a small set, but then they are independent, and
    larger sets do not converge."""
    largest_margin: float = 0.35
    """The largest part of an axis that is margin, on each side."""


GRADING = Grading()
SEARCH = Search()

GRIDS = 3
"""In more dimensions than this grids are too coarse, and centres are points of low discrepancy."""

ROOM = 0.01
"""Two margins have fewer bumps along an axis than there may be, by at least this."""

WIDEST = 4096
"""The spacing of a grid is looked for between a lower bound and this many times as much; further up if need be."""

HALVINGS = 24
"""The spacing of a grid is found by this many steps of bisection, which is to the seventh digit."""


@dataclass(frozen=True)
class Shape:
    """The shape of a set of bumps."""

    factor: float = SEARCH.least_factor
    """The width of the bumps in terms of their spacing."""
    margin: float = 0.25
    """The part of an axis that is a margin beyond the domain, on each side."""

    def neighbours(self) -> list[Shape]:
        """Return the shapes that are a step away."""
        wider, narrower = self.factor * SEARCH.step, max(self.factor / SEARCH.step, SEARCH.least_factor)
        more, less = min(self.margin * SEARCH.step, SEARCH.largest_margin), self.margin / SEARCH.step
        near = {(wider, self.margin), (narrower, self.margin), (self.factor, more), (self.factor, less)}
        return [Shape(*pair) for pair in sorted(near - {(self.factor, self.margin)})]


SETTLED = Shape(), Shape(margin=0.06)
"""Large sets have one of these shapes: for solutions that go on smoothly beyond the domain, and for others."""


class Ring(NamedTuple):
    """What is between half the radius and the radius around a corner; it is shrunk so many times."""

    corner: Corner
    radius: float
    times: int

    def copies(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return which points are not nearer than the ring, and which are in it."""
        r = torch.linalg.vector_norm(x - self.corner.point, dim=1)
        return r >= self.radius / 2, (r >= self.radius / 2) & (r < self.radius)


class Bumps(NamedTuple):
    """Bumps along the axes, and where they are denser."""

    mean: Tensor
    """Centres, (m, d)."""
    scale: Tensor
    """Reciprocal widths, (m, d)."""
    rings: tuple[Ring, ...] = ()
    """The rings around corners that are filled with bumps."""
    boxes: Boxes | None = None
    """The boxes that have narrower bumps."""

    @classmethod
    def over(cls, domain: Domain, count: int, shape: Shape, boxes: Boxes | None) -> Bumps:
        """Return about that many bumps over a domain, and those of the boxes."""
        corners = domain.corners
        spacing, mean = grid(domain, coarse(domain, count), shape.margin)
        scale = (1 / (shape.factor * spacing * domain.units)).expand_as(mean)
        rings = []
        for corner in corners:  # a ring of r spacings has 3πr²/4 bumps, and is shrunk r · depth times
            share = GRADING.share * count / len(corners)
            radius = (share / (0.75 * math.pi * GRADING.depth)) ** (1 / 3)
            ring = Ring(corner, min(corner.radius / 2, radius * spacing), 0)  # half: those of two corners are apart
            outside, inside = ring.copies(mean)
            each = max(int(inside.sum()), 1)
            times = max(1, math.floor(share / each))
            shrunk = [corner.point + (mean[inside] - corner.point) * 0.5**j for j in range(1, times + 1)]
            sharper = [scale[inside] * 2.0**j for j in range(1, times + 1)]
            mean, scale = torch.cat([mean[outside], *shrunk]), torch.cat([scale[outside], *sharper])
            rings.append(ring._replace(times=times))
        if boxes is not None:
            centres, sharper = boxes.bumps(SEARCH.least_factor)
            mean, scale = torch.cat([mean, centres]), torch.cat([scale, sharper])
        return cls(mean, scale, tuple(rings), boxes)


def coarse(domain: Domain, count: int) -> int:
    """Return how many of the bumps are not around corners."""
    return math.ceil(count * (1 - GRADING.share)) if domain.corners else count


def grid(domain: Domain, count: int, margin: float) -> tuple[float, Tensor]:
    """Return the spacing and the points of a grid over the domain and a margin, about that many."""
    units, d = domain.units, domain.dim
    extent = (domain.high - domain.low) / units
    sides = extent.tolist()
    along = count ** (1 / d)
    beyond = margin * along
    if d <= GRIDS:  # where the domain is thin, the margins are all that there is
        beyond = min(beyond, (math.floor(along) - ROOM) / 2)
    middle = (domain.low + domain.high) / 2

    def points(spacing: float) -> Tensor:
        if d > GRIDS:
            return middle + units * (extent + 2 * beyond * spacing) * (spread(count, d) - 0.5)
        sizes = [math.floor(e / spacing + 2 * beyond) + 1 for e in sides]
        axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * spacing for n in sizes]
        x = middle + units * torch.cartesian_prod(*axes).reshape(-1, d)
        return x[domain.reached(x, beyond * spacing)]

    if d > GRIDS:
        spacing = float(extent.log().mean().exp()) / (along - 2 * beyond)
        return spacing, points(spacing)

    def too_many(spacing: float) -> bool:
        whole = math.prod(e / spacing + 2 * beyond + 1 for e in sides)
        return whole > 8 * count or len(points(spacing)) > count

    fine = float(extent.log().mean().exp()) / max(along, 1.0) / 8
    wide = WIDEST * fine
    while too_many(wide):  # the domain is so thin that there are no more bumps across than the margins have
        fine, wide = wide, WIDEST * wide
    for _ in range(HALVINGS):
        spacing = math.sqrt(fine * wide)
        if too_many(spacing):
            fine = spacing
        else:
            wide = spacing
    found = points(wide)
    return (wide, found) if len(found) else grid(domain, count, 2 * margin)  # all of them missed a thin domain
