"""A mixture that flows to a density

Variational inference by six Gaussians: the Wasserstein gradient flow of the divergence from a bent density.
"""

import torch

from gmlayers import flows, plot


def potential(x):
    across = x[..., 1] - 0.5 * x[..., 0].square() + 1
    return 0.5 * ((x[..., 0] / 2).square() + (across / 0.5).square())


mean = torch.stack([torch.linspace(-2, 2, 6), torch.zeros(6)], 1).double()
start = flows.Roots(mean, 0.7 * torch.eye(2, dtype=torch.float64).expand(6, 2, 2))
divergence = flows.Divergence(potential, flows.hermite_nodes(2, 8))
*_, last = flows.flow(divergence, start, step=0.02, steps=400, reaction=0.5)
plot.components(last.mixture)
