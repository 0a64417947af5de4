"""A domain: its inside, and its boundary by parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gmlayers.plot._style import COLOURS, names_of, new_axes
from gmlayers.solve import Domain, SpaceTime

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

INSIDE = 600
"""So many points inside are drawn."""

AROUND = 240
"""So many points of every part of the boundary are drawn."""

ARROWS = 12
"""So many outward normals of every part are drawn."""

NAMED = 12
"""More parts than this are drawn without a legend."""


def domain(domain: Domain, *, ax: Axes | None = None) -> Axes:
    """Draw a domain: points inside in grey, the parts of its boundary by colour, outward normals, re-entrant corners.

    Args:
        domain: a domain of one, two or three coordinates, time among them.
        ax: the axes to draw in, for three coordinates those of ``projection="3d"``; by default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the domain has more coordinates.
        TypeError: if it is no domain.

    Example:
        >>> from gmlayers import plot, solve
        >>> ax = plot.domain(solve.Box((0, 0), (2, 1)) - solve.Ball((0.5, 0.5), 0.2))
        >>> ax.get_title()
        'Difference'
    """
    if not isinstance(domain, Domain):
        raise TypeError(f"plot.domain: expected a domain of gmlayers.solve, got {type(domain).__name__}")
    if domain.dim > 3:
        raise ValueError(f"plot.domain: it draws one to three coordinates, and the domain has {domain.dim}")
    if ax is None:
        ax = new_axes()[0]
        if domain.dim == 3:
            figure = ax.figure
            ax.remove()
            ax = figure.add_subplot(projection="3d")
    _scatter(ax, domain.interior(INSIDE), color="#bbbbbb", s=4)
    parts = [name for name in domain.parts if name != "boundary"] or list(domain.parts)
    for index, part in enumerate(parts):
        points = domain.boundary(AROUND, part)
        colour = COLOURS[index % len(COLOURS)]
        _scatter(ax, points.x, color=colour, s=8, label=part)
        if points.normal is not None and domain.dim == 2:
            some = domain.boundary(ARROWS, part)
            assert some.normal is not None
            ax.quiver(*some.x.T.numpy(), *some.normal.T.numpy(), color=colour, width=0.004, scale=18)
    for corner in domain.corners:
        _scatter(ax, corner.point.unsqueeze(0), color="black", s=60, marker="x", label="re-entrant corner")
    names = names_of(domain.dim, time=isinstance(domain, SpaceTime))
    ax.set_xlabel(names[0])
    if domain.dim > 1:
        ax.set_ylabel(names[1])
    else:
        ax.set_yticks([])
    if domain.dim == 3:
        ax.set_zlabel(names[2])  # type: ignore[attr-defined]
    elif domain.dim == 2 and not isinstance(domain, SpaceTime):
        ax.set_aspect("equal")
    ax.set_title(type(domain).__name__)
    if len(parts) <= NAMED:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax


def _scatter(ax: Axes, x: Tensor, *, color: str, s: float, marker: str = "o", label: str | None = None) -> None:
    columns = [*x.T.numpy()] if x.shape[1] > 1 else [x[:, 0].numpy(), torch.zeros(len(x)).numpy()]
    ax.scatter(*columns, color=color, s=s, marker=marker, label=label, linewidths=1.5 if marker == "x" else 0)
