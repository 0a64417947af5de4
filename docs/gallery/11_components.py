"""The neurons of a layer

Each Gaussian of a trained layer, seen along the two directions in which the mixture varies most.
"""

import torch

from gmlayers import GMLayer, LowRank, plot

torch.manual_seed(0)
layer = GMLayer(8, 1, 6, covariance=LowRank(rank=2))
optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
for _ in range(300):
    x = torch.randn(256, 8)
    loss = (layer(x)[:, 0] - (x[:, 0] * x[:, 1]).sin()).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
plot.components(layer)
