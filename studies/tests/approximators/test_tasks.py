import math

import pytest
import torch
from torch import nn

from gmlayers import solve
from gmlayers.solve.problems import Known, heat, poisson_b
from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.targets import FEYNMAN, FIT2D, POISSON
from gmlayers_studies.approximators.tasks import Clock, EquationTask, FunctionTask


class Now:
    seconds = 5.0

    def __call__(self):
        return self.seconds


def test_a_clock_counts_from_when_it_is_made_and_stops_while_it_is_stopped():
    now = Now()
    clock = Clock(2.0, now)
    now.seconds += 1
    assert clock.passed() == 1
    with clock.stopped():
        now.seconds += 10
        assert clock.passed() == 1
        with clock.stopped():
            now.seconds += 10
        assert clock.passed() == 1
    now.seconds += 0.5
    assert clock.passed() == 1.5


def fail(now):
    now.seconds += 1
    raise ValueError("judge")


def test_a_clock_goes_on_after_an_error():
    now = Now()
    clock = Clock(2.0, now)
    with pytest.raises(ValueError, match="judge"), clock.stopped():
        fail(now)
    now.seconds += 2
    assert clock.passed() == 2


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_clock_without_time_is_refused(seconds):
    with pytest.raises(ValueError, match=r"Clock: seconds must be positive, got"):
        Clock(seconds)


def test_a_collocation_knows_its_condition():
    known = poisson_b()
    points = torch.zeros(1, 2, dtype=torch.float64)
    assert EquationTask(known, points, points, 1.0).condition is known.problem.conditions["boundary"]


def two_conditions():
    u = solve.unknown(1)
    parts = {"low 0": u == 0, "boundary": u == 0}
    return Known(solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 1, parts), lambda x: x[:, 0])


@pytest.mark.parametrize("known", [heat, two_conditions])
def test_a_collocation_of_several_conditions_is_refused(known):
    with pytest.raises(ValueError, match="one condition, for 'boundary'"):
        EquationTask(known(), torch.zeros(1, 2), torch.zeros(1, 2), 1.0)


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


VALUES = {  # at (2, 1.5, 3, 2.5, 1.2, 3.5), as far as there are variables, by hand
    "I.6.2": math.exp(-((1.5 / 2) ** 2) / 2) / math.sqrt(2 * math.pi * 4),
    "I.6.2b": math.exp(-(((1.5 - 3) / 2) ** 2) / 2) / math.sqrt(2 * math.pi * 4),
    "I.8.14": math.hypot(0.5, 0.5),
    "I.10.7": 2 / math.sqrt(1 - 0.25),
    "I.11.19": 2 * 2.5 + 1.5 * 1.2 + 3 * 3.5,
    "I.12.1": 3.0,
    "I.12.2": 2 * 1.5 / (4 * math.pi * 3 * 2.5**2),
    "I.12.11": 2 * (1.5 + 3 * 2.5 * math.sin(1.2)),
    "I.13.12": 1.2 * 2 * 1.5 * (1 / 2.5 - 1 / 3),
    "I.32.17": 2 * 1.5 * 9 / 2 * 8 * math.pi * 6.25 / 3 * 1.2**4 / (1.2**2 - 3.5**2) ** 2,
    "exponential": math.exp(math.sin(math.pi * 2) + 1.5**2),
    "product": 3.0,
    "sines": math.sin(math.pi * 2) * math.sin(math.pi * 2.25),
    "square-root": math.sin(3 * math.pi * math.sqrt(2)) * math.cos(4.5 * math.pi),
}


@pytest.mark.parametrize("target", [*FIT2D.values(), *FEYNMAN.values()], ids=lambda t: t.name)
def test_a_target_is_its_formula(target):
    x = torch.tensor([2, 1.5, 3, 2.5, 1.2, 3.5], dtype=torch.float64)[: len(target.low)]
    assert target(x.unsqueeze(0)).item() == pytest.approx(VALUES[target.name], abs=1e-14)


def test_there_are_two_formulas_of_each_number_of_variables():
    assert sorted(len(target.low) for target in FEYNMAN.values()) == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("target", [*FIT2D.values(), *FEYNMAN.values()], ids=lambda t: t.name)
def test_data_are_in_the_box_finite_and_their_own_for_every_seed(target):
    data = target.data(3, 500)
    low, high = torch.tensor(target.low), torch.tensor(target.high)
    assert ((data.x >= low) & (data.x <= high)).all()
    assert (data.x.amin(0) - low < 0.05 * (high - low)).all()
    assert (high - data.x.amax(0) < 0.05 * (high - low)).all()
    assert data.y.shape == (500, 1)
    assert data.y.isfinite().all()
    assert data.y.dtype == torch.float64
    assert torch.equal(data.x, target.data(3, 500).x)
    others = target.data(3, 500, held_out=True), target.data(4, 500), target.data(2, 500, held_out=True)
    assert not any(torch.isin(data.x, other.x).any() for other in others)


@pytest.mark.parametrize(("name", "inside", "edge"), [("poisson-a", 51 * 51, 4 * 51), ("poisson-b", 10_000, 800)])
def test_points_of_the_equations(name, inside, edge):
    task = POISSON[name](1)
    assert isinstance(task, EquationTask)
    assert task.weight == 0.01
    assert task.interior.shape == (inside, 2)
    assert task.boundary.shape == (edge, 2)
    assert (task.interior.abs() <= 1).all()
    assert (task.boundary.abs().amax(1) == 1).all()
    for axis in range(2):
        for side in (-1, 1):
            assert int((task.boundary[:, axis] == side).sum()) >= edge // 4
    assert torch.equal(task.interior, POISSON[name](1).interior)
    assert torch.equal(task.interior, POISSON[name](2).interior) == (name == "poisson-a")
