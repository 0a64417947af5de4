"""Solve the linear equations of `gmlayers.solve.problems` and compare with their known solutions.

    OMP_NUM_THREADS=1 python benchmarks/equations.py

For every problem and tolerance: seconds of the call, bumps of the set that is returned, the estimated error, the true
one, and that of the gradient, relative in L2, and the mean square error. All is in float64. Errors are measured on
101 × 101 points of squares, and on 5000 points of others that the solver has not fitted. The exit status is 1 unless
all are within their limits.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers import solve
from gmlayers.solve import problems


class Row(NamedTuple):
    """A problem, the tolerance that is asked for, and the relative error it may have."""

    name: str
    tolerance: float
    limit: float


ROWS = (
    Row("poisson-a", 1e-6, 2e-6),
    Row("poisson-a", 1e-10, 2e-10),
    Row("poisson-b", 1e-6, 2e-6),
    Row("poisson-b", 1e-10, 2e-10),
    Row("helmholtz", 1e-10, 1e-6),
    Row("advection-diffusion", 1e-10, 1e-8),
    Row("heat", 1e-10, 1e-8),
    Row("wave", 1e-10, 1e-8),
    Row("poisson-l", 1e-4, 1e-4),
    Row("poisson-peak", 1e-6, 1e-6),
    Row("layer-50", 1e-5, 1e-5),
    Row("layer-100", 1e-5, 1e-5),
    Row("poisson-3d", 1e-6, 1e-6),
    Row("poisson-10d", 1e-6, 1e-2),
)


def points(domain: solve.Domain) -> Tensor:
    """Return where to measure."""
    if isinstance(domain, solve.Box) and domain.dim == 2:
        axes = [
            torch.linspace(a, b, 101, dtype=torch.float64) for a, b in zip(domain.low.tolist(), domain.high.tolist())
        ]
        return torch.cartesian_prod(*axes)
    return domain.interior(5000, held_out=True)


def measured(row: Row) -> tuple[solve.Solution, float, float, float, float]:
    """Return the solution, seconds, relative error, that of the gradient, and the mean square error."""
    problem, exact = problems.KNOWN[row.name]()
    start = time.perf_counter()
    found = solve.solve(problem, row.tolerance)
    seconds = time.perf_counter() - start
    x = points(problem.domain).requires_grad_()
    true = exact(x)
    (slope,) = torch.autograd.grad(true.sum(), x)
    with torch.no_grad():
        off = found.u(x)[:, 0] - true
        steep = (found.u.gradient(x)[:, 0] - slope).norm() / slope.norm()
        return found, seconds, float(off.norm() / true.norm()), float(steep), float(off.square().mean())


def main() -> int:
    """Print a line for every problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a part of the names")
    only = parser.parse_args().only
    print("problem                  tol  seconds  bumps  ended by   estimate     error  gradient       MSE")
    good = True
    for row in ROWS:
        if only is not None and only not in row.name:
            continue
        found, seconds, error, steep, mse = measured(row)
        good &= error <= row.limit
        print(
            f"{row.name:20} {row.tolerance:7.0e} {seconds:8.2f} {found.u.num_components:6} {found.reason:>10} "
            f"{found.error:9.1e} {error:9.1e} {steep:9.1e} {mse:9.1e}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
