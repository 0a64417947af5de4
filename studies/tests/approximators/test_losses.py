import math

import pytest
import torch
from torch import nn

from gmlayers import solve
from gmlayers.solve.problems import Known
from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.tasks import EquationTask, FunctionTask

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
    task = FunctionTask(x, x[:, :1], (-1.0, -1.0), (1.0, 1.0))
    assert loss(task)(nn.Identity()).item() == pytest.approx(((x - x[:, :1]) ** 2).mean().item())


def test_the_physics_loss_is_that_of_the_residual_by_hand():
    u = solve.unknown(2)
    problem = solve.Problem(
        solve.Box((-1, -1), (1, 1)), solve.laplacian(u) == (lambda x: x[:, 0]), {"boundary": u == (lambda x: x[:, 1])}
    )
    inside, edge, net = points(), points(5), Function()
    task = EquationTask(Known(problem, lambda x: x[:, 0]), inside, edge, 0.3)
    residual, misfit = net.by_hand(inside) - inside[:, :1], net(edge) - edge[:, 1:]
    expected = 0.3 * residual.square().mean() + misfit.square().mean()
    found = loss(task)(net)
    torch.testing.assert_close(found, expected)
    (slope,), (by_hand,) = (torch.autograd.grad(value, net.a) for value in (found, expected))
    torch.testing.assert_close(slope, by_hand)


def test_the_loss_of_the_exact_solution_is_zero(equation_task):
    class Exact(nn.Module):
        def forward(self, x):
            return torch.sin(math.pi * x[:, :1]) * torch.sin(
                math.pi * x[:, 1:]
            )  # torch differentiates prod at most once

    assert loss(equation_task)(Exact()).item() < 1e-24


def test_what_is_no_task_is_refused():
    with pytest.raises(TypeError, match="misfits: expected a FunctionTask or an EquationTask, got str"):
        loss("task")
