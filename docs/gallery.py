"""The gallery of the site: a cell for every picture, each a program of its own. ``make docs`` runs and shows them."""

# %% A driven drum
# Helmholtz's equation on a disc, with a source. Beside the solution stands what it leaves of the equation.

import torch

from gmlayers import plot, solve

u = solve.unknown(2)
drum = solve.Problem(
    solve.Ball((0, 0), 1),
    solve.laplacian(u) + 100 * u == (lambda x: torch.exp(-20 * (x - 0.3).square().sum(1))),
    {"boundary": u == 0},
)
plot.solution(solve.solve(drum, tolerance=1e-6))

# %% A re-entrant corner
# The L-shape, whose solution has an infinite gradient in the corner. Bumps are graded towards it.

from gmlayers import plot, solve

plot.solution(solve.solve(solve.problems.poisson_l().problem, tolerance=1e-4))

# %% A string in motion
# The wave equation in space and time is one problem. A film shows its answer.

from gmlayers import plot, solve

answer = solve.solve(solve.problems.wave().problem, tolerance=1e-6)
film = plot.animation(answer, frames=30)

# %% Heat in space and time
# Time is the last coordinate, and upwards in the picture.

from gmlayers import plot, solve

plot.solution(solve.solve(solve.problems.heat().problem, tolerance=1e-8))

# %% A slice of three dimensions
# Poisson's equation in a ball, along x and z at y = 0.3.

import torch

from gmlayers import plot, solve


def source(x):
    return -torch.exp(-8 * (x - 0.2).square().sum(1))


u = solve.unknown(3)
ball = solve.Problem(solve.Ball((0, 0, 0), 1), solve.laplacian(u) == source, {"boundary": u == 0})
plot.solution(solve.solve(ball, tolerance=1e-3, max_components=1000), along=(0, 2), at=(0, 0.3, 0))

# %% A function from points, and its bumps
# An ellipse is where a bump has fallen to exp(−½). Orange adds, blue takes away, faint is small.

import torch

from gmlayers import plot, solve

torch.manual_seed(0)
x = torch.rand(1000, 2, dtype=torch.float64)
y = torch.sin(6 * x[:, :1]) * x[:, 1:] + torch.exp(-500 * (x - 0.4).square().sum(1, keepdim=True))
fitted = solve.approximate(x, y, tolerance=1e-4)
plot.module(fitted.f)

# %% Ridges
# Bumps with one direction are ridges, each between two lines. Twelve of them make a function of two variables.

import torch

from gmlayers import GMNM, plot, solve

torch.manual_seed(0)
x = 2 * torch.rand(800, 2, dtype=torch.float64) - 1
y = x[:, :1] * x[:, 1:]
module = GMNM.from_data(x, 1, 12, y=y, form="ridge", domain=(-1, 1))
solve.variable_projection(module, x, y)
plot.module(module)

# %% A function of one variable
# Below the curve every bump is a bar, one width to each side of its centre.

import torch

from gmlayers import GMNM, plot, solve

torch.manual_seed(0)
x = torch.rand(300, 1, dtype=torch.float64)
y = torch.sin(1 / (x + 0.1))
module = GMNM.from_data(x, 1, 10, y=y, domain=(0, 1))
solve.variable_projection(module, x, y)
plot.module(module)

# %% How the error fell
# Sets of bumps grow until the estimated error is below the tolerance.

from gmlayers import plot, solve

plot.history(solve.solve(solve.problems.poisson_b().problem, tolerance=1e-10))

# %% A domain and its parts
# Shapes are put together by | and −. Conditions refer to the parts of the boundary by their names.

from gmlayers import plot, solve

plot.domain(solve.Box((0, 0), (2, 1)) - solve.Ball((0.6, 0.5), 0.25))

# %% The neurons of a layer
# Each Gaussian of a trained layer, seen along the two directions in which the mixture varies most.

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

# %% A mixture that flows to a density
# Variational inference by six Gaussians: the Wasserstein gradient flow of the divergence from a bent density.

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
