"""Unions and differences of two domains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from gmlayers.solve.domains.base import BESIDE, BOUNDARY, Domain, Points, check_domain, joined
from gmlayers.solve.domains.corners import reentrant
from gmlayers.solve.domains.space_time import SpaceTime


class _Pair(Domain):
    """Two domains taken together.

    Re-entrant corners between straight edges, of boxes and polygons in the plane, are known.
    """

    sign: float
    """The normals of the second domain are multiplied by this."""

    def __init__(self, a: Domain, b: Domain) -> None:
        for domain in (a, b):
            check_domain(type(self).__name__, domain)
        if any((domain.space if isinstance(domain, SpaceTime) else domain).fixed for domain in (a, b)):
            raise ValueError(f"{type(self).__name__}: mark points in the domain that is put together, not before")
        if a.dim != b.dim:
            raise ValueError(f"{type(self).__name__}: the domains have {a.dim} and {b.dim} coordinates")
        self.a, self.b = a, b
        self.dense = a.dense and b.dense
        whole = (BOUNDARY,) if BOUNDARY in a.parts and BOUNDARY in b.parts else ()  # clouds need not have it
        self.parts = (*whole, *_named("first", a), *_named("second", b))

    @abstractmethod
    def _kept_of_b(self, x: Tensor) -> Tensor:
        """Return which points of the boundary of the second domain are not hidden by the first, (n,) of bool."""

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
        found = []
        if part == BOUNDARY or part in _named("first", self.a):
            of_a = self.a.boundary(n, _own(part), held_out=held_out)
            found.append(self._left(of_a, self.b.distance(of_a.x) >= 0))
        if part == BOUNDARY or part in _named("second", self.b):
            x, normal = self.b.boundary(n, _own(part), held_out=held_out)
            turned = None if normal is None else self.sign * normal
            found.append(self._left(Points(x, turned), self._kept_of_b(x)))
        points = Points(torch.cat([p.x for p in found])) if any(p.normal is None for p in found) else joined(found)
        if not len(points.x):
            raise ValueError(f"{type(self).__name__}: nothing is left of the part {part!r} of its boundary")
        return points

    def outlines(self) -> Iterator[Domain]:
        yield from (*self.a.outlines(), *self.b.outlines())

    def _left(self, points: Points, seen: Tensor) -> Points:
        """Return those points of the boundary of one domain that are on that of both together.

        With normals that is seen from steps off the boundary, on both sides, so that where the two domains share an
        edge it is right, too; a step to the inside is also tried slantwise, for points at corners.
        """
        x, normal = points
        if normal is None:
            return Points(x[seen])
        step = BESIDE * float((self.high - self.low).max())
        slants = torch.cat([torch.eye(self.dim, dtype=x.dtype), -torch.eye(self.dim, dtype=x.dtype)]) / 2
        inwards = (x - step * normal).unsqueeze(1) + step * slants
        within = self.distance(inwards.flatten(0, 1)).view(len(x), -1) < 0
        seen = (self.distance(x + step * normal) > 0) & within.any(1)
        return Points(x[seen], normal[seen])


class Union(_Pair):
    """What is in one of two domains or in both; it is also written ``a | b``.

    Its parts are ``"boundary"``, if both have it, ``"first"`` and ``"second"``, which are what is left of the boundary
    of each, and the parts of those, as in ``"first low 0"``.

    Raises:
        ValueError: if the domains have different numbers of coordinates, or marked points.
        TypeError: if one of the two is no domain.

    Example:
        >>> from gmlayers import solve
        >>> angle = solve.Box((0, 0), (2, 1)) | solve.Box((0, 0), (1, 2))
        >>> [corner.point.tolist() for corner in angle.corners]
        [[1.0, 1.0]]
    """

    sign = 1.0

    def __init__(self, a: Domain, b: Domain) -> None:
        super().__init__(a, b)
        self.low, self.high = torch.minimum(a.low, b.low), torch.maximum(a.high, b.high)
        self.corners = reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        return torch.minimum(self.a.distance(x), self.b.distance(x))

    def _kept_of_b(self, x: Tensor) -> Tensor:
        return self.a.distance(x) >= 0


class Difference(_Pair):
    """What is in the first domain and not in the second; it is also written ``a - b``.

    Its parts and its errors are those of :class:`Union`.

    Example:
        >>> from gmlayers import solve
        >>> plate = solve.Box((-1, -1), (1, 1)) - solve.Ball((0, 0), 0.5)
        >>> plate.boundary(100, "second").normal.shape  # of the hole
        torch.Size([100, 2])
    """

    sign = -1.0

    def __init__(self, a: Domain, b: Domain) -> None:
        super().__init__(a, b)
        self.low, self.high = a.low, a.high
        self.corners = reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        return torch.maximum(self.a.distance(x), -self.b.distance(x))

    def _kept_of_b(self, x: Tensor) -> Tensor:
        return self.a.distance(x) <= 0


def _named(which: str, domain: Domain) -> tuple[str, ...]:
    """Return what the parts of one of two domains are called."""
    return tuple(which if part == BOUNDARY else f"{which} {part}" for part in domain.parts)


def _own(part: str) -> str:
    """Return what one of two domains calls that part."""
    return BOUNDARY if part == BOUNDARY else part.partition(" ")[2] or BOUNDARY
