"""Domains that are other ones in all but a few things, such as one that remembers its points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gmlayers.solve.domains.base import BOUNDARY, Domain, Points

REMEMBERED = 2**23
"""At most this many coordinates of points are kept to be used again."""


class Wrapped(Domain):
    """A domain that behaves like another one, except in what its subclasses write anew.

    The other one may be of a user's own, and may differentiate; of what it returns no gradient is kept.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain, self.low, self.high = domain, domain.low, domain.high
        self.parts, self.corners, self.dense, self.fixed = domain.parts, domain.corners, domain.dense, domain.fixed

    def distance(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return self.domain.distance(x).detach()

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        with torch.enable_grad():
            return self.domain.interior(n, held_out=held_out).detach()

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        with torch.enable_grad():
            x, normal = self.domain.boundary(n, part, held_out=held_out)
        return Points(x.detach(), None if normal is None else normal.detach())

    def reached(self, x: Tensor, margin: float) -> Tensor:
        with torch.enable_grad():
            return self.domain.reached(x, margin)

    @property
    def units(self) -> Tensor:
        return self.domain.units


class Remembered(Wrapped):
    """A domain that draws points once, however often it is asked; they must not be written to."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self._drawn: dict[tuple[object, ...], Points] = {}

    def interior(self, n: int, *, held_out: bool = False) -> Tensor:
        draw = super().interior
        return self._once((n, held_out), lambda: Points(draw(n, held_out=held_out))).x

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        draw = super().boundary
        return self._once((n, part, held_out), lambda: draw(n, part, held_out=held_out))

    def _once(self, key: tuple[object, ...], draw: Callable[[], Points]) -> Points:
        if key not in self._drawn:
            points = draw()
            if sum(p.x.numel() for p in self._drawn.values()) + points.x.numel() > REMEMBERED:
                self._drawn.clear()
            self._drawn[key] = points
        return self._drawn[key]
