"""Fit exp(sin πx + y²) on [-1, 1]² with a GMNM of 351 parameters: variable projection, Adam and L-BFGS at equal time.

    OMP_NUM_THREADS=1 python benchmarks/fitting.py --seeds 5

1000 points to train, 1000 to test, all in float64. Variable projection has 100 iterations; the others start from the
same bumps and get as many seconds, or ``--times`` as many. Adam has the best of three rates on the test points, with a
cosine decay over its time. The exit status is 1 unless variable projection is ten times below both, in the median.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gmlayers import GMNM, solve

RATES = (3e-3, 1e-2, 3e-2)


def target(x: Tensor) -> Tensor:
    """Return exp(sin πx + y²), (n, 1)."""
    return torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:].square())


@torch.no_grad()
def error(module: GMNM, x: Tensor) -> float:
    """Return the root mean square error."""
    return (module(x) - target(x)).square().mean().sqrt().item()


def losses(module: GMNM, x: Tensor, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    """Return the closure that an optimizer calls."""
    y = target(x)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (module(x) - y).square().mean()
        loss.backward()
        return loss

    return closure


def adam(module: GMNM, x: Tensor, seconds: float, rate: float) -> GMNM:
    """Train for some seconds, with a cosine decay in time."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    closure, start = losses(module, x, optimizer), time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * passed / seconds)) / 2
        closure()
        optimizer.step()
    return module


def lbfgs(module: GMNM, x: Tensor, seconds: float) -> GMNM:
    """Train for some seconds, with strong Wolfe line searches."""
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=5, history_size=100, line_search_fn="strong_wolfe", tolerance_change=0.0
    )
    closure, start = losses(module, x, optimizer), time.perf_counter()
    while time.perf_counter() - start < seconds:
        optimizer.step(closure)
    return module


def trial(seed: int, times: float) -> Iterator[tuple[str, float, float]]:
    """Yield method, seconds and test error."""
    g = torch.Generator().manual_seed(seed)
    x, test = (torch.rand(1000, 2, dtype=torch.float64, generator=g) * 2 - 1 for _ in range(2))
    start = GMNM(2, 1, 50, domain=(-1, 1), dtype=torch.float64)
    start.reset_parameters(g)
    module, clock = copy.deepcopy(start), time.perf_counter()
    solve.variable_projection(module, x, target(x), iterations=100)
    seconds = time.perf_counter() - clock
    yield "variable projection", seconds, error(module, test)
    found = [error(adam(copy.deepcopy(start), x, times * seconds, rate), test) for rate in RATES]
    yield "Adam", times * seconds, min(found)
    yield "L-BFGS", times * seconds, error(lbfgs(copy.deepcopy(start), x, times * seconds), test)


def main() -> int:
    """Print the medians over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", type=float, default=1.0)
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.seeds):
        for method, seconds, rmse in trial(seed, options.times):
            rows.setdefault(method, []).append((seconds, rmse))
    print(f"{'method':24}{'seconds':>9}{'median RMSE':>13}{'least':>10}{'largest':>10}")
    for method, values in rows.items():
        seconds, errors = zip(*values)
        middle = statistics.median(errors)
        print(f"{method:24}{statistics.median(seconds):9.1f}{middle:13.1e}{min(errors):10.1e}{max(errors):10.1e}")
    best, *others = (statistics.median(e for _, e in values) for values in rows.values())
    return 0 if 10 * best <= min(others) else 1


if __name__ == "__main__":
    sys.exit(main())
