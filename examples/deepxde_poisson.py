"""A GMNM as the network of DeepXDE: Poisson's equation on a square, trained by L-BFGS.

Δu = -2π² sin πx sin πy on [-1, 1]², u = 0 on the edge, whose solution is sin πx sin πy. DeepXDE asks one thing of a
network that torch's modules do not have, the attribute `regularizer`. Needs deepxde; takes half a minute. (A linear
equation like this one `gmlayers.solve` solves in less than a second, to ten digits: this is for those that are not.)

    DDE_BACKEND=pytorch python examples/deepxde_poisson.py [--steps 100]
"""

from __future__ import annotations

import argparse
import math

import deepxde as dde
import numpy as np
import torch
from torch import Tensor

from gmlayers import GMNM


def residual(x: Tensor, u: Tensor) -> Tensor:
    """Return what is left of the equation, by automatic differentiation through the module."""
    laplacian = dde.grad.hessian(u, x, i=0, j=0) + dde.grad.hessian(u, x, i=1, j=1)
    return laplacian + 2 * math.pi**2 * torch.sin(math.pi * x).prod(1, keepdim=True)


def exact(x: np.ndarray) -> np.ndarray:
    """Return the solution at points (n, 2)."""
    return np.sin(math.pi * x).prod(1, keepdims=True)


def main() -> None:
    """Train, and print the relative error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="of 20 iterations each")
    parser.add_argument("--bumps", type=int, default=50)
    options = parser.parse_args()
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(0)
    square = dde.geometry.Rectangle([-1, -1], [1, 1])
    edge = dde.icbc.DirichletBC(square, lambda x: np.zeros((len(x), 1)), lambda _, on_boundary: on_boundary)
    data = dde.data.PDE(square, residual, edge, num_domain=1000, num_boundary=200)

    net = GMNM(2, 1, options.bumps, domain=(-1, 1))
    net.regularizer = None
    optimizer = torch.optim.LBFGS(net.parameters(), tolerance_change=0, line_search_fn="strong_wolfe")
    model = dde.Model(data, net)
    model.compile(optimizer, loss_weights=[0.01, 1], verbose=0)
    model.train(options.steps, verbose=0)
    points = square.random_points(10_000)
    print(f"relative L2 error: {dde.metrics.l2_relative_error(exact(points), model.predict(points)):.1e}")


if __name__ == "__main__":
    main()
