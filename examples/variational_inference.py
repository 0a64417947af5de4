"""Variational inference by Gaussian mixtures that flow: a banana approximated by 1, 3 and 9 Gaussians.

Lambert, Chewi, Bach, Bonnabel and Rigollet, *Variational inference via Wasserstein gradient flows* (NeurIPS 2022). The
density is known with its constant, so the divergence is too. Needs matplotlib; takes half a minute.

    python examples/variational_inference.py [FIGURE.png]
"""

from __future__ import annotations

import math
import sys

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from gmlayers import flows

WIDTH, THICKNESS = 2.0, 0.5
LOG_Z = math.log(2 * math.pi * WIDTH * THICKNESS)


def potential(x: Tensor) -> Tensor:
    """Minus the logarithm of a density: a Gaussian bent along a parabola, which keeps volumes."""
    across = x[..., 1] - 0.5 * x[..., 0].square() + 1
    return 0.5 * ((x[..., 0] / WIDTH).square() + (across / THICKNESS).square())


def fit(components: int) -> list[flows.Moment]:
    """Return the flow of a mixture that starts as a row of circles; weights move too."""
    mean = torch.stack([torch.linspace(-2, 2, components + 2)[1:-1], torch.zeros(components)], 1).double()
    start = flows.Roots(mean, 0.7 * torch.eye(2, dtype=torch.float64).expand(components, 2, 2))
    divergence = flows.Divergence(potential, flows.hermite_nodes(2, 8))
    return list(flows.flow(divergence, start, step=0.02, steps=1000, reaction=0.5))


def draw(paths: dict[int, list[flows.Moment]]) -> Figure:
    """Draw where each flow ends, over the density, and its divergence against time."""
    figure = Figure(figsize=(3.0 * (len(paths) + 1), 3.2), layout="constrained")
    *panels, last = figure.subplots(1, len(paths) + 1)
    grid = torch.cartesian_prod(torch.linspace(-6, 6, 200), torch.linspace(-4, 9, 200))
    density = torch.exp(-potential(grid) - LOG_Z).reshape(200, 200).T
    for axes, (components, path) in zip(panels, paths.items()):
        axes.contourf(torch.linspace(-6, 6, 200), torch.linspace(-4, 9, 200), density, 12, cmap="Greys", alpha=0.7)
        end = path[-1].mixture
        for weight, mean, cov in zip(end.weight, end.mean, end.cov):
            values, vectors = torch.linalg.eigh(cov)
            angle = math.degrees(math.atan2(float(vectors[1, 1]), float(vectors[0, 1])))
            size = 2 * values.sqrt().flip(0)  # one standard deviation to each side
            strength = min(1.0, 0.25 + 0.75 * components * float(weight) / 2)
            axes.add_patch(
                Ellipse(tuple(mean.tolist()), *size.tolist(), angle=angle, fill=False, color="#0072B2", alpha=strength)
            )
        axes.set(title=f"K = {components}: {path[-1].energy + LOG_Z:.3f} nats", xlim=(-6, 6), ylim=(-4, 9))
    for (components, path), style in zip(paths.items(), ("-", "--", ":")):
        times, gaps = [m.time for m in path], [m.energy + LOG_Z for m in path]
        last.plot(times, gaps, style, color="#0072B2", label=f"K = {components}")
    last.set(title="divergence from the density", xlabel="time", yscale="log")
    last.legend(frameon=False)
    return figure


def main(path: str = "variational_inference.png") -> None:
    """Fit, draw, and say where."""
    paths = {components: fit(components) for components in (1, 3, 9)}
    for components, moments in paths.items():
        print(
            f"K = {components:2}: divergence {moments[0].energy + LOG_Z:.4f} -> {moments[-1].energy + LOG_Z:.4f} nats"
        )
    draw(paths).savefig(path, dpi=150)
    print(f"figure: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
