import random

import numpy as np
import pytest
import torch

from gmlayers.experiments.approximation import splines
from gmlayers.experiments.approximation.losses import loss

pytest.importorskip("kan")
F64 = torch.float64


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pykan would write here


def net(widths=(2, 2, 1), grid=3, seed=0):
    return splines.KAN(list(widths), grid, uniform=False, seed=seed)


def spline(x, knots, coefficients, k=3):
    """A sum of B-splines by the recursion of Cox and de Boor, one number at a time."""

    def basis(i, k):
        if k == 0:
            return float(knots[i] <= x < knots[i + 1])
        left = (x - knots[i]) / (knots[i + k] - knots[i]) * basis(i, k - 1)
        return left + (knots[i + k + 1] - x) / (knots[i + k + 1] - knots[i + 1]) * basis(i + 1, k - 1)

    return sum(float(c) * basis(i, k) for i, c in enumerate(coefficients))


def test_what_is_counted_is_enough_to_evaluate():
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
                total += float(layer.scale_sp[i, j]) * spline(value, layer.grid[i].tolist(), layer.coef[i, j])
            outputs.append(total)
        x = outputs
    assert model(torch.tensor([[0.3, -0.7]], dtype=F64)).item() == pytest.approx(x[0], rel=1e-10)
    assert model.stored == splines.count([2, 2, 1], 3) == used


@pytest.mark.parametrize("parameters", [100, 350, 1000])
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_the_last_grid_is_the_largest_within_the_budget(parameters, hidden):
    widths = [2, hidden, 1]
    grids = splines.schedule(widths, parameters)
    assert grids == sorted(set(grids))
    assert set(grids[:-1]) <= set(splines.GRIDS)
    assert splines.count(widths, grids[-1]) <= parameters < splines.count(widths, grids[-1] + 1)


def test_a_budget_without_room_for_one_interval_is_refused():
    with pytest.raises(ValueError, match=r"KAN: 50 parameters are too few for widths \[2, 5, 1\]: at least"):
        splines.schedule([2, 5, 1], 50)


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
    model = splines.KAN([2, 3, 1], 5, uniform=True, seed=0)
    x = torch.rand(200, 2, dtype=F64) * 2 - 1
    x = torch.cat([x[:, :1].sign() * (0.9 + 0.1 * x[:, :1]), x[:, 1:]], 1)  # with a gap that no point is in
    before = model(x).detach()
    model.follow(x)
    assert model.model.act_fun[0].grid[:, 3].tolist() == pytest.approx(x.amin(0).tolist())
    assert (model(x) - before).norm() < 0.1 * before.norm()


def test_training_refines_to_the_last_grid_and_lowers_the_loss(regression, ticking):
    model, clock = net(), ticking(0.02)
    value = loss(regression)
    start = value(model).item()
    for _ in model.train_on(value, regression.x, [3, 5], clock):
        assert model.grid == (3 if clock.passed() < 0.5 else 5) or clock.passed() < 0.6
    assert model.grid == 5
    assert value(model).item() < 0.01 * start


def test_without_pykan_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kan", None)
    with pytest.raises(ImportError, match=r"pip install 'gmlayers\[bench\]'"):
        splines.pykan()
