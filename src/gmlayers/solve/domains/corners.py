"""Re-entrant corners between straight edges in the plane, at which solutions have singular derivatives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers.solve.domains.base import BESIDE, Corner, Domain

CIRCLE = 720
"""The width of a corner is seen from this many points of a circle around it."""

SHARPEST = 1 / 180
"""A corner is taken to be re-entrant if it exceeds a straight angle by this share of a circle."""


def reentrant(domain: Domain) -> tuple[Corner, ...]:
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
    for point, away in zip(points, gaps(points, segments)):
        others = [
            *away[away > rounding].tolist(),
            *(abs(float(c.distance(point.unsqueeze(0)).detach())) for c in curved),
        ]
        radius = min(others, default=math.inf)
        known = any(float((point - corner.point).norm()) <= rounding for corner in found)
        if known or not rounding < radius < math.inf:
            continue
        share = float((domain.distance(point + radius / 2 * circle) < 0).double().mean())
        if 0.5 + SHARPEST < share < 1:
            found.append(Corner(point, radius))
    return tuple(found)


def edges_between(vertices: Tensor) -> Tensor:
    """Return the edges between vertices in order, (n, 2, 2)."""
    return torch.stack([vertices, vertices.roll(-1, 0)], 1)


def gaps(x: Tensor, segments: Tensor) -> Tensor:
    """Return the distances of points (n, 2) to segments, (n, segments)."""
    edge, offset = segments[:, 1] - segments[:, 0], x.unsqueeze(1) - segments[:, 0]
    along = ((offset * edge).sum(-1) / edge.square().sum(-1)).clamp(0, 1)
    return torch.linalg.vector_norm(offset - along.unsqueeze(-1) * edge, dim=-1)


def crossing(segments: Tensor) -> Tensor:
    """Return which segments cross, (n, 2); not those that touch."""
    start, edge = segments[:, :1], segments[:, 1:] - segments[:, :1]
    apart = cross(edge, segments[:, 0] - start) * cross(edge, segments[:, 1] - start) < 0
    return (apart & apart.mT).triu().nonzero()  # the ends of each are on both sides of the line of the other


def _crossings(segments: Tensor) -> Tensor:
    """Return the points where two segments cross, (n, 2)."""
    (start, end), (other, beyond) = (segments[i].unbind(1) for i in crossing(segments).unbind(1))
    along = cross(other - start, beyond - other) / cross(end - start, beyond - other)
    return start + along.unsqueeze(1) * (end - start)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Return the area between two vectors of the plane, with its sign."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
