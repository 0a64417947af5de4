"""Domains: where an equation holds, with points inside and on the boundary. All points are float64.

Points are of low discrepancy and always the same, so that a solve can be repeated to the bit. A second sequence is held
out: no solution is fitted to it, so that residuals there are honest.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.solve._limits import floating

BOUNDARY = "boundary"
"""Name of the part of a boundary on which all is prescribed that has no other name."""

ON_EDGE = 1e-12
"""By which a point may be outside, relative to the size of the domain, and still count as inside."""

BESIDE = 1e-7
"""How far beside a boundary it is looked whether a point is on it, relative to the size of the domain."""

REMEMBERED = 2**23
"""Coordinates of points that are kept to be used again."""

FEW = 8
"""Points below which none is held out."""

CROWD = 2048
"""Points among which the evenly spread ones are chosen at once; the time grows with the square."""

CIRCLE = 720
"""Points of a circle on which it is seen how wide a corner is."""

SHARPEST = 1 / 180
"""Share of a circle by which a corner has to be more than straight to count as re-entrant."""

GOLDEN = 0.6180339887498949
"""Its multiples modulo 1 are evenly spread, however many there are."""

BEYOND = 1e-6
"""By which a domain may go beyond its box, relative to its size: that is rounding."""

DRAWS = 512
"""Blocks of points of a bounding box after which a domain is taken for empty."""


class Points(NamedTuple):
    """Points, and the outward normals there."""

    x: Tensor
    """(n, d)."""
    normal: Tensor | None = None
    """(n, d), of length 1; None inside a domain."""


class Corner(NamedTuple):
    """A re-entrant corner, at which solutions have singular derivatives."""

    point: Tensor
    """(d,)."""
    radius: float
    """Within which the domain is a cone: whatever is in it stays in it when it is shrunk towards the corner."""


class Domain(ABC):
    """A bounded domain.

    Attributes:
        low: lower corner of the bounding box, (d,).
        high: upper corner of the bounding box, (d,).
        parts: names of the parts of the boundary to which conditions may refer.
        corners: where bumps are to be graded.
        dense: whether there are as many points as are asked for.
        fixed: names of the parts that are the points that were given.
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

        It is exact for :class:`Box`, :class:`Ball`, :class:`Polygon` and :class:`SpaceTime` of them. So it is outside
        of a :class:`Union` and inside a :class:`Difference`; on the other side of these the boundary may be further
        away, never nearer. For :class:`Implicit` it holds to first order near the boundary, for :class:`PointCloud`
        roughly.
        """

    @abstractmethod
    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        """Return about n points of a part of the boundary, with normals.

        Raises:
            ValueError: a part that the domain does not have, or of which nothing is left or found.
        """

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        """Return n points inside, (n, d), evenly spread.

        Raises:
            ValueError: a domain that is next to nothing of its bounding box.
        """
        found = torch.empty(0, self.dim, dtype=torch.float64)
        sequence = _Sequence(self.dim, held_out)
        for _ in range(DRAWS):
            x = self.low + (self.high - self.low) * sequence.draw(max(2 * n, 64))
            found = torch.cat([found, x[self.distance(x) < 0]])
            if len(found) >= n:
                return found[:n]
        raise ValueError(
            f"{type(self).__name__}: next to nothing of the box {self.low.tolist()}, {self.high.tolist()} is in the "
            f"domain; give a box that is not much larger"
        )

    def inside(self, x: Tensor) -> Tensor:
        """Return which points are in the domain or on its boundary, (n,) of bool."""
        return self.distance(x.double()) <= ON_EDGE * float((self.high - self.low).max())

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
        """Number of coordinates."""
        return len(self.low)

    @property
    def units(self) -> Tensor:
        """Lengths of the axes that count as equal, (d,)."""
        return torch.ones_like(self.low)

    def marked(self, points: Mapping[str, Tensor]) -> Marked:
        """Return the same domain with points by name, to which conditions may refer like to parts of the boundary.

        Args:
            points: (n, d) by name, in the domain or on its boundary: where something was measured, or one of them to
                say which of the solutions that differ by a constant is meant. Of eight and more a quarter is held out.

        Raises:
            ValueError: a name that a part has already; points of a wrong shape, not finite, or outside.
            TypeError: what is no tensor of floating-point numbers.

        Example:
            >>> import torch
            >>> from gmlayers import solve
            >>> u, disc = solve.unknown(2), solve.Ball((0, 0), 1).marked({"centre": torch.zeros(1, 2)})
            >>> given = {"boundary": solve.normal_derivative(u) == 2, "centre": u == 5}
            >>> found = solve.solve(solve.Problem(disc, solve.laplacian(u) == 4, given)).u
            >>> round(found(torch.tensor([[0.6, 0.8]], dtype=torch.float64)).item(), 6)
            6.0
        """
        return Marked(self, points)

    def __or__(self, other: Domain) -> Union:
        return Union(self, other)

    def __sub__(self, other: Domain) -> Difference:
        return Difference(self, other)

    def _check_part(self, part: str) -> None:
        if part not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise ValueError(f"{type(self).__name__}: there is no part {part!r}; there are: {known}")


class Box(Domain):
    """An interval, a rectangle, a box.

    Its parts are ``"boundary"``, all of it, and its faces ``"low 0"``, ``"high 0"``, ``"low 1"``, …: where that
    coordinate is least and greatest.

    Args:
        low: the lower bounds, one per coordinate.
        high: the upper bounds.

    Raises:
        ValueError: bounds that are not finite, or not in order.

    Example:
        >>> from gmlayers import solve
        >>> solve.Box((0, 0), (1, 2)).interior(100).shape
        torch.Size([100, 2])
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        self.low, self.high = _bounds("Box", low, high)
        self.parts = (BOUNDARY, *(f"{side} {i}" for i in range(self.dim) for side in ("low", "high")))

    def distance(self, x: Tensor) -> Tensor:
        beyond = torch.maximum(self.low - x, x - self.high)
        return torch.linalg.vector_norm(beyond.clamp(min=0), dim=-1) + beyond.amax(-1).clamp(max=0)

    def reached(self, x: Tensor, margin: float) -> Tensor:  # noqa: ARG002
        """Return True for all points: the bounding box is the domain."""
        return torch.ones(len(x), dtype=torch.bool)

    def segments(self) -> Tensor:
        if self.dim != 2:
            return super().segments()
        (a, b), (c, d) = self.low.tolist(), self.high.tolist()
        return _around(self.low.new_tensor([(a, b), (c, b), (c, d), (a, d)]))

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        return self.low + (self.high - self.low) * _Sequence(self.dim, held_out).draw(n)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        faces = self.parts[1:] if part == BOUNDARY else (part,)
        extent = self.high - self.low
        areas = [float(extent.prod() / extent[int(face.split()[1])]) for face in faces]
        found = []
        for face, area in zip(faces, areas):
            side, axis = face.split()
            i = int(axis)
            along = spread(max(2, math.ceil(n * area / sum(areas))), self.dim - 1, held_out)
            unit = torch.cat([along[:, :i], along.new_full((len(along), 1), float(side == "high")), along[:, i:]], 1)
            normal = torch.zeros_like(unit)
            normal[:, i] = 1.0 if side == "high" else -1.0
            found.append(Points(self.low + extent * unit, normal))
        return _joined(found)


class Ball(Domain):
    """A disc, a ball.

    Args:
        centre: its coordinates.
        radius: greater than 0.

    Raises:
        ValueError: a radius that is not positive; what is not finite.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> solve.Ball((0, 0), 1).inside(torch.tensor([[0.5, 0.5], [1.0, 1.0]]))
        tensor([ True, False])
    """

    def __init__(self, centre: Sequence[float], radius: float) -> None:
        self.centre = torch.as_tensor(centre, dtype=torch.float64).reshape(-1)
        self.radius = float(radius)
        if not (len(self.centre) and bool(self.centre.isfinite().all()) and 0 < self.radius < math.inf):
            raise ValueError(
                f"Ball: expected a finite centre and a finite radius > 0, got {self.centre.tolist()} and {self.radius}"
            )
        self.low, self.high = _bounds("Ball", self.centre - self.radius, self.centre + self.radius)

    def distance(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x - self.centre, dim=-1) - self.radius

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        if self.dim == 1:
            normal = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        elif self.dim == 2:
            angle = 2 * math.pi * spread(n + 1, 1, held_out)[:n]  # the first and the last are the same
            normal = torch.cat([angle.cos(), angle.sin()], 1)
        else:
            normal = torch.special.ndtri(spread(n, self.dim, held_out).clamp(1e-9, 1 - 1e-9))
            normal = normal / torch.linalg.vector_norm(normal, dim=1, keepdim=True)
        return Points(self.centre + self.radius * normal, normal)


class Polygon(Domain):
    """A polygon in the plane, any simple one; it knows its re-entrant corners.

    Its parts are ``"boundary"``, all of it, and ``"edge 0"``, from the first vertex to the second, ``"edge 1"``, …

    Args:
        vertices: in order, (n, 2), either way round; one that is given twice in a row counts once.

    Raises:
        ValueError: fewer than three vertices, or not finite; no area, or edges that cross.

    Example:
        >>> from gmlayers import solve
        >>> (corner,) = solve.l_shape().corners
        >>> corner.point.tolist()
        [0.0, 0.0]
    """

    def __init__(self, vertices: Sequence[Sequence[float]]) -> None:
        start = torch.as_tensor(vertices, dtype=torch.float64)
        if start.ndim != 2 or start.shape[1] != 2:
            raise ValueError(f"Polygon: expected vertices (n, 2), got {tuple(start.shape)}")
        if len(wrong := start[~start.isfinite().all(1)]):
            raise ValueError(f"Polygon: expected finite vertices, got {wrong[0].tolist()}")
        start = start[(start != start.roll(-1, 0)).any(1)]  # the first one may be given again at the end
        if len(start) < 3:
            raise ValueError(f"Polygon: expected at least three different vertices, got {len(start)}")
        names = [f"edge {i}" for i in range(len(start))]
        middle = start - start.mean(0)
        twice_area = float(_cross(middle, middle.roll(-1, 0)).sum())
        if twice_area < 0:  # counter-clockwise, so that the outside is on the right
            start, names = start.flip(0), [*reversed(names[:-1]), names[-1]]
        self.start, self.end = start, start.roll(-1, 0)
        self.edge = self.end - self.start
        if len(crossing := _crossing(self.segments())):
            i, j = crossing[0].tolist()
            raise ValueError(f"Polygon: {names[i]} and {names[j]} cross; give the vertices in order")
        size = start.amax(0) - start.amin(0)
        if not bool(size.all()) or abs(twice_area) <= ON_EDGE * float(size.prod()):
            raise ValueError("Polygon: the vertices are on a line, there is no area")
        self.low, self.high = _bounds("Polygon", start.amin(0), start.amax(0))
        self.parts = (BOUNDARY, *names)
        self.length = torch.linalg.vector_norm(self.edge, dim=1)
        self.normal = torch.stack([self.edge[:, 1], -self.edge[:, 0]], 1) / self.length.unsqueeze(1)
        self.corners = _reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        offset = x.unsqueeze(1) - self.start
        least = _gaps(x, self.segments()).amin(1)
        rises, falls = self.start[:, 1] <= x[:, 1:], self.end[:, 1] <= x[:, 1:]
        left = _cross(self.edge, offset) > 0
        winding = (rises & ~falls & left).sum(1) - (~rises & falls & ~left).sum(1)
        return torch.where(winding > 0, -least, least)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        kept = [i for i, name in enumerate(self.parts[1:]) if part in (BOUNDARY, name)]
        total, found = float(self.length[kept].sum()), []
        for i in kept:
            along = spread(max(2, math.ceil(n * float(self.length[i]) / total)), 1, held_out)
            found.append(Points(self.start[i] + along * self.edge[i], self.normal[i].expand(len(along), 2)))
        return _joined(found)

    def segments(self) -> Tensor:
        return _around(self.start)


def l_shape() -> Polygon:
    """Return the square [-1, 1]² without its quarter x > 0 > y: the test of every method for corners.

    Example:
        >>> from gmlayers import solve
        >>> solve.l_shape().boundary(80).x.shape
        torch.Size([80, 2])
    """
    return Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])


class Implicit(Domain):
    """Where a function is negative.

    Args:
        function: of points (n, d), with values (n,): the signed distance, or anything with its sign whose gradient at
            the boundary is not 0; then also differentiable by autograd.
        low: the lower corner of a box that contains the domain, and little else.
        high: its upper corner.

    Raises:
        ValueError: values of a wrong shape, or without derivatives; a domain that goes beyond the box.

    Example:
        >>> from gmlayers import solve
        >>> ellipse = solve.Implicit(lambda x: (x[:, 0] / 2) ** 2 + x[:, 1] ** 2 - 1, (-2, -1), (2, 1))
        >>> ellipse.boundary(100).x.shape
        torch.Size([100, 2])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], low: Sequence[float], high: Sequence[float]) -> None:
        self.function = function
        self.low, self.high = _bounds("Implicit", low, high)
        on_box = Box(low, high).boundary(1024).x
        if bool((self.distance(on_box) < -BEYOND * float((self.high - self.low).max())).any()):
            raise ValueError(
                f"Implicit: the domain goes beyond its box {self.low.tolist()}, {self.high.tolist()}; give a larger one"
            )

    def distance(self, x: Tensor) -> Tensor:
        """Return the value over the length of the gradient: the distance to first order."""
        value, gradient = self._with_gradient(x)
        return value / torch.linalg.vector_norm(gradient, dim=1).clamp(min=1e-300)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        size = self.high - self.low
        x = self.low - 0.05 * size + 1.1 * size * spread(16 * n, self.dim, held_out)
        x = x[self.distance(x).abs().argsort()[: 4 * n]]
        for _ in range(20):  # Newton's steps along the gradient
            value, gradient = self._with_gradient(x)
            x = x - (value / gradient.square().sum(1).clamp(min=1e-300)).unsqueeze(1) * gradient
        value, gradient = self._with_gradient(x)
        normal = gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp(min=1e-300)
        edge = 1e-9 * float(size.max())
        there = (self.distance(x).abs() < edge) & x.isfinite().all(1)
        there &= ((self.low - edge <= x) & (x <= self.high + edge)).all(1)  # it may be 0 elsewhere, too
        kept = there.nonzero().flatten()
        if not len(kept):
            raise ValueError(
                f"Implicit: the function is 0 nowhere in the box {self.low.tolist()}, {self.high.tolist()}; is it the "
                f"signed distance to a boundary, negative inside?"
            )
        kept = kept[_evenly(x[kept], n)]
        return Points(x[kept], normal[kept])

    def _with_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.function(x)
            if not isinstance(value, Tensor) or value.shape not in ((len(x),), (len(x), 1)):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"Implicit: the function must have values ({len(x)},) at {len(x)} points, got {shape}")
            if not value.requires_grad:
                raise ValueError("Implicit: the function has no derivative for autograd; compute it by torch from x")
            value = value.reshape(-1)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient


class _Pair(Domain):
    """Two domains taken together.

    Re-entrant corners between straight edges, of boxes and polygons in the plane, are known.
    """

    sign: float
    """Of the normals of the second domain."""

    def __init__(self, a: Domain, b: Domain) -> None:
        for domain in (a, b):
            _check_domain(type(self).__name__, domain)
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
        self._check_part(part)
        found = []
        if part == BOUNDARY or part in _named("first", self.a):
            of_a = self.a.boundary(n, _own(part), held_out=held_out)
            found.append(self._left(of_a, self.b.distance(of_a.x) >= 0))
        if part == BOUNDARY or part in _named("second", self.b):
            x, normal = self.b.boundary(n, _own(part), held_out=held_out)
            turned = None if normal is None else self.sign * normal
            found.append(self._left(Points(x, turned), self._kept_of_b(x)))
        points = Points(torch.cat([p.x for p in found])) if any(p.normal is None for p in found) else _joined(found)
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
    """What is in one of two domains or in both; also written ``a | b``.

    Its parts are ``"boundary"``, if both have it, ``"first"`` and ``"second"``, what is left of the boundary of each,
    and the parts of those, as in ``"first low 0"``.

    Raises:
        ValueError: different numbers of coordinates; points that are marked already.
        TypeError: what is no domain.

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
        self.corners = _reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        return torch.minimum(self.a.distance(x), self.b.distance(x))

    def _kept_of_b(self, x: Tensor) -> Tensor:
        return self.a.distance(x) >= 0


class Difference(_Pair):
    """What is in the first domain and not in the second; also written ``a - b``.

    Its parts, and what it raises, are as for :class:`Union`.

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
        self.corners = _reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        return torch.maximum(self.a.distance(x), -self.b.distance(x))

    def _kept_of_b(self, x: Tensor) -> Tensor:
        return self.a.distance(x) <= 0


def _check_domain(name: str, given: object) -> None:
    if not isinstance(given, Domain):
        raise TypeError(f"{name}: expected a domain, like Box((0, 0), (1, 1)), got {type(given).__name__}")


def _named(which: str, domain: Domain) -> tuple[str, ...]:
    """Return what the parts of one of two domains are called."""
    return tuple(which if part == BOUNDARY else f"{which} {part}" for part in domain.parts)


def _own(part: str) -> str:
    """Return what one of two domains calls that part."""
    return BOUNDARY if part == BOUNDARY else part.partition(" ")[2] or BOUNDARY


class SpaceTime(Domain):
    """A domain of space over an interval of time, which is the last coordinate.

    Its parts are those of the domain of space at all times, ``"initial"`` and ``"final"``. At re-entrant corners
    of space nothing is graded.

    Args:
        space: the domain of space.
        end: the last time.
        start: the first.

    Raises:
        ValueError: an interval that is empty or not finite; a domain of space with a part "initial" or "final".
        TypeError: what is no domain.

    Example:
        >>> from gmlayers import solve
        >>> solve.SpaceTime(solve.Box((0,), (1,)), 2.0).parts
        ('boundary', 'low 0', 'high 0', 'initial', 'final')
    """

    def __init__(self, space: Domain, end: float, *, start: float = 0.0) -> None:
        _check_domain("SpaceTime", space)
        for part in ("initial", "final"):
            if part in space.parts:
                raise ValueError(f"SpaceTime: the domain of space has a part {part!r} already; give it another name")
        self.space, self.start, self.end = space, float(start), float(end)
        if not -math.inf < self.start < self.end < math.inf:
            raise ValueError(f"SpaceTime: expected finite times with start < end, got {self.start} and {self.end}")
        self.low, self.high = _bounds("SpaceTime", [*space.low.tolist(), start], [*space.high.tolist(), end])
        self.parts = (*space.parts, "initial", "final")
        self.dense = space.dense  # nothing is `fixed`: a marked point is at all times, and there may be more of these

    def distance(self, x: Tensor) -> Tensor:
        time = torch.maximum(self.start - x[:, -1], x[:, -1] - self.end)
        both = torch.stack([self.space.distance(x[:, :-1]), time], 1)
        return torch.linalg.vector_norm(both.clamp(min=0), dim=1) + both.amax(1).clamp(max=0)

    def reached(self, x: Tensor, margin: float) -> Tensor:
        """Return which points are near the domain in space; lengths of time are others."""
        return self.space.reached(x[:, :-1], margin)

    @property
    def units(self) -> Tensor:
        """Lengths that count as equal: the interval of time as the mean extent of space."""
        extent = (self.space.high - self.space.low).log().mean().exp()
        return torch.cat([self.space.units, ((self.end - self.start) / extent).reshape(1)])

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        if part in ("initial", "final"):
            x = self.space.interior(n, held_out=held_out)
            around = max(2, round(n ** (1 - 1 / self.space.dim)))
            rim = [p for p in self.space.parts if p not in self.space.fixed][:1]  # clouds need not have any
            x = torch.cat([x, *(self.space.boundary(around, p, held_out=held_out).x for p in rim)])
            sign, time = (-1.0, self.start) if part == "initial" else (1.0, self.end)
            normal = torch.cat([torch.zeros_like(x), torch.full_like(x[:, :1], sign)], 1)
            return Points(torch.cat([x, torch.full_like(x[:, :1], time)], 1), normal)
        x, normal = self.space.boundary(n, part, held_out=held_out)
        times = math.ceil(n / len(x))  # few points, as at the ends of an interval: each at many times
        t = spread(times, 1, held_out).repeat_interleave(len(x), 0)
        if times == 1:  # in an order that has nothing to do with that of the points
            t = (torch.arange(len(x), dtype=torch.float64) * GOLDEN % 1).unsqueeze(1)
        x = torch.cat([x.repeat(times, 1), self.start + (self.end - self.start) * t], 1)
        return Points(x, None if normal is None else torch.cat([normal.repeat(times, 1), torch.zeros_like(t)], 1))


class PointCloud(Domain):
    """Points from somewhere else: from a mesh, or measured. A quarter is held out.

    Args:
        interior: points inside, (n, d), of any floating dtype.
        boundary: points of the boundary, or of its parts by name, (n, d) or :class:`Points` with normals.

    Raises:
        ValueError: points of different sizes, or not finite; fewer than four of a kind; a coordinate that is the same
            for all; normals that are not as many, or of length 0.
        TypeError: what is no tensor of floating-point numbers.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> cloud = solve.PointCloud(torch.rand(200, 2), {"boundary": solve.Box((0, 0), (1, 1)).boundary(80)})
        >>> cloud.interior(1000).shape
        torch.Size([150, 2])
    """

    dense = False

    def __init__(self, interior: Tensor, boundary: Mapping[str, Tensor | Points]) -> None:
        self.points = floating("PointCloud: the interior", interior).double()
        self.edge = {part: _as_points(part, given) for part, given in boundary.items()}
        every = [self.points, *(p.x for p in self.edge.values())]
        for x in every:
            fits = x.ndim == 2 and x.shape[1:] == self.points.shape[1:] and x.shape[1] > 0
            if not fits or len(x) < 4 or not bool(x.isfinite().all()):
                raise ValueError(
                    f"PointCloud: expected at least 4 finite points (n, d), d > 0, of each kind, all of one size d, "
                    f"got {[tuple(x.shape) for x in every]}"
                )
        self.all = torch.cat(every)
        low, high = self.all.amin(0), self.all.amax(0)
        if len(flat := (low == high).nonzero()):
            i = int(flat[0])
            raise ValueError(f"PointCloud: coordinate {i} is {float(low[i])} for all points; leave it out")
        self.low, self.high = _bounds("PointCloud", low, high)
        self.parts = tuple(self.edge)
        self.spacing = float(torch.cdist(self.all[:1000], self.all).topk(2, largest=False)[0][:, 1].mean())

    def distance(self, x: Tensor) -> Tensor:
        """Return the distance to the nearest point less twice the mean distance between neighbours."""
        return torch.cat([torch.cdist(part, self.all).amin(1) for part in x.split(1024)]) - 2 * self.spacing

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:  # noqa: ARG002
        return self.points[_share(len(self.points), held_out)]

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:  # noqa: ARG002
        self._check_part(part)
        x, normal = self.edge[part]
        kept = _share(len(x), held_out)
        return Points(x[kept], None if normal is None else normal[kept])


class _Wrapped(Domain):
    """A domain that is another one, but for what is written anew."""

    def __init__(self, domain: Domain) -> None:
        self.domain, self.low, self.high = domain, domain.low, domain.high
        self.parts, self.corners, self.dense, self.fixed = domain.parts, domain.corners, domain.dense, domain.fixed

    def distance(self, x: Tensor) -> Tensor:
        return self.domain.distance(x)

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        return self.domain.interior(n, held_out=held_out)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        return self.domain.boundary(n, part, held_out=held_out)

    def reached(self, x: Tensor, margin: float) -> Tensor:
        return self.domain.reached(x, margin)

    @property
    def units(self) -> Tensor:
        return self.domain.units


class Remembered(_Wrapped):
    """A domain that draws points once, however often it is asked; they must not be written to."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self._drawn: dict[tuple[object, ...], Points] = {}

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        return self._once((n, held_out), lambda: Points(self.domain.interior(n, held_out=held_out))).x

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        return self._once((n, part, held_out), lambda: self.domain.boundary(n, part, held_out=held_out))

    def _once(self, key: tuple[object, ...], draw: Callable[[], Points]) -> Points:
        if key not in self._drawn:
            points = draw()
            if sum(p.x.numel() for p in self._drawn.values()) + points.x.numel() > REMEMBERED:
                self._drawn.clear()
            self._drawn[key] = points
        return self._drawn[key]


class Marked(_Wrapped):
    """A domain with points by name; :meth:`Domain.marked` makes it."""

    def __init__(self, domain: Domain, points: Mapping[str, Tensor]) -> None:
        super().__init__(domain)
        self.points = {name: floating(f"Marked: {name!r}", x).double() for name, x in points.items()}
        for name, x in self.points.items():
            if name in domain.parts:
                raise ValueError(f"Marked: there is a part {name!r} already; give the points another name")
            if x.ndim != 2 or x.shape[1] != self.dim or not len(x) or not bool(domain.inside(x).all()):
                raise ValueError(
                    f"Marked: expected finite points {name!r} (n, {self.dim}), n > 0, none of them outside the domain, "
                    f"got {tuple(x.shape)}"
                )
        self.parts, self.fixed = (*domain.parts, *self.points), (*domain.fixed, *self.points)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(part)
        if part not in self.points:
            return self.domain.boundary(n, part, held_out=held_out)
        x = self.points[part]
        return Points(x if len(x) < FEW else x[_share(len(x), held_out)])


class _Sequence:
    """A sequence of low discrepancy in the unit cube."""

    def __init__(self, dim: int, held_out: bool) -> None:
        self.engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=int(held_out))

    def draw(self, n: int) -> Tensor:
        return self.engine.draw(n, dtype=torch.float64)


def spread(n: int, dim: int, held_out: bool = False) -> Tensor:
    """Return n points of the unit cube, (n, dim), evenly spread; a single one in 0 dimensions."""
    if dim == 0:
        return torch.zeros(1, 0, dtype=torch.float64)
    if dim > 1:
        return _Sequence(dim, held_out).draw(n)
    if held_out:
        return (torch.arange(n, dtype=torch.float64).unsqueeze(1) + 0.5) / n
    return torch.linspace(0, 1, n, dtype=torch.float64).unsqueeze(1)


def _bounds(name: str, low: Sequence[float] | Tensor, high: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    a, b = (torch.as_tensor(v, dtype=torch.float64).reshape(-1) for v in (low, high))
    if a.shape != b.shape or not len(a) or not bool((a < b).all() and a.isfinite().all() and b.isfinite().all()):
        raise ValueError(f"{name}: expected finite bounds with low < high, got {a.tolist()} and {b.tolist()}")
    return a, b


def _as_points(part: str, given: Tensor | Points) -> Points:
    """Return points of a part with normals of length 1, if there are any."""
    x, normal = given if isinstance(given, Points) else Points(given)
    x = floating(f"PointCloud: the part {part!r}", x).double()
    if normal is None:
        return Points(x)
    normal = floating(f"PointCloud: the normals of {part!r}", normal).double()
    length = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    if normal.shape != x.shape or not bool(((length > 0) & length.isfinite()).all()):
        raise ValueError(
            f"PointCloud: expected normals of {part!r} like its points, {tuple(x.shape)}, finite and not 0, got "
            f"{tuple(normal.shape)}"
        )
    return Points(x, normal / length)


def _around(vertices: Tensor) -> Tensor:
    """Return the edges between vertices in order, (n, 2, 2)."""
    return torch.stack([vertices, vertices.roll(-1, 0)], 1)


def _reentrant(domain: Domain) -> tuple[Corner, ...]:
    """Return the corners between straight edges in the plane at which more than half of a small circle is inside."""
    outlines = list(domain.outlines())
    segments = torch.cat([outline.segments() for outline in outlines])
    if domain.dim != 2 or not len(segments):
        return ()
    curved = [outline for outline in outlines if not len(outline.segments())]
    rounding = BESIDE * float((domain.high - domain.low).max())
    angle = 2 * math.pi * (torch.arange(CIRCLE, dtype=torch.float64) + 0.5) / CIRCLE
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    found: list[Corner] = []
    points = torch.cat([segments[:, 0], _crossings(segments)])
    for point, gaps in zip(points, _gaps(points, segments)):
        others = [*gaps[gaps > rounding].tolist(), *(abs(float(c.distance(point.unsqueeze(0)))) for c in curved)]
        radius = min(others, default=math.inf)
        known = any(float((point - corner.point).norm()) <= rounding for corner in found)
        if known or not rounding < radius < math.inf:
            continue
        share = float((domain.distance(point + radius / 2 * circle) < 0).double().mean())
        if 0.5 + SHARPEST < share < 1:
            found.append(Corner(point, radius))
    return tuple(found)


def _gaps(x: Tensor, segments: Tensor) -> Tensor:
    """Return the distances of points (n, 2) to segments, (n, segments)."""
    edge, offset = segments[:, 1] - segments[:, 0], x.unsqueeze(1) - segments[:, 0]
    along = ((offset * edge).sum(-1) / edge.square().sum(-1)).clamp(0, 1)
    return torch.linalg.vector_norm(offset - along.unsqueeze(-1) * edge, dim=-1)


def _crossing(segments: Tensor) -> Tensor:
    """Return which segments cross, (n, 2); not those that touch."""
    start, edge = segments[:, :1], segments[:, 1:] - segments[:, :1]
    apart = _cross(edge, segments[:, 0] - start) * _cross(edge, segments[:, 1] - start) < 0
    return (apart & apart.mT).triu().nonzero()  # the ends of each are on both sides of the line of the other


def _crossings(segments: Tensor) -> Tensor:
    """Return the points where two segments cross, (n, 2)."""
    (start, end), (other, beyond) = (segments[i].unbind(1) for i in _crossing(segments).unbind(1))
    along = _cross(other - start, beyond - other) / _cross(end - start, beyond - other)
    return start + along.unsqueeze(1) * (end - start)


def _joined(found: Sequence[Points]) -> Points:
    return Points(torch.cat([p.x for p in found]), torch.cat([p.normal for p in found if p.normal is not None]))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _share(n: int, held_out: bool) -> Tensor:
    """Return which of n points are held out, or which are not; their order may mean something, so it does not count."""
    return (torch.randperm(n, generator=torch.Generator().manual_seed(n)) % 4 == 3) == held_out


def _evenly(x: Tensor, n: int) -> Tensor:
    """Return the indices of n points, each as far as can be from those before it; of many, in halves of space."""
    if len(x) > CROWD:
        order = x[:, int((x.amax(0) - x.amin(0)).argmax())].argsort()
        halves, share = order.tensor_split(2), n * (len(x) // 2 + len(x) % 2) // len(x)
        return torch.cat([half[_evenly(x[half], k)] for half, k in zip(halves, (share, n - share))])
    chosen = [0]
    gap = torch.full((len(x),), math.inf, dtype=x.dtype)
    while len(chosen) < min(n, len(x)):
        gap = torch.minimum(gap, (x - x[chosen[-1]]).square().sum(1))
        chosen.append(int(gap.argmax()))
    return torch.tensor(chosen)
