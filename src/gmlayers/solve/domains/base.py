"""The base of all domains: points inside and on the boundary, outward normals, distances. All points are float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gmlayers._arrays import Array, numbers
from gmlayers._names import brief_value, flag, whole
from gmlayers._shown import shown
from gmlayers.solve._checks import without_gradient
from gmlayers.solve.domains.sampling import LowDiscrepancy

if TYPE_CHECKING:
    from gmlayers.solve.domains.combined import Difference, Union
    from gmlayers.solve.domains.points import Marked

BOUNDARY = "boundary"
"""This name stands for all of a boundary."""

ON_EDGE = 1e-12
"""A point is taken to be inside if it is outside by no more than this share of the size of the domain."""

BESIDE = 1e-7
"""Whether a point is on a boundary is seen from points this far beside it, relative to the size of the domain."""

SIDES = 1e-60, 1e60
"""A domain is at least and at most so long along each axis: of bumps in larger or smaller ones, float64 does not hold
the squares of second derivatives."""

DRAWS = 512
"""A domain is taken for empty when this many blocks of points of its bounding box have too few in it."""


class Points(NamedTuple):
    """Points, and the outward normals there."""

    x: Tensor
    """The points, (n, d)."""
    normal: Tensor | None = None
    """The normals, (n, d), of length 1; None inside a domain."""

    def __repr__(self) -> str:
        """Return the sizes, not the numbers."""
        return shown("Points", self._asdict())


class Corner(NamedTuple):
    """A re-entrant corner, at which solutions have singular derivatives."""

    point: Tensor
    """The place of the corner, (d,)."""
    radius: float
    """The radius up to which the domain is a cone: whatever is in it stays in it when it is shrunk towards the
    corner."""


class Domain(ABC):
    """A bounded domain.

    Attributes:
        low: the lower corner of the bounding box, (d,).
        high: the upper corner of the bounding box, (d,).
        parts: the names of the parts of the boundary to which conditions may refer.
        corners: the corners at which bumps are to be graded.
        dense: whether the domain has as many points as are asked for.
        fixed: the names of the parts that consist of points that were given.
    """

    low: Tensor
    high: Tensor
    parts: tuple[str, ...] = (BOUNDARY,)
    corners: tuple[Corner, ...] = ()
    dense: bool = True
    fixed: tuple[str, ...] = ()

    @abstractmethod
    def distance(self, x: Tensor) -> Tensor:
        """Return the signed distance to the boundary, (n,), negative inside.

        The distance is exact for :class:`Box`, :class:`Ball`, :class:`Polygon` and :class:`SpaceTime` of them. It is
        exact outside of a :class:`Union` and inside a :class:`Difference`, too; on the other side of these the boundary
        may be further away, but never nearer. For :class:`Implicit` the distance holds to first order near the
        boundary, and for :class:`PointCloud` it is a rough one.
        """

    @abstractmethod
    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        """Return about n points of a part of the boundary, with normals.

        Raises:
            ValueError: if the domain does not have that part, or nothing of it is left or found.
        """

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        """Return n points inside, (n, d), evenly spread.

        Raises:
            ValueError: if the domain is next to nothing of its bounding box.
        """
        n, held_out = check_drawn(self, n, held_out)
        found = torch.empty(0, self.dim, dtype=torch.float64)
        sequence = LowDiscrepancy(self.dim, held_out)
        for _ in range(DRAWS):
            x = self.low + (self.high - self.low) * sequence.draw(max(2 * n, 64))
            found = torch.cat([found, x[self.distance(x) < 0]])
            if len(found) >= n:
                return found[:n]
        raise ValueError(
            f"{type(self).__name__}: next to nothing of the box {self.low.tolist()}, {self.high.tolist()} is in the "
            f"domain; give a box that is not much larger"
        )

    def inside(self, x: Tensor | Array) -> Tensor:
        """Return which points (n, d) are in the domain or on its boundary, (n,) of bool.

        Raises:
            ValueError: if points are of another size.
            TypeError: if they are no real numbers.
        """
        x = numbers("inside: x", x).double()
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"inside: expected points x (n, {self.dim}), got {tuple(x.shape)}")
        return self.distance(x) <= ON_EDGE * float((self.high - self.low).max())

    def reached(self, x: Tensor, margin: float) -> Tensor:
        """Return which points of the bounding box widened by the margin are no further than that from the domain."""
        return self.distance(x) <= margin

    def outlines(self) -> Iterator[Domain]:
        """Yield the domains from whose boundaries the boundary is put together."""
        yield self

    def segments(self) -> Tensor:
        """Return the straight edges in the plane by their ends, (n, 2, 2); none if the boundary is not made of them."""
        return self.low.new_empty(0, 2, 2)

    @property
    def dim(self) -> int:
        """The number of coordinates."""
        return len(self.low)

    @property
    def units(self) -> Tensor:
        """The lengths of the axes that count as equal, (d,)."""
        return torch.ones_like(self.low)

    def marked(self, points: Mapping[str, Tensor | Array]) -> Marked:
        """Return the same domain with points by name, to which conditions may refer like to parts of the boundary.

        Args:
            points: the points by name, (n, d) each, in the domain or on its boundary. They are places where something
                was measured, or a single one says which of the solutions that differ by a constant is meant. Of eight
                points and more a quarter is held out.

        Raises:
            ValueError: if a part has that name already, or points are of a wrong shape, not finite, or outside.
            TypeError: if points are no real numbers, or require a gradient.

        Example:
            >>> import torch
            >>> from gmlayers import solve
            >>> u, disc = solve.unknown(2), solve.Ball((0, 0), 1).marked({"centre": torch.zeros(1, 2)})
            >>> given = {"boundary": solve.normal_derivative(u) == 2, "centre": u == 5}
            >>> found = solve.solve(solve.Problem(disc, solve.laplacian(u) == 4, given)).u
            >>> round(found(torch.tensor([[0.6, 0.8]], dtype=torch.float64)).item(), 6)
            6.0
        """
        from gmlayers.solve.domains.points import Marked  # it is a domain, and so imports this file

        return Marked(self, points)

    def __or__(self, other: Domain) -> Union:
        from gmlayers.solve.domains.combined import Union

        return Union(self, other)

    def __sub__(self, other: Domain) -> Difference:
        from gmlayers.solve.domains.combined import Difference

        return Difference(self, other)

    def _check_part(self, n: int, part: str, held_out: bool) -> None:
        check_drawn(self, n, held_out)
        if not isinstance(part, str) or part not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise ValueError(f"{type(self).__name__}: there is no part {brief_value(part)}; there are: {known}")


def check_drawn(domain: Domain, n: object, held_out: object) -> tuple[int, bool]:
    """Return how many points are to be drawn, and which; raise ``ValueError`` or ``TypeError`` for no such thing."""
    name = type(domain).__name__
    number = whole(f"{name}: the number n of points", n)
    if number < 0:
        raise ValueError(f"{name}: the number n of points must not be negative, got {number}")
    return number, flag(f"{name}: held_out", held_out)


def check_domain(name: str, given: object) -> None:
    """Raise ``TypeError`` for what is no domain."""
    if not isinstance(given, Domain):
        raise TypeError(f"{name}: expected a domain, like Box((0, 0), (1, 1)), got {brief_value(given)}")


def bounds(name: str, low: Tensor | Array, high: Tensor | Array, *, of: str = "") -> tuple[Tensor, Tensor]:
    """Return lower and upper bounds in float64, (d,) each; raise ``ValueError`` if they bound nothing.

    They are not nearer nor further from each other than float64 can be used for, either; ``of`` says in that error what
    they are bounds of.
    """
    a, b = (vector(f"{name}: a bound", v) for v in (low, high))
    if a.shape != b.shape or not len(a) or not bool((a < b).all() and a.isfinite().all() and b.isfinite().all()):
        raise ValueError(f"{name}: expected finite bounds with low < high, got {a.tolist()} and {b.tolist()}")
    sides = b - a
    if not bool(((SIDES[0] <= sides) & (sides <= SIDES[1])).all()):
        raise ValueError(
            f"{name}: expected sides from {SIDES[0]:g} to {SIDES[1]:g} between the bounds{of}, got {sides.tolist()}; "
            f"measure coordinates in other units"
        )
    return a, b


def vector(name: str, given: Tensor | Array) -> Tensor:
    """Return numbers in float64, (n,); raise ``TypeError`` for others, and if they require a gradient."""
    return numbers(name, without_gradient(name, given)).double().cpu().reshape(-1)


def joined(found: Sequence[Points]) -> Points:
    """Return all points in one, with their normals."""
    return Points(torch.cat([p.x for p in found]), torch.cat([p.normal for p in found if p.normal is not None]))
