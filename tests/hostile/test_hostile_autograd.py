"""Functions of users that differentiate, while the solvers that call them keep no gradients."""

import math

import pytest
import torch

from gmlayers import GMNM, flows, solve

F64 = torch.float64
SQUARE = solve.Box((0, 0), (1, 1))


def gradient(f, x):
    x = x.requires_grad_()
    (found,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return found


def bump(x):
    return torch.sin(math.pi * x).prod(1)


def laplacian(x):
    """That of the bump, by autograd, with a graph still on it."""
    x = x.requires_grad_()
    slope = gradient(bump, x)
    return sum(torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2))


def one(x):
    return gradient(lambda x: x.sum(1), x)[:, 0]


class Disc(solve.Domain):
    """A domain of a user's own, whose normals are by autograd."""

    low, high = torch.full((2,), -1.0, dtype=F64), torch.full((2,), 1.0, dtype=F64)

    def distance(self, x):
        slope = gradient(lambda x: x.square().sum(1), x.detach()).norm(dim=1)
        return (x.square().sum(1) - 1) / slope.clamp(min=1e-9)

    def boundary(self, n, part="boundary", *, held_out=False):
        self._check_part(n, part, held_out)
        angle = 2 * math.pi * (torch.arange(n, dtype=F64) + held_out / 2) / n
        x = torch.stack([angle.cos(), angle.sin()], 1)
        return solve.Points(x, gradient(lambda x: x.square().sum(1) / 2, x))


def module(domain):
    torch.manual_seed(0)
    return GMNM(domain.dim, 1, 8, domain=(domain.low, domain.high), dtype=F64)


def written(u):
    equation = one * solve.laplacian(u) + one * u == (lambda x: laplacian(x) + bump(x))
    return solve.Problem(SQUARE, equation, {"boundary": solve.normal_derivative(u) * one + u == normal_slope})


def normal_slope(x):
    """On the edge the bump is 0, and its slope points inwards."""
    return -gradient(bump, x).norm(dim=1)


def test_coefficients_sources_and_boundary_values_may_differentiate():
    u = solve.unknown(2)
    found = solve.solve(written(u), tolerance=1e-7)
    assert found.converged
    x = SQUARE.interior(200)
    torch.testing.assert_close(found.u(x)[:, 0], bump(x).detach(), rtol=0, atol=1e-6)
    assert not any(p.requires_grad or p.grad is not None for p in found.u.parameters())


def test_so_may_those_of_collocate():
    net = module(SQUARE)
    found = solve.collocate(net, written(solve.unknown(2)), points=50, iterations=2)
    assert found.history[-1].residual < found.history[0].residual


DOMAINS = {
    "disc": Disc(),
    "ring": Disc() - solve.Ball((0, 0), 0.3),
    "two": Disc() | solve.Box((0, 0), (1, 1)),
    "time": solve.SpaceTime(Disc(), 1.0),
    "marked": Disc().marked({"middle": torch.zeros(1, 2)}),
    "implicit": solve.Implicit(
        lambda x: x.square().sum(1) - gradient(lambda x: x.sum(1), x.detach().clone())[:, 0], (-1, -1), (1, 1)
    ),
}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_so_may_domains(domain):
    u = solve.unknown(2, time=isinstance(domain, solve.SpaceTime))
    problem = solve.Problem(domain, solve.laplacian(u) - u == 1, {"boundary": u == 0})
    found = solve.solve(problem, max_components=100)
    assert found.u(domain.low + (domain.high - domain.low) * 0.45 + torch.zeros(1, domain.dim)).isfinite().all()
    solve.collocate(module(domain), problem, points=30, iterations=1)


@pytest.mark.parametrize("name", ["solve", "approximate", "variable_projection", "collocate"])
def test_so_may_callbacks(name):
    seen = []

    def callback(step):
        seen.append(gradient(bump, torch.rand(3, 2)))

    problem = solve.problems.poisson_a().problem
    x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    {
        "solve": lambda: solve.solve(problem, 1e-1, callback=callback),
        "approximate": lambda: solve.approximate(x, bump(x)[:, None], 1e-1, callback=callback),
        "variable_projection": lambda: solve.variable_projection(
            module(SQUARE), x, bump(x)[:, None], iterations=1, callback=callback
        ),
        "collocate": lambda: solve.collocate(
            module(problem.domain), problem, points=30, iterations=1, callback=callback
        ),
    }[name]()
    assert seen


@pytest.mark.parametrize("outside", [torch.no_grad, torch.enable_grad])
def test_so_may_the_potentials_of_flows(outside):
    """The energy is the mean square of the slope of a parabola."""

    def potential(x):
        (slope,) = torch.autograd.grad(x.square().sum() / 2, x, create_graph=True)
        return slope.square().sum(-1) / 2

    def functional(mixture):
        x = mixture.mean if mixture.mean.requires_grad else mixture.mean.clone().requires_grad_()
        return potential(x).mean()

    with outside():
        moments = list(flows.flow(functional, flows.Roots.particles(torch.ones(4, 2)), step=0.1, steps=3))
    assert [m.energy for m in moments] == sorted((m.energy for m in moments), reverse=True)
    assert not moments[-1].mixture.mean.requires_grad
