"""The picture of the README: a driven drum, solved, and a function from 1000 points with the bumps that were found.

Needs matplotlib; takes a few seconds.

    python examples/front_page.py [FIGURE.png]
"""

from __future__ import annotations

import sys

import torch
from matplotlib.figure import Figure

from gmlayers import plot, solve


def main(path: str = "front.png") -> None:
    """Solve, fit, draw, and say where."""
    u = solve.unknown(2)
    drum = solve.Problem(
        solve.Ball((0, 0), 1),
        solve.laplacian(u) + 100 * u == (lambda x: torch.exp(-20 * (x - 0.3).square().sum(1))),
        {"boundary": u == 0},
    )
    answer = solve.solve(drum, tolerance=1e-6)
    torch.manual_seed(0)
    x = torch.rand(1000, 2, dtype=torch.float64)
    y = torch.sin(6 * x[:, :1]) * x[:, 1:] + torch.exp(-500 * (x - 0.4).square().sum(1, keepdim=True))
    fitted = solve.approximate(x, y, tolerance=1e-4)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot.solution(answer, ax=left)
    left.set_title(f"Δu + 100 u = f on a disc: estimated error {answer.error:.0e}")
    plot.module(fitted.f, ax=right)
    right.set(xlim=(0, 1), ylim=(0, 1), title=f"1000 points, {fitted.f.num_components} bumps: error {fitted.error:.0e}")
    figure.savefig(path, dpi=110)
    print(f"{answer.reason}, {fitted.reason}; figure: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
