import math

import pytest
import torch
from torch import nn

from gmlayers import GMNM, solve
from gmlayers.solve import Points
from gmlayers.solve.problems import Known
from gmlayers_studies.approximators.losses import loss, operate
from gmlayers_studies.approximators.nets import MLP, PIG, Splats
from gmlayers_studies.approximators.tasks import Collocation, Regression

F64 = torch.float64


class Function(nn.Module):
    """sin(ax) y² with a parameter a, and its Laplacian by hand."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0, dtype=F64))

    def forward(self, x):
        return (torch.sin(self.a * x[:, 0]) * x[:, 1] ** 2).unsqueeze(1)

    def by_hand(self, x):
        return ((2 - self.a**2 * x[:, 1] ** 2) * torch.sin(self.a * x[:, 0])).unsqueeze(1)


def points(n=7):
    return torch.rand(n, 2, dtype=F64) * 2 - 1


def test_the_loss_of_a_regression_is_the_mean_square():
    x = points()
    task = Regression(x, x[:, :1], (-1.0, -1.0), (1.0, 1.0))
    assert loss(task)(nn.Identity()).item() == pytest.approx(((x - x[:, :1]) ** 2).mean().item())


def test_the_physics_loss_is_that_of_the_residual_by_hand():
    u = solve.unknown(2)
    problem = solve.Problem(
        solve.Box((-1, -1), (1, 1)), solve.laplacian(u) == (lambda x: x[:, 0]), {"boundary": u == (lambda x: x[:, 1])}
    )
    inside, edge, net = points(), points(5), Function()
    task = Collocation(Known(problem, lambda x: x[:, 0]), inside, edge, 0.3)
    residual, misfit = net.by_hand(inside) - inside[:, :1], net(edge) - edge[:, 1:]
    expected = 0.3 * residual.square().mean() + misfit.square().mean()
    found = loss(task)(net)
    torch.testing.assert_close(found, expected)
    (slope,), (by_hand,) = (torch.autograd.grad(value, net.a) for value in (found, expected))
    torch.testing.assert_close(slope, by_hand)


def test_the_loss_of_the_exact_solution_is_zero(collocation):
    class Exact(nn.Module):
        def forward(self, x):
            return torch.sin(math.pi * x[:, :1]) * torch.sin(
                math.pi * x[:, 1:]
            )  # torch differentiates prod at most once

    assert loss(collocation)(Exact()).item() < 1e-24


NETS = {
    "mahalanobis": lambda: GMNM(2, 1, 5, form="mahalanobis", domain=(-1, 1), dtype=F64),
    "diagonal": lambda: GMNM(2, 1, 5, form="diagonal", domain=(-1, 1), dtype=F64),
    "ridge": lambda: GMNM(2, 1, 5, form="ridge", domain=(-1, 1), dtype=F64),
    "splats": lambda: Splats(points(5)),
    "PIG": lambda: PIG(points(5), 3, 4),
    "tanh": lambda: MLP(2, 5, 3, "tanh"),
    "ReLU": lambda: MLP(2, 5, 2, "relu"),
}


@pytest.mark.parametrize("name", NETS)
def test_laplacians_of_nets_and_their_slopes_are_what_autograd_finds(name):
    net = NETS[name]()
    for p in net.parameters():
        nn.init.normal_(p)
    x = Points(points())
    laplacian = solve.laplacian(solve.unknown(2))
    found, nested = operate(laplacian, net, x), operate(laplacian, nn.Sequential(net), x)
    torch.testing.assert_close(found, nested, rtol=1e-10, atol=1e-12)
    if name != "ReLU":  # there both are 0, whatever the parameters
        weights = list(net.parameters())
        by_hand, by_autograd = (
            torch.autograd.grad(y.square().sum(), weights, materialize_grads=True) for y in (found, nested)
        )
        torch.testing.assert_close(by_hand, by_autograd, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("net", [GMNM(2, 1, 5, domain=(-1, 1), dtype=F64), MLP(2, 4, 2, "tanh")], ids=["GMNM", "MLP"])
def test_other_expressions_are_what_autograd_finds(net):
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    expression = 2 * solve.laplacian(u) + (lambda x: x[:, 0]) * solve.grad(u_y)[0] - u_x + 3 * u
    x = points()
    found = operate(expression, net, Points(x))[:, 0]
    for row, value in zip(x, found):
        f = lambda z: net(z.unsqueeze(0)).sum()  # noqa: E731
        g, h = torch.autograd.functional.jacobian(f, row), torch.autograd.functional.hessian(f, row)
        expected = 2 * h.trace() + row[0] * h[0, 1] - g[0] + 3 * f(row)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


def test_what_is_no_task_is_refused():
    with pytest.raises(TypeError, match="misfits: expected a Regression or a Collocation, got str"):
        loss("task")
