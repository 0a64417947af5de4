"""A slice of three dimensions

Poisson's equation in a ball, along x and z at y = 0.3.
"""

import torch

from gmlayers import plot, solve


def source(x):
    return -torch.exp(-8 * (x - 0.2).square().sum(1))


u = solve.unknown(3)
ball = solve.Problem(solve.Ball((0, 0, 0), 1), solve.laplacian(u) == source, {"boundary": u == 0})
plot.solution(solve.solve(ball, tolerance=1e-3, max_components=1000), along=(0, 2), at=(0, 0.3, 0))
