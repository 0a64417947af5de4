from dataclasses import replace

import pytest
import torch

from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.mlp import MLP, Batched, LevenbergMarquardt, Thinned
from gmlayers_studies.approximators.nets import stored
from gmlayers_studies.approximators.targets import FIT2D
from gmlayers_studies.approximators.tasks import Budget

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
