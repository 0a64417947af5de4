"""How a run went: its error, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gmlayers.flows import Moment
from gmlayers.plot._style import COLOURS, new_axes
from gmlayers.solve import Iteration, Refinement, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 1e-300
"""A logarithmic axis shows no number below this, and so none that is 0."""


def history(result: object, *, ax: Axes | None = None) -> Axes:
    """Draw how the error of a run fell: against bumps for what grows, iterations for a descent, time for a flow.

    Args:
        result: what :func:`~gmlayers.solve.solve`, :func:`~gmlayers.solve.approximate`,
            :func:`~gmlayers.solve.variable_projection` or :func:`~gmlayers.solve.collocate` returned; or its history;
            or a list of the moments of :func:`~gmlayers.flows.flow`.
        ax: the axes to draw in; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if there are no steps.
        TypeError: if it is none of these.

    Example:
        >>> from gmlayers import plot, solve
        >>> ax = plot.history(solve.solve(solve.problems.poisson_a().problem, 1e-4))
        >>> ax.get_xlabel(), ax.get_yscale()
        ('bumps', 'log')
    """
    steps = getattr(result, "history", result)
    if not isinstance(steps, Sequence) or not all(isinstance(s, (Step, Refinement, Iteration, Moment)) for s in steps):
        raise TypeError(
            f"plot.history: expected the result of a solver, its history or a list of a flow's moments, got "
            f"{type(result).__name__}"
        )
    if not steps:
        raise ValueError("plot.history: there are no steps to draw")
    ax = new_axes()[0] if ax is None else ax
    first = steps[0]
    if isinstance(first, Step):
        _line(ax, steps, "num_components", {"error": "estimated error", "change": "change from the set before"})
        for index, name in enumerate(first.misfits):
            _curve(
                ax, [s.num_components for s in steps], [s.misfits[name] for s in steps], f"misfit: {name}", index + 2
            )
    elif isinstance(first, Refinement):
        _line(ax, steps, "num_components", {"error": "rows held out", "residual": "other rows"})
    elif isinstance(first, Iteration):
        _line(ax, steps, "number", {"residual": "residual"})
    else:
        _line(ax, steps, "time", {"energy": "energy"})
    x = {Iteration: "iteration", Moment: "time"}.get(type(first), "bumps")
    ax.set(xlabel=x, ylabel="energy" if isinstance(first, Moment) else "error")
    if not isinstance(first, Moment):  # an energy may be negative
        ax.set_yscale("log")
    if x == "bumps":
        ax.set_xscale("log")
    ended = getattr(result, "reason", None)
    ax.set_title(f"ended by {ended}" if ended else "")
    ax.grid(which="major", alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _line(ax: Axes, steps: Sequence[Any], x: str, columns: dict[str, str]) -> None:
    for index, (name, label) in enumerate(columns.items()):
        _curve(ax, [getattr(s, x) for s in steps], [getattr(s, name) for s in steps], label, index)


def _curve(ax: Axes, x: Sequence[float], y: Sequence[float], label: str, index: int) -> None:
    style = "-" if index == 0 else "--" if index == 1 else ":"
    shown = [value if value != 0 else LEAST for value in y]
    look = {"linewidth": 4, "alpha": 0.35} if index == 0 else {"marker": "o", "markersize": 3}  # others lie on it
    ax.plot(x, shown, style, color=COLOURS[index % len(COLOURS)], label=label, **look)
