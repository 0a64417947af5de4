import math
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from gmlayers import solve
from gmlayers.solve import Points
from gmlayers_studies.approximators import splines
from gmlayers_studies.approximators.equations import operate
from gmlayers_studies.approximators.kan import GRIDS, KAN, count, narrowed, resolved, schedule
from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.tasks import Clock

pytest.importorskip("kan")
F64 = torch.float64


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pykan would write here


def net(widths=(2, 2, 1), grid=3, seed=0):
    return KAN(list(widths), grid, uniform=False, seed=seed)


def test_what_is_counted_is_enough_to_evaluate(cox_de_boor):
    model = net().requires_grad_(False)
    used, x = 0, [0.3, -0.7]
    for layer in model.model.act_fun:
        used += layer.grid.numel() + layer.coef.numel() + layer.scale_base.numel() + layer.scale_sp.numel()
        outputs = []
        for j in range(layer.out_dim):
            total = 0.0
            for i, value in enumerate(x):
                silu = value / (1 + np.exp(-value))
                total += float(layer.scale_base[i, j]) * silu
                total += float(layer.scale_sp[i, j]) * cox_de_boor(value, layer.grid[i].tolist(), layer.coef[i, j])
            outputs.append(total)
        x = outputs
    assert model(torch.tensor([[0.3, -0.7]], dtype=F64)).item() == pytest.approx(x[0], rel=1e-10)
    assert model.stored == count([2, 2, 1], 3, uniform=False) == used


def test_two_numbers_of_a_node_say_where_all_its_uniform_knots_are():
    model = KAN([2, 3, 1], 4, uniform=True, seed=0)
    model.follow(points(50, 2))
    model.refine(9, points(50, 2))
    model.follow(points(50, 2))
    used = 0
    for layer in model.model.act_fun:
        low, high = layer.grid[:, :1], layer.grid[:, -1:]
        steps = torch.linspace(0, 1, layer.grid.shape[1], dtype=F64)
        torch.testing.assert_close(layer.grid.detach(), (low + (high - low) * steps).detach(), rtol=0, atol=1e-13)
        used += low.numel() + high.numel() + layer.coef.numel() + layer.scale_base.numel() + layer.scale_sp.numel()
    assert model.stored == count([2, 3, 1], 9, uniform=True) == used


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 8), max_size=3),
    st.integers(20, 2000),
    st.booleans(),
    st.integers(1, 60),
)
def test_the_last_grid_is_the_largest_that_budget_and_data_allow(inputs, hidden, parameters, uniform, finest):
    widths = narrowed([inputs, *hidden, 1], parameters, uniform=uniform)
    if count(widths, 1, uniform=uniform) > parameters:
        with pytest.raises(
            ValueError, match=rf"KAN: {parameters} parameters are too few for widths \[{inputs}, .*; allow at"
        ):
            schedule(widths, parameters, uniform=uniform, finest=finest)
        return
    grids = schedule(widths, parameters, uniform=uniform, finest=finest)
    assert grids == sorted(set(grids))
    assert set(grids[:-1]) <= set(GRIDS)
    last, finer = (count(widths, grid, uniform=uniform) for grid in (grids[-1], grids[-1] + 1))
    assert last <= parameters
    assert grids[-1] == finest or (grids[-1] < finest and parameters < finer)


@pytest.mark.parametrize(("points", "finest"), [(51, 25), (2, 1), (1, 1)])
def test_intervals_have_two_of_the_points_of_a_lattice(points, finest):
    line, other = torch.linspace(-1, 1, points), torch.linspace(-1, 1, 200)
    assert resolved(torch.cartesian_prod(line, other)) == finest


@given(st.integers(1, 9), st.lists(st.integers(1, 8), min_size=1, max_size=3), st.integers(20, 2000))
@example(4, [1, 3, 2], 178)
def test_no_more_nodes_are_taken_than_have_to_be(inputs, hidden, parameters):
    _, *found, _ = narrowed([inputs, *hidden, 1], parameters, uniform=False)
    assert all(1 <= narrow <= wide for narrow, wide in zip(found, hidden))
    if found != hidden:
        back = min((i for i in range(len(hidden)) if found[i] < hidden[i]), key=lambda i: (found[i], i))
        found[back] += 1  # the node that was taken last: the widest were taken first, and of several the last one
        assert count([inputs, *found, 1], 3, uniform=False) > parameters


def points(n, d, reach=1.0):
    return (torch.rand(n, d, dtype=F64) * 2 - 1) * reach


def disturbed(widths, *, uniform):
    """A net with masks and affine maps that do something, on grids that have followed points and were refined."""
    model = KAN(widths, 4, uniform=uniform, seed=0)
    model.follow(points(100, widths[0]))
    model.refine(7, points(100, widths[0]))
    with torch.no_grad():
        for name, p in model.model.named_parameters():
            if "node" in name:
                p.add_(0.3 * torch.randn_like(p))
        for layer in model.model.act_fun:
            layer.mask.copy_((torch.rand_like(layer.mask) < 0.8) * 1.5)
            layer.mask[0, 0] = 1.5  # one edge at least does something
            layer.coef.add_(0.1 * torch.randn_like(layer.coef))
    return model


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("widths", [[2, 1], [2, 3, 1], [3, 2, 4, 1]], ids=str)
def test_values_laplacians_and_their_slopes_are_those_of_pykan_by_autograd(widths, uniform):
    model = disturbed(widths, uniform=uniform)
    x = points(200, widths[0], 1.5)  # some beyond the grids, and beyond the knots that extend them
    torch.testing.assert_close(model(x), model.model(x), rtol=1e-12, atol=1e-12)
    laplacian = solve.laplacian(solve.unknown(widths[0]))
    found, nested = (operate(laplacian, net, Points(x)) for net in (model, nn.Sequential(model.model)))
    torch.testing.assert_close(found, nested, rtol=1e-10, atol=1e-10)
    trained = [p for p in model.parameters() if p.requires_grad]
    by_hand, by_autograd = (
        torch.autograd.grad(y.square().mean(), trained, materialize_grads=True) for y in (found, nested)
    )
    torch.testing.assert_close(by_hand, by_autograd, rtol=1e-10, atol=1e-10)
    assert sum(bool(p.any()) for p in by_hand) == 3 * (len(widths) - 1)


def test_values_have_derivatives_in_the_points():
    model = disturbed([2, 3, 1], uniform=False)
    x = points(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(model, x)
    assert torch.autograd.gradgradcheck(model, x)


def test_no_points_and_points_at_one_place_and_far_away():
    model = net(grid=5)
    assert model(points(0, 2)).shape == model.laplacian(points(0, 2)).shape == (0, 1)
    far = torch.tensor([[1e6, -1e6]], dtype=F64)
    torch.testing.assert_close(model(far), model.model(far))
    assert model.laplacian(far).item() == 0
    model.follow(torch.full((50, 2), 0.3, dtype=F64))  # all knots of a node are one
    x = points(20, 2)
    torch.testing.assert_close(model(x), model.model(x))
    assert model.laplacian(x).isfinite().all()


def test_no_grid_is_trained_on_for_more_than_a_loss_beyond_its_time(function_task):
    now, model = 0.0, net()

    def slow(net):
        nonlocal now
        now += 0.1
        return loss(function_task)(net)

    times = {3: 0.0, 5: 0.0}
    for _ in model.train_on(slow, function_task.x, list(times), Clock(3.0, lambda: now)):
        times[model.grid] = now
    assert times == {3: pytest.approx(1.5, abs=0.11), 5: pytest.approx(3.0, abs=0.11)}


def test_a_net_leaves_no_trace(tmp_path, capsys):
    x = torch.rand(50, 2, dtype=F64)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    model = net()
    model.refine(5, x)
    model.refine(7, x)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert torch.get_default_dtype() == torch.float32
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


def test_a_finer_grid_is_nearly_the_same_function():
    model = net(grid=5)
    x = torch.rand(200, 2, dtype=F64) * 2 - 1
    before = model(x).detach()
    model(torch.zeros(3, 2, dtype=F64))  # what is judged in between does not matter
    model.refine(20, x)
    assert model.grid == 20
    assert all(p.dtype == F64 for p in model.parameters())
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-10)


def test_a_grid_that_follows_the_points_is_nearly_the_same_function():
    model = KAN([2, 3, 1], 5, uniform=True, seed=0)
    x = torch.rand(200, 2, dtype=F64) * 2 - 1
    x = torch.cat([x[:, :1].sign() * (0.9 + 0.1 * x[:, :1]), x[:, 1:]], 1)  # with a gap that no point is in
    before = model(x).detach()
    model.follow(x)
    assert model.model.act_fun[0].grid[:, 3].tolist() == pytest.approx(x.amin(0).tolist())
    assert (model(x) - before).norm() < 0.1 * before.norm()


def test_training_refines_to_the_last_grid_and_lowers_the_loss(function_task, ticking):
    model, clock = net(), ticking(0.002)
    value = loss(function_task)
    start = value(model).item()
    for _ in model.train_on(value, function_task.x, [3, 5], clock):
        assert model.grid == (3 if clock.passed() < 0.5 else 5) or clock.passed() < 0.6
    assert model.grid == 5
    assert value(model).item() < 0.01 * start


pytest.importorskip("kan")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pieces_are_derivatives_of_splines_from_the_right(k, cox_de_boor):
    knots = torch.rand(9, dtype=F64).sort().values
    pieces = splines.pieces(knots.unsqueeze(0), k)[0]
    assert pieces.shape == (k + 1, 10, 8 - k)
    assert not pieces[:, [0, -1]].any()
    for m, identity in enumerate(torch.eye(8 - k)):
        for j in range(8):
            width = float(knots[j + 1] - knots[j])
            for share in (0.0, 0.3, 0.9):
                taylor = sum(
                    float(c) * (share * width) ** q / math.factorial(q) for q, c in enumerate(pieces[:, j + 1, m])
                )
                expected = cox_de_boor(float(knots[j]) + share * width, knots.tolist(), identity, k)
                assert taylor == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_without_pykan_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kan", None)
    with pytest.raises(ImportError, match=r"pip install '\./studies\[peers\]'"):
        splines.pykan()
