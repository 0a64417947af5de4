"""What all pictures have in common: colours, new axes, fields of numbers, ellipses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.collections import EllipseCollection
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#000000", "#999999", "#009E73", "#CC79A7", "#E69F00")
"""Colour-blind readers can tell these colours of Okabe and Ito apart."""

RISES, FALLS = COLOURS[2], COLOURS[0]
"""A bump has the first colour if its weight is positive, and the second if it is negative."""

FIELD = "viridis"
"""Functions of two variables have these colours, which are as far apart for all eyes as the numbers are."""

GROUND = "Greys"
"""A function has these colours where bumps are drawn on it."""

SIDE = 241
"""A function of two variables is drawn from this many points on a side."""


def new_axes(count: int = 1, *, height: float = 3.8) -> list[Axes]:
    """Return so many axes side by side in a new figure of ``matplotlib.pyplot``, which notebooks show."""
    from matplotlib import pyplot  # it chooses a backend when it is imported

    figure = pyplot.figure(figsize=(height * 1.25 * count, height), layout="constrained")
    return [figure.add_subplot(1, count, index + 1) for index in range(count)]


def grid(low: Sequence[float], high: Sequence[float]) -> Tensor:
    """Return the points of a grid over a rectangle, (SIDE², 2) in float64, by rows of the first coordinate."""
    lines = (torch.linspace(a, b, SIDE, dtype=torch.float64) for a, b in zip(low, high))
    return torch.cartesian_prod(*lines)


def field(
    ax: Axes,
    values: Tensor,
    low: Sequence[float],
    high: Sequence[float],
    *,
    colours: str = FIELD,
    equal: bool = True,
) -> None:
    """Draw numbers on the points of :func:`grid` with a bar of colours; what is not finite stays white."""
    shown = ax.imshow(
        values.reshape(SIDE, SIDE).T.numpy(),
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        cmap=colours,
        aspect="equal" if equal else "auto",
    )
    ax.figure.colorbar(shown, ax=ax, shrink=0.85)


def ellipses(
    ax: Axes, mean: Tensor, cov: Tensor, *, colours: list[tuple[float, float, float, float]], linewidth: float = 1.0
) -> None:
    """Draw where Gaussians in the plane have fallen to exp(-½): one standard deviation around, (K, 2) and (K, 2, 2)."""
    values, vectors = torch.linalg.eigh(cov.double())
    width, height = (2 * values.clamp(min=0).sqrt()).unbind(-1)
    angle = torch.atan2(vectors[:, 1, 0], vectors[:, 0, 0]) * (180 / math.pi)
    drawn = EllipseCollection(
        width.numpy(),
        height.numpy(),
        angle.numpy(),
        units="xy",
        offsets=mean.double().numpy(),
        offset_transform=ax.transData,
        facecolors="none",
        edgecolors=colours,
        linewidths=linewidth,
    )
    ax.add_collection(drawn)


def names_of(dim: int, *, time: bool = False) -> list[str]:
    """Return what the axes of a picture are called."""
    space = dim - time
    letters = ["x", "y", "z"][:space] if space <= 3 else [f"x[{i}]" for i in range(space)]
    return [*letters, *(["t"] if time else [])]
