"""Approximate functions from data with `solve.approximate`, without choosing anything but the tolerance.

    OMP_NUM_THREADS=1 python benchmarks/approximation.py

For every target: rows, the tolerance that is asked for, seconds, bumps, how many of them are trained, the estimated
error, the true one on 5000 other points, and that of as many bumps placed by the inputs alone (`GMNM.from_data`), with
their best weights. Errors are root mean squares relative to the standard deviation of the target; float32 is what the
function loses there. Data are uniform in the box, all is in float64, and the medians of the seeds are printed. The exit
status is 1 unless all true errors are within their limits.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers import GMNM, solve

POINTS = 5000


class Target(NamedTuple):
    """A function on [-1, 1]^d, how many rows of it with which noise, and the error there may be."""

    name: str
    function: Callable[[Tensor], Tensor]
    dim: int
    rows: int
    noise: float
    tolerance: float
    limit: float


def smooth(x: Tensor) -> Tensor:
    """Return exp(sin πx + y²)."""
    return torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:].square())


def peak(x: Tensor) -> Tensor:
    """Return a Gaussian of standard deviation 0.04, a fiftieth of the box, on sin 2x cos y."""
    away = (x - x.new_tensor([0.3, -0.2])).square().sum(1, keepdim=True)
    return torch.sin(2 * x[:, :1]) * torch.cos(x[:, 1:]) + torch.exp(-away / (2 * 0.04**2))


def lorentz(x: Tensor) -> Tensor:
    """Return the same with 1/(1 + r²/0.04²), which is no Gaussian."""
    away = (x - x.new_tensor([0.3, -0.2])).square().sum(1, keepdim=True)
    return torch.sin(2 * x[:, :1]) * torch.cos(x[:, 1:]) + 1 / (1 + away / 0.04**2)


def layer(x: Tensor) -> Tensor:
    """Return tanh 30(x + y² - 0.3), a layer along a curve."""
    return torch.tanh(30 * (x[:, :1] + x[:, 1:].square() - 0.3))


def four(x: Tensor) -> Tensor:
    """Return exp ½(sin π(a² + b²) + sin π(c² + d²)), the one of the KAN paper in four dimensions."""
    first, second = (torch.sin(math.pi * pair.square().sum(1, keepdim=True)) for pair in x.split(2, 1))
    return torch.exp((first + second) / 2)


TARGETS = (
    Target("smooth", smooth, 2, 1000, 0.0, 1e-4, 1e-4),
    Target("smooth", smooth, 2, 10000, 0.0, 1e-7, 1e-7),
    Target("smooth + noise", smooth, 2, 2000, 0.1, 1e-6, 2e-2),
    Target("peak", peak, 2, 5000, 0.0, 1e-6, 1e-6),
    Target("lorentz", lorentz, 2, 5000, 0.0, 1e-4, 1e-2),
    Target("layer", layer, 2, 5000, 0.0, 1e-4, 1e-1),
    Target("four", four, 4, 5000, 0.0, 1e-4, 2e-1),
)


def trial(target: Target, seed: int) -> tuple[solve.Approximation, float, float, float]:
    """Return what is found, seconds, and the errors of it and of as many bumps placed by the inputs."""
    g = torch.Generator().manual_seed(seed)
    x, test = (2 * torch.rand(n, target.dim, dtype=torch.float64, generator=g) - 1 for n in (target.rows, POINTS))
    y = target.function(x) + target.noise * torch.randn(len(x), 1, dtype=torch.float64, generator=g)
    start = time.perf_counter()
    found = solve.approximate(x, y, target.tolerance)
    seconds = time.perf_counter() - start
    others = GMNM.from_data(x, 1, found.f.num_components, generator=g)
    solve.fit(others, x, y, regularisation="gcv")
    exact = target.function(test)
    errors = [float((f(test) - exact).square().mean().sqrt() / exact.std()) for f in (found.f, others)]
    return found, seconds, errors[0], errors[1]


@torch.no_grad()
def main() -> int:
    """Print a row for every target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{'target':15}{'rows':>7}{'tol':>9}{'seconds':>9}{'bumps':>7}{'trained':>9}  {'ended by':10}{'estimate':>9}"
        f"{'error':>10}{'k-means':>11}{'float32':>10}"
    )
    good = True
    for target in TARGETS:
        found, *measured = zip(*(trial(target, seed) for seed in range(options.seeds)))
        seconds, error, others = (statistics.median(numbers) for numbers in measured)
        bumps = statistics.median_low(f.f.num_components for f in found)
        trained = statistics.median_low(f.trained for f in found)
        estimate, lost = statistics.median(f.error for f in found), statistics.median(f.float32_error for f in found)
        reason = statistics.mode(f.reason for f in found)
        print(
            f"{target.name:15}{target.rows:7}{target.tolerance:9.0e}{seconds:9.1f}{bumps:7}{trained:9}  {reason:10}"
            f"{estimate:9.1e}{error:10.1e}{others:11.1e}{lost:10.1e}",
            flush=True,
        )
        good &= error <= target.limit
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
