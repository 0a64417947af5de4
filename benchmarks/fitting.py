"""Fit exp(sin πx + y²) on [-1, 1]² with a GMNM of 351 parameters: variable projection, Adam and L-BFGS at equal time.

    OMP_NUM_THREADS=1 python benchmarks/fitting.py --seeds 5

There are 1000 points to train and 1000 to test, all in float64. Variable projection has 100 iterations. The others
start from the same bumps and get as many seconds of processor time, or ``--times`` as many. Adam tries three rates,
each with a cosine decay over its time. It trains with each on nine tenths of the training points, takes the rate with
the least error on the tenth that is left, and trains with that rate on all of them. These trials have as many seconds
each and are not counted. Every method meets the test points once, when it has ended. The exit status is 1 unless the
error of variable projection is at most a tenth of that of either of the others, in the median.
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
"""Adam tries these rates."""

HELD_OUT = 0.1
"""This share of the training points is held out when Adam chooses its rate: the last ones."""


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
    closure, start = losses(module, x, optimizer), time.process_time()
    while (passed := time.process_time() - start) < seconds:
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * passed / seconds)) / 2
        closure()
        optimizer.step()
    return module


def chosen(start: GMNM, x: Tensor, seconds: float) -> float:
    """Return the rate of Adam with the least error on the last of the points after training on the others."""
    left = len(x) - int(HELD_OUT * len(x))

    def held_out(rate: float) -> float:
        return error(adam(copy.deepcopy(start), x[:left], seconds, rate), x[left:])

    return min(RATES, key=held_out)


def lbfgs(module: GMNM, x: Tensor, seconds: float) -> GMNM:
    """Train for some seconds, with strong Wolfe line searches."""
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=5, history_size=100, line_search_fn="strong_wolfe", tolerance_change=0.0
    )
    closure, start = losses(module, x, optimizer), time.process_time()
    while time.process_time() - start < seconds:
        optimizer.step(closure)
    return module


def trial(seed: int, times: float) -> Iterator[tuple[str, float, float]]:
    """Yield each method, its seconds and its error on the test points."""
    g = torch.Generator().manual_seed(seed)
    x, test = (torch.rand(1000, 2, dtype=torch.float64, generator=g) * 2 - 1 for _ in range(2))
    start = GMNM(2, 1, 50, domain=(-1, 1), dtype=torch.float64)
    start.reset_parameters(g)
    module, begin = copy.deepcopy(start), time.process_time()
    solve.variable_projection(module, x, target(x), iterations=100)
    seconds = time.process_time() - begin
    yield "variable projection", seconds, error(module, test)
    rate = chosen(start, x, times * seconds)
    yield "Adam", times * seconds, error(adam(copy.deepcopy(start), x, times * seconds, rate), test)
    yield "L-BFGS", times * seconds, error(lbfgs(copy.deepcopy(start), x, times * seconds), test)


def main() -> int:
    """Print the medians over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument(
        "--times", type=float, default=1.0, help="Adam and L-BFGS get this many times the seconds (default: 1)"
    )
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
