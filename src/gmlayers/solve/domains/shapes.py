"""Domains of simple shape: boxes, balls and polygons."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers._arguments import real
from gmlayers._arrays import Array, numbers
from gmlayers.solve._checks import without_gradient
from gmlayers.solve.domains.base import BOUNDARY, ON_EDGE, Domain, Points, bounds, check_drawn, joined, vector
from gmlayers.solve.domains.corners import cross, crossing, edges_between, gaps, reentrant
from gmlayers.solve.domains.sampling import LowDiscrepancy, spread


class Box(Domain):
    """An interval, a rectangle, a box.

    Its parts are ``"boundary"``, which is all of it, and its faces ``"low 0"``, ``"high 0"``, ``"low 1"``, …, where
    that coordinate is least and greatest.

    Args:
        low: the lower bounds, one for each coordinate.
        high: the upper bounds.

    Raises:
        ValueError: if bounds are not finite, or not in order, or less than 1e-60 or more than 1e60 apart.

    Example:
        >>> from gmlayers import solve
        >>> solve.Box((0, 0), (1, 2)).interior(100).shape
        torch.Size([100, 2])
    """

    def __init__(self, low: Tensor | Array, high: Tensor | Array) -> None:
        self.low, self.high = bounds("Box", low, high)
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
        return edges_between(self.low.new_tensor([(a, b), (c, b), (c, d), (a, d)]))

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        n, held_out = check_drawn(self, n, held_out)
        return self.low + (self.high - self.low) * LowDiscrepancy(self.dim, held_out).draw(n)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
        faces = self.parts[1:] if part == BOUNDARY else (part,)
        extent = self.high - self.low
        relative = extent / 2.0 ** extent.log2().mean().round()  # products of many would be too small or too large
        areas = [float(relative.prod() / relative[int(face.split()[1])]) for face in faces]
        total = sum(areas)
        found = []
        for face, area in zip(faces, areas):
            side, axis = face.split()
            i = int(axis)
            along = spread(max(2, math.ceil(n * area / total if total else n / len(faces))), self.dim - 1, held_out)
            unit = torch.cat([along[:, :i], along.new_full((len(along), 1), float(side == "high")), along[:, i:]], 1)
            normal = torch.zeros_like(unit)
            normal[:, i] = 1.0 if side == "high" else -1.0
            found.append(Points(self.low + extent * unit, normal))
        return joined(found)


class Ball(Domain):
    """A disc, a ball.

    Args:
        centre: the coordinates of the centre.
        radius: the radius, greater than 0.

    Raises:
        ValueError: if the radius is not positive, or something is not finite.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> solve.Ball((0, 0), 1).inside(torch.tensor([[0.5, 0.5], [1.0, 1.0]]))
        tensor([ True, False])
    """

    def __init__(self, centre: Tensor | Array, radius: float) -> None:
        self.centre = vector("Ball: the centre", centre)
        self.radius = real("Ball: the radius", without_gradient("Ball: the radius", radius))
        if not (len(self.centre) and bool(self.centre.isfinite().all()) and 0 < self.radius < math.inf):
            raise ValueError(
                f"Ball: expected a finite centre and a finite radius > 0, got {self.centre.tolist()} and {self.radius}"
            )
        self.low, self.high = bounds(
            "Ball", self.centre - self.radius, self.centre + self.radius, of=" of centre and radius"
        )

    def distance(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x - self.centre, dim=-1) - self.radius

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
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
    """A simple polygon in the plane, which knows its re-entrant corners.

    Its parts are ``"boundary"``, which is all of it, and its edges: ``"edge 0"`` from the first vertex to the second,
    ``"edge 1"``, …

    Args:
        vertices: the vertices in order, (n, 2), either way round; one that is given twice in a row counts once.

    Raises:
        ValueError: if there are fewer than three vertices or they are not finite, if there is no area, or edges
            cross.

    Example:
        >>> from gmlayers import solve
        >>> (corner,) = solve.l_shape().corners
        >>> corner.point.tolist()
        [0.0, 0.0]
    """

    def __init__(self, vertices: Tensor | Array) -> None:
        start = numbers("Polygon: vertices", without_gradient("Polygon: a vertex", vertices)).double().cpu()
        if start.ndim != 2 or start.shape[1] != 2:
            raise ValueError(f"Polygon: expected vertices (n, 2), got {tuple(start.shape)}")
        if len(wrong := start[~start.isfinite().all(1)]):
            raise ValueError(f"Polygon: expected finite vertices, got {wrong[0].tolist()}")
        start = start[(start != start.roll(-1, 0)).any(1)]  # the first one may be given again at the end
        if len(start) < 3:
            raise ValueError(f"Polygon: expected at least three different vertices, got {len(start)}")
        names = [f"edge {i}" for i in range(len(start))]
        middle = start - start.mean(0)
        twice_area = float(cross(middle, middle.roll(-1, 0)).sum())
        if twice_area < 0:  # counter-clockwise, so that the outside is on the right
            start, names = start.flip(0), [*reversed(names[:-1]), names[-1]]
        self.start, self.end = start, start.roll(-1, 0)
        self.edge = self.end - self.start
        if len(pairs := crossing(self.segments())):
            i, j = pairs[0].tolist()
            raise ValueError(f"Polygon: {names[i]} and {names[j]} cross; give the vertices in order")
        size = start.amax(0) - start.amin(0)
        if not bool(size.all()) or abs(twice_area) <= ON_EDGE * float(size.prod()):
            raise ValueError("Polygon: the vertices are on a line, there is no area")
        self.low, self.high = bounds("Polygon", start.amin(0), start.amax(0), of=" of the vertices")
        self.parts = (BOUNDARY, *names)
        self.length = torch.linalg.vector_norm(self.edge, dim=1)
        self.normal = torch.stack([self.edge[:, 1], -self.edge[:, 0]], 1) / self.length.unsqueeze(1)
        self.corners = reentrant(self)

    def distance(self, x: Tensor) -> Tensor:
        offset = x.unsqueeze(1) - self.start
        least = gaps(x, self.segments()).amin(1)
        rises, falls = self.start[:, 1] <= x[:, 1:], self.end[:, 1] <= x[:, 1:]
        left = cross(self.edge, offset) > 0
        winding = (rises & ~falls & left).sum(1) - (~rises & falls & ~left).sum(1)
        return torch.where(winding > 0, -least, least)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
        kept = [i for i, name in enumerate(self.parts[1:]) if part in (BOUNDARY, name)]
        total, found = float(self.length[kept].sum()), []
        for i in kept:
            along = spread(max(2, math.ceil(n * float(self.length[i]) / total)), 1, held_out)
            found.append(Points(self.start[i] + along * self.edge[i], self.normal[i].expand(len(along), 2)))
        return joined(found)

    def segments(self) -> Tensor:
        return edges_between(self.start)


def l_shape() -> Polygon:
    """Return the square [-1, 1]² without its quarter x > 0 > y: the test of every method for corners.

    Example:
        >>> from gmlayers import solve
        >>> solve.l_shape().boundary(80).x.shape
        torch.Size([80, 2])
    """
    return Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])
