"""Points that are given: clouds of them as a domain, and marked ones in another domain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gmlayers._arguments import got
from gmlayers._arrays import Array, numbers
from gmlayers.solve._checks import without_gradient
from gmlayers.solve.domains.base import BOUNDARY, Domain, Points, bounds
from gmlayers.solve.domains.sampling import held_out_quarter
from gmlayers.solve.domains.wrapped import Wrapped

FEW = 8
"""If fewer points than this are marked, none is held out."""


class PointCloud(Domain):
    """A domain of points that come from a mesh or were measured; a quarter of them is held out.

    Args:
        interior: the points inside, (n, d): a tensor, an array of numpy or pandas, or a list of rows.
        boundary: the points of the parts of the boundary by name, (n, d) or :class:`Points` with normals.

    Raises:
        ValueError: if points are of different sizes or not finite, if there are fewer than four of a kind, if a
            coordinate is the same for all, or if normals are not as many as points, or of length 0.
        TypeError: if something has no real numbers, or requires a gradient.

    Example:
        >>> import torch
        >>> from gmlayers import solve
        >>> cloud = solve.PointCloud(torch.rand(200, 2), {"boundary": solve.Box((0, 0), (1, 1)).boundary(80)})
        >>> cloud.interior(1000).shape
        torch.Size([150, 2])
    """

    dense = False

    def __init__(self, interior: Tensor | Array, boundary: Mapping[str, Tensor | Array | Points]) -> None:
        if not isinstance(boundary, Mapping):
            raise TypeError(
                f"PointCloud: boundary must give the parts by name, like {{'edge': x}}, got {got(boundary)}"
            )
        self.points = _points("PointCloud: the interior", interior)
        self.edge = {part: _as_points(part, given) for part, given in boundary.items()}
        named = {"interior": self.points, **{part: p.x for part, p in self.edge.items()}}
        every = list(named.values())
        for x in every:
            fits = x.ndim == 2 and x.shape[1:] == self.points.shape[1:] and x.shape[1] > 0
            if not fits or len(x) < 4 or not bool(x.isfinite().all()):
                raise ValueError(
                    f"PointCloud: expected at least 4 finite points (n, d), d > 0, of each kind, all of one size d, "
                    f"got {', '.join(f'{name} {tuple(x.shape)}' for name, x in named.items())}"
                )
        self.all = torch.cat(every)
        low, high = self.all.amin(0), self.all.amax(0)
        if len(flat := (low == high).nonzero()):
            i = int(flat[0])
            raise ValueError(f"PointCloud: coordinate {i} is {float(low[i])} for all points; leave it out")
        self.low, self.high = bounds("PointCloud", low, high, of=f" of {', '.join(named)}")
        self.parts = tuple(self.edge)
        self.spacing = float(torch.cdist(self.all[:1000], self.all).topk(2, largest=False)[0][:, 1].mean())

    def distance(self, x: Tensor) -> Tensor:
        """Return the distance to the nearest point less twice the mean distance between neighbours."""
        return torch.cat([torch.cdist(part, self.all).amin(1) for part in x.split(1024)]) - 2 * self.spacing

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:  # noqa: ARG002
        return self.points[held_out_quarter(len(self.points), held_out)]

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
        x, normal = self.edge[part]
        kept = held_out_quarter(len(x), held_out)
        return Points(x[kept], None if normal is None else normal[kept])


class Marked(Wrapped):
    """A domain with points by name; :meth:`Domain.marked` makes it."""

    def __init__(self, domain: Domain, points: Mapping[str, Tensor | Array]) -> None:
        super().__init__(domain)
        if not isinstance(points, Mapping):
            raise TypeError(f"Marked: points must be given by name, like {{'centre': x}}, got {got(points)}")
        self.points = {name: _points(f"Marked: {name!r}", x) for name, x in points.items()}
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
        self._check_part(n, part, held_out)
        if part not in self.points:
            return super().boundary(n, part, held_out=held_out)
        x = self.points[part]
        return Points(x if len(x) < FEW else x[held_out_quarter(len(x), held_out)])


def _as_points(part: str, given: Tensor | Array | Points) -> Points:
    """Return points of a part with normals of length 1, if there are any."""
    x, normal = given if isinstance(given, Points) else (given, None)
    x = _points(f"PointCloud: the part {part!r}", x)
    if normal is None:
        return Points(x)
    normal = _points(f"PointCloud: the normals of {part!r}", normal)
    length = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    if normal.shape != x.shape or not bool(((length > 0) & length.isfinite()).all()):
        raise ValueError(
            f"PointCloud: expected normals of {part!r} like its points, {tuple(x.shape)}, finite and not 0, got "
            f"{tuple(normal.shape)}"
        )
    return Points(x, normal / length)


def _points(name: str, given: object) -> Tensor:
    """Return points in float64; raise ``TypeError`` for what is no numbers, or requires a gradient."""
    return numbers(name, without_gradient(name, given)).double().cpu()
