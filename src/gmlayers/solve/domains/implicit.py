"""Domains in which a function is negative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers._arguments import called, check_callable
from gmlayers._arrays import Array
from gmlayers.solve.domains.base import BOUNDARY, Domain, Points, bounds
from gmlayers.solve.domains.sampling import evenly, spread
from gmlayers.solve.domains.shapes import Box

BEYOND = 1e-6
"""A domain may go beyond its box by this, relative to its size: that much is rounding."""

TINY = 1e-300
"""A gradient is taken to be no shorter than this, so that nothing is divided by 0."""


@dataclass(frozen=True)
class Tracing:
    """How points of the boundary are found."""

    drawn: int = 16
    """The number of points that are drawn for every point that is asked for."""
    nearest: int = 4
    """The number of points, the nearest to the boundary, that are moved to it for every point that is asked for."""
    margin: float = 0.05
    """Points are drawn from the box and this share of it beyond, on each side."""
    steps: int = 20
    """They are moved by this many of Newton's steps along the gradient."""
    edge: float = 1e-9
    """A point that is within this of the boundary, relative to the size of the box, is on it."""


TRACING = Tracing()


class Implicit(Domain):
    """The domain in which a function is negative.

    Args:
        function: this takes points (n, d) and returns values (n,), by operations of torch that autograd can
            differentiate: the signed distance, or anything with its sign whose gradient at the boundary is not 0.
        low: the lower corner of a box that contains the domain, and little else.
        high: the upper corner of that box.

    Raises:
        ValueError: if values are of a wrong shape or have no derivatives, or the domain goes beyond the box.

    Example:
        >>> from gmlayers import solve
        >>> ellipse = solve.Implicit(lambda x: (x[:, 0] / 2) ** 2 + x[:, 1] ** 2 - 1, (-2, -1), (2, 1))
        >>> ellipse.boundary(100).x.shape
        torch.Size([100, 2])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], low: Tensor | Array, high: Tensor | Array) -> None:
        check_callable("Implicit: function", function, takes=1)
        self.function = function
        self.low, self.high = bounds("Implicit", low, high)
        on_box = Box(low, high).boundary(1024).x
        if bool((self.distance(on_box) < -BEYOND * float((self.high - self.low).max())).any()):
            raise ValueError(
                f"Implicit: the domain goes beyond its box {self.low.tolist()}, {self.high.tolist()}; give a larger one"
            )

    def distance(self, x: Tensor) -> Tensor:
        """Return the value over the length of the gradient: the distance to first order."""
        value, gradient = self._with_gradient(x)
        return value / torch.linalg.vector_norm(gradient, dim=1).clamp(min=TINY)

    def boundary(self, n: int, part: str = BOUNDARY, *, held_out: bool = False) -> Points:
        self._check_part(n, part, held_out)
        size = self.high - self.low
        wider = 1 + 2 * TRACING.margin
        x = self.low - TRACING.margin * size + wider * size * spread(TRACING.drawn * n, self.dim, held_out)
        x = x[self.distance(x).abs().argsort()[: TRACING.nearest * n]]
        for _ in range(TRACING.steps):
            value, gradient = self._with_gradient(x)
            x = x - (value / gradient.square().sum(1).clamp(min=TINY)).unsqueeze(1) * gradient
        value, gradient = self._with_gradient(x)
        normal = gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp(min=TINY)
        edge = TRACING.edge * float(size.max())
        there = (self.distance(x).abs() < edge) & x.isfinite().all(1)
        there &= ((self.low - edge <= x) & (x <= self.high + edge)).all(1)  # it may be 0 elsewhere, too
        kept = there.nonzero().flatten()
        if not len(kept):
            raise ValueError(
                f"Implicit: the function is 0 nowhere in the box {self.low.tolist()}, {self.high.tolist()}; is it the "
                f"signed distance to a boundary, negative inside?"
            )
        kept = kept[evenly(x[kept], n)]
        return Points(x[kept], normal[kept])

    def _with_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = called("Implicit", "function", self.function, x)
            if not isinstance(value, Tensor) or value.shape not in ((len(x),), (len(x), 1)):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"Implicit: the function must have values ({len(x)},) at {len(x)} points, got {shape}")
            if not value.requires_grad:
                raise ValueError("Implicit: the function has no derivative for autograd; compute it by torch from x")
            value = value.reshape(-1)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient
