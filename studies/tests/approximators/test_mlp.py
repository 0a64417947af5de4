import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.mlp import MLP, Batched, LevenbergMarquardt, Thinned
from gmlayers_studies.approximators.nets import Scaled, largest, product, stored
from gmlayers_studies.approximators.targets import FIT2D
from gmlayers_studies.approximators.tasks import Budget, FunctionTask

F64 = torch.float64


def rms(values):
    return values.square().mean().sqrt().item()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored(d, n):
    assert stored(MLP(d, n, 1, "relu")) == MLP.count(d, n, 1) == d * n + n + n + 1
    assert stored(MLP(d, n, 3, "tanh")) == MLP.count(d, n, 3) == d * n + n + 2 * (n * n + n) + n + 1


def test_batches_are_other_points_every_time_with_the_loss_of_all_on_average(equation_task):
    method, generator = Batched(batch=20), torch.Generator().manual_seed(0)
    net = method.net(equation_task, 100, generator)
    sampled = method.sampled(equation_task, net, generator)
    with torch.no_grad():
        found = torch.stack([sampled() for _ in range(400)])
        assert len(found.unique()) == 400
        assert abs(found.mean() - loss(equation_task)(net)) < 4 * found.std() / 20


def test_a_net_is_trained_by_batches(equation_task, ticking):
    *_, state = Batched(batch=50, adam=1.0).fit(equation_task, Budget(200, ticking(0.001), 0))
    x = torch.rand(300, 2, dtype=F64) * 2 - 1
    y = equation_task.known.exact(x).unsqueeze(1)
    assert rms(state.predict(x) - y) < rms(y)


def test_levenberg_and_marquardt_fit_a_tanh_net_to_what_one_is(ticking):
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    task = replace(FIT2D["product"], function=lambda x, y: teacher(torch.stack([x, y], 1))[:, 0].detach()).data(0, 200)
    *_, state = LevenbergMarquardt(depth=1).fit(task, Budget(60, ticking(1e-3), 0))
    assert rms(state.predict(task.x) - task.y) < 1e-6


@pytest.mark.parametrize("depth", [1, 2])
def test_an_equation_is_solved_by_levenberg_and_marquardt_at_all_points_or_some(depth, equation_task, ticking):
    x = torch.rand(300, 2, dtype=F64) * 2 - 1
    y = equation_task.known.exact(x).unsqueeze(1)
    for method in (LevenbergMarquardt(depth), Thinned(depth, points=1.0)):
        *_, state = method.fit(equation_task, Budget(100, ticking(0.002), 0))
        assert rms(state.predict(x) - y) < 0.02 * rms(y)


def test_points_are_thinned_to_so_many_for_each_parameter_and_the_condition_keeps_its_own(equation_task):
    net = torch.nn.Linear(2, 1, dtype=F64)
    seen = Thinned(points=7.0).seen(equation_task, net, torch.Generator().manual_seed(0))
    assert len(seen.interior) == 21
    assert len(seen.interior.unique(dim=0)) == 21
    assert (torch.cdist(seen.interior, equation_task.interior).min(1).values == 0).all()
    assert torch.equal(seen.boundary, equation_task.boundary)
    everything = Thinned(points=1e3).seen(equation_task, net, torch.Generator().manual_seed(0))
    assert torch.equal(everything.interior.unique(dim=0), equation_task.interior.unique(dim=0))


@given(st.integers(1, 500), st.integers(1, 7), st.integers(0, 5))
def test_the_largest_size_is_within_the_budget_and_the_next_is_not(parameters, slope, constant):
    if slope + constant > parameters:
        with pytest.raises(ValueError, match=f"{parameters} parameters are too few, the smallest net has"):
            largest(lambda n: slope * n + constant, parameters)
        return
    size = largest(lambda n: slope * n + constant, parameters)
    assert slope * size + constant <= parameters < slope * (size + 1) + constant


def test_a_product_has_all_points_and_its_last_coordinate_runs_fastest():
    first, second = torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0, 7.0])
    assert product([first, second]).tolist() == [[a, b] for a in (0, 1) for b in (5, 6, 7)]
    assert product([second]).tolist() == [[5], [6], [7]]


def test_a_scaled_net_sees_a_unit_box_and_standardised_values_and_answers_in_units_of_the_data():
    x = torch.tensor([[1.0, -10.0], [3.0, 10.0], [2.0, 0.0]], dtype=F64)
    y = torch.tensor([[1.0], [3.0], [5.0]], dtype=F64)
    scaled = Scaled(FunctionTask(x, y, (1.0, -10.0), (3.0, 10.0)))
    assert torch.equal(scaled.unit.x, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], dtype=F64))
    assert scaled.unit.y.mean().item() == pytest.approx(0, abs=1e-15)
    assert scaled.unit.y.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(scaled(x), 3 + math.sqrt(8 / 3) * scaled.unit.x)  # its net is the identity
    assert stored(scaled) == 6


def test_scaled_constants_stay_finite():
    x = torch.rand(4, 1, dtype=F64)
    scaled = Scaled(FunctionTask(x, torch.full((4, 1), 7.0, dtype=F64), (0.0,), (1.0,)))
    assert torch.equal(scaled.unit.y, torch.zeros(4, 1, dtype=F64))
