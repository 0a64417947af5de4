"""A function from points, and its bumps

An ellipse is where a bump has fallen to exp(−½). Orange adds, blue takes away, faint is small.
"""

import torch

from gmlayers import plot, solve

torch.manual_seed(0)
x = torch.rand(1000, 2, dtype=torch.float64)
y = torch.sin(6 * x[:, :1]) * x[:, 1:] + torch.exp(-500 * (x - 0.4).square().sum(1, keepdim=True))
fitted = solve.approximate(x, y, tolerance=1e-4)
plot.module(fitted.f)
