"""Domains of space over an interval of time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers._arguments import real
from gmlayers.solve._checks import without_gradient
from gmlayers.solve.domains.base import BOUNDARY, Domain, Points, bounds, check_domain
from gmlayers.solve.domains.sampling import GOLDEN, spread


class SpaceTime(Domain):
    """A domain of space over an interval of time, which is the last coordinate.

    Its parts are those of the domain of space at all times, ``"initial"`` and ``"final"``. At re-entrant corners
    of space nothing is graded.

    Args:
        space: the domain of space.
        end: the last time.
        start: the first time.

    Raises:
        ValueError: if the interval is empty or not finite, or the domain of space has a part "initial" or "final".
        TypeError: if the space is no domain.

    Example:
        >>> from gmlayers import solve
        >>> solve.SpaceTime(solve.Box((0,), (1,)), 2.0).parts
        ('boundary', 'low 0', 'high 0', 'initial', 'final')
    """

    def __init__(self, space: Domain, end: float, *, start: float = 0.0) -> None:
        check_domain("SpaceTime", space)
        for part in ("initial", "final"):
            if part in space.parts:
                raise ValueError(f"SpaceTime: the domain of space has a part {part!r} already; give it another name")
        without_gradient("SpaceTime: a time", (start, end))
        self.space, self.start, self.end = space, real("SpaceTime: start", start), real("SpaceTime: end", end)
        if not -math.inf < self.start < self.end < math.inf:
            raise ValueError(f"SpaceTime: expected finite times with start < end, got {self.start} and {self.end}")
        self.low, self.high = bounds(
            "SpaceTime",
            [*space.low.tolist(), self.start],
            [*space.high.tolist(), self.end],
            of=" of space, start and end",
        )
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
        """The lengths that count as equal: the interval of time is as long as the mean extent of space."""
        extent = (self.space.high - self.space.low).log().mean().exp()
        return torch.cat([self.space.units, ((self.end - self.start) / extent).reshape(1)])

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
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
