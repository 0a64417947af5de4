"""A solution that changes in time, as a film."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.animation import FuncAnimation

from gmlayers.plot._solution import POINTS, inside_only, problem_of
from gmlayers.plot._style import COLOURS, FIELD, SIDE, grid, names_of, new_axes
from gmlayers.solve import Problem, Solution, SpaceTime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from torch import Tensor

FRAMES_A_SECOND = 20


def animation(
    answer: Solution, problem: Problem | None = None, *, frames: int = 60, ax: Axes | None = None
) -> FuncAnimation:
    """Return a film of a solution in time, in one or two coordinates of space.

    Args:
        answer: what :func:`~gmlayers.solve.solve` returned for a problem on a :class:`~gmlayers.solve.SpaceTime`.
        problem: the problem; an answer knows its own, unless it has been pickled.
        frames: the number of pictures, at least 2.
        ax: the axes to draw in; by default those of a new figure.

    Returns:
        The film: ``.save("film.gif")`` writes it, and a notebook shows ``.to_jshtml()``.

    Raises:
        ValueError: if there is no time, if space has three coordinates or more, or for fewer than two frames.
        TypeError: if it is no solution.

    Example:
        >>> from gmlayers import plot, solve
        >>> film = plot.animation(solve.solve(solve.problems.wave().problem, 1e-3), frames=10)
        >>> len(film.to_jshtml()) > 1000  # or film.save("wave.gif")
        True
    """
    problem = problem_of("animation", answer, problem)
    domain = problem.domain
    if not isinstance(domain, SpaceTime) or domain.dim > 3:
        raise ValueError("plot.animation: it draws solutions in time, in one or two coordinates of space")
    if frames < 2:
        raise ValueError(f"plot.animation: a film has at least 2 frames, got {frames}")
    ax = new_axes()[0] if ax is None else ax
    low, high = domain.space.low.tolist(), domain.space.high.tolist()
    flat = domain.dim == 2
    space = torch.linspace(low[0], high[0], POINTS, dtype=torch.float64).unsqueeze(1) if flat else grid(low, high)
    times = torch.linspace(domain.start, domain.end, frames, dtype=torch.float64)
    points = (torch.cat([space, time.expand(len(space), 1)], 1) for time in times)
    values = torch.stack([inside_only(domain, x, answer.u(x).squeeze(1)) for x in points])
    known = values[values.isfinite()]
    between = float(known.amin()), float(known.amax())
    show = _curve(ax, space, between) if flat else _field(ax, low, high, between)
    for set_label, name in zip((ax.set_xlabel, ax.set_ylabel), [*names_of(domain.dim, time=True)[:-1], "u"]):
        set_label(name)

    def draw(frame: int) -> Sequence[Artist]:
        ax.set_title(f"t = {float(times[frame]):.3g}")
        return [show(values[frame])]

    draw(0)
    return FuncAnimation(ax.figure, draw, frames=frames, interval=1000 / FRAMES_A_SECOND)  # type: ignore[arg-type]


def _curve(ax: Axes, space: Tensor, between: tuple[float, float]) -> Callable[[Tensor], Artist]:
    """Return what shows a function of one coordinate of space."""
    least, largest = between
    (line,) = ax.plot(space[:, 0].numpy(), space[:, 0].numpy(), color=COLOURS[0])
    margin = 0.05 * (largest - least) or 1.0
    ax.set_ylim(least - margin, largest + margin)

    def show(values: Tensor) -> Artist:
        line.set_ydata(values.numpy())
        return line

    return show


def _field(
    ax: Axes, low: Sequence[float], high: Sequence[float], between: tuple[float, float]
) -> Callable[[Tensor], Artist]:
    """Return what shows a function of two coordinates of space."""
    extent = (low[0], high[0], low[1], high[1])
    empty = torch.full((SIDE, SIDE), between[0]).numpy()
    image = ax.imshow(empty, origin="lower", extent=extent, cmap=FIELD, vmin=between[0], vmax=between[1])
    ax.figure.colorbar(image, ax=ax, label="u", shrink=0.85)

    def show(values: Tensor) -> Artist:
        image.set_data(values.reshape(SIDE, SIDE).T.numpy())
        return image

    return show
