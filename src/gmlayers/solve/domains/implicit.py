"""Domains in which a function is negative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gmlayers.solve.domains.base import BOUNDARY, Domain, Points, bounds
from gmlayers.solve.domains.sampling import evenly, spread
from gmlayers.solve.domains.shapes import Box

BEYOND = 1e-6
"""A domain may go beyond its box by this, relative to its size: that much is rounding."""


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
        self.low, self.high = bounds("Implicit", low, high)
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
        kept = kept[evenly(x[kept], n)]
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
