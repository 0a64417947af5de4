"""Ridges

Bumps with one direction are ridges, each between two lines. Twelve of them make a function of two variables.
"""

import torch

from gmlayers import GMNM, plot, solve

torch.manual_seed(0)
x = 2 * torch.rand(800, 2, dtype=torch.float64) - 1
y = x[:, :1] * x[:, 1:]
module = GMNM.from_data(x, 1, 12, y=y, form="ridge", domain=(-1, 1))
solve.variable_projection(module, x, y)
plot.module(module)
