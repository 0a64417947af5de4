"""Fit a million points of sin 6πx₁ · exp(cos 4πx₂) on [-1, 1]² by 2000 fixed bumps, in little memory.

    OMP_NUM_THREADS=1 python benchmarks/large_least_squares.py [--points 100000 --bumps 500]

The matrix of this least-squares problem would have 15 GiB in float64; `solve.fit` makes it in blocks of rows and keeps
the triangle of its QR factorisation. Centres are a Sobol sequence in a box a tenth wider on each side, and the widths
of the bumps twice their spacing. The residual is that of the points, the error is measured on 10 000 others, both
relative in L2; the memory is the most that was resident at any time, and before the fit, with Python and torch. The
exit status is 1 if it is above 4 GiB.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time

import torch
from torch import Tensor

from gmlayers import GMNM, solve

LIMIT = 4.0
"""GiB."""


def target(x: Tensor) -> Tensor:
    """Return sin 6πx₁ · exp(cos 4πx₂), (n, 1)."""
    return torch.sin(6 * math.pi * x[:, :1]) * torch.exp(torch.cos(4 * math.pi * x[:, 1:]))


def peak() -> float:
    """Return the most memory that was resident, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@torch.no_grad()
def wide_bumps(m: int) -> GMNM:
    """Return a module of equal round bumps."""
    module = GMNM(2, 1, m, domain=(-1, 1), dtype=torch.float64)
    spacing = 2.4 / math.sqrt(m)
    module.mean.copy_(2.4 * torch.quasirandom.SobolEngine(2, seed=0).draw(m, dtype=torch.float64) - 1.2)
    module.projection.copy_(torch.eye(2, dtype=torch.float64) / (2 * spacing))
    return module


def main() -> int:
    """Fit, and print a line with its head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--bumps", type=int, default=2000)
    options = parser.parse_args()
    g = torch.Generator().manual_seed(0)
    x, test = (torch.rand(n, 2, dtype=torch.float64, generator=g) * 2 - 1 for n in (options.points, 10_000))
    module, y, before, start = wide_bumps(options.bumps), target(x), peak(), time.perf_counter()
    result = solve.fit(module, x, y)
    seconds, memory = time.perf_counter() - start, peak()
    true = target(test)
    with torch.no_grad():
        error = float((module(test) - true).norm() / true.norm())
    print(f"{'points':>9}{'columns':>9}{'rank':>6}{'seconds':>9}{'GiB':>6}{'before':>8}{'residual':>10}{'error':>9}")
    print(
        f"{options.points:9,}{len(result.weight):9}{result.rank:6}{seconds:9.1f}{memory:6.2f}{before:8.2f}"
        f"{float(result.relative):10.1e}{error:9.1e}"
    )
    return 0 if memory <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
