"""What modules have learned of functions of two variables: the function, where it is wrong, and the bumps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Ellipse
from torch import Tensor

from gmlayers import GMNM
from gmlayers_studies.approximators.problems import grid
from gmlayers_studies.methods.claims import Judged
from gmlayers_studies.methods.keeping import SEED, module_of
from gmlayers_studies.methods.outcomes import middle_size, problems
from gmlayers_studies.records import seed_name

SIDE = 121
"""A picture has this many points on a side."""

LEAST = 1e-17
"""A smaller error is drawn as if it were this large."""


def draw(judged: Judged) -> Figure | None:
    """Draw kept modules on every problem of two variables, at the middle number of parameters.

    An ellipse is where a bump has fallen to exp(-½); a ridge is two lines there, which the frame cuts. The colour is
    that of the sign of its weight, the fainter the smaller it is.
    """
    rows = [
        (problem, reading, kept)
        for problem in problems(judged.outcomes)
        for size in (middle_size(judged.outcomes, problem),)
        for reading in judged.contest.pictured
        for run in judged.runs
        if (run.entry.problem, run.entry.size) == (problem, size) and run.label in judged.contest.readings[reading]
        if run.is_pictured and (kept := judged.records.module(run.place, seed_name(SEED))) is not None
    ]
    if not rows:
        return None
    figure = Figure(figsize=(9.4, 2.7 * len(rows)), layout="constrained")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(w_pad=0.1)
    for line, (problem, reading, kept) in zip(figure.subplots(len(rows), 3, squeeze=False), rows):
        module, what = module_of(kept), judged.problems[problem]
        low, high = what.box
        points = grid(what.box, SIDE)
        value = module(points).detach()
        wrong = (value - what.exact(points)).abs().clamp(min=LEAST).log10()
        titles = f"learned: {what.formula}, {reading}", "log₁₀ |error|"
        for axes, numbers, title in zip(line, (value, wrong), titles):
            image = numbers.view(SIDE, SIDE).T.numpy()
            shown = axes.imshow(image, origin="lower", extent=(low[0], high[0], low[1], high[1]), cmap="viridis")
            figure.colorbar(shown, ax=axes, shrink=0.85)
            axes.set_title(title, fontsize="small")
        _bumps(line[2], module)
        line[2].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        wider = _wider(module, low, high)
        beyond = f", {wider} wider than the frame" if wider else ""
        line[2].set_title(f"{module.num_components} bumps{beyond}", fontsize="small")
    return figure


@torch.no_grad()
def _bumps(axes: Axes, module: GMNM) -> None:
    largest = module.weight.abs().max()
    for mean, projection, weight in zip(module.mean, module.projection_matrix(), module.weight):
        colour = "#D55E00" if weight.sum() > 0 else "#0072B2"
        alpha = 0.15 + 0.85 * float((weight.abs().max() / largest).sqrt())
        if len(projection) == 1:
            for side in (-1, 1):
                _line(axes, mean, projection[0], side, colour, alpha)
            continue
        width, height, angle = _axes_of(projection)
        look = {"fill": False, "edgecolor": colour, "alpha": alpha, "linewidth": 0.8}
        axes.add_patch(Ellipse(_pair(mean), width, height, angle=angle, **look))


@torch.no_grad()
def _wider(module: GMNM, low: Sequence[float], high: Sequence[float]) -> int:
    """Return how many bumps have fallen to exp(-½) nowhere in the frame; they are convex, so its corners tell."""
    corners = torch.cartesian_prod(*torch.tensor([low, high], dtype=module.mean.dtype).T)
    away = torch.einsum("mpd,nmd->nmp", module.projection_matrix(), corners.unsqueeze(1) - module.mean)
    return int((away.square().sum(-1) < 1).all(0).sum())


def _axes_of(projection: Tensor) -> tuple[float, float, float]:
    """Return the full widths of where ‖A(x - μ)‖ = 1, and the angle of the first in degrees."""
    _, values, directions = torch.linalg.svd(projection)
    width, height = (2 / values.clamp(min=1e-6)).tolist()
    return width, height, math.degrees(math.atan2(float(directions[0, 1]), float(directions[0, 0])))


def _pair(point: Tensor) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _line(axes: Axes, mean: Tensor, normal: Tensor, side: int, colour: str, alpha: float) -> None:
    """Draw where w·(x - μ) is 1 or -1."""
    point = mean + side * normal / normal.square().sum().clamp(min=1e-12)
    along = torch.stack([-normal[1], normal[0]])
    axes.axline(_pair(point), _pair(point + along), color=colour, alpha=alpha, linewidth=0.6)
