"""A function of one variable

Below the curve every bump is a bar, one width to each side of its centre.
"""

import torch

from gmlayers import GMNM, plot, solve

torch.manual_seed(0)
x = torch.rand(300, 1, dtype=torch.float64)
y = torch.sin(1 / (x + 0.1))
module = GMNM.from_data(x, 1, 10, y=y, domain=(0, 1))
solve.variable_projection(module, x, y)
plot.module(module)
