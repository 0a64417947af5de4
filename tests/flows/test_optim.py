"""Optimizers against the flows that they follow."""

import copy
import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gmlayers import GMLayer, LowRank, SharedFactor, convert
from gmlayers.flows import Roots, Supervised, euler, optim
from gmlayers.flows.optim import WassersteinAdam, WassersteinSGD, component_groups, layer_groups

IN, OUT = 4, 2
FAMILIES = ["low_rank", LowRank(2, "diagonal", coupling=True), SharedFactor(3), "diagonal", "full", "regression"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def data(n=20):
    return torch.randn(n, IN, dtype=torch.float64), torch.randn(n, OUT, dtype=torch.float64)


def layer(covariance, K=3, **options):
    made = GMLayer(IN, OUT, K, covariance=covariance, scaling="mean", dtype=torch.float64, **options)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made


def train(model, optimizer, x, y, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def law(made):
    """The joint law of (ω, β), in the order of flows.Supervised."""
    mean, root, output_mean, output_root = (t.detach() for t in made.root())
    return Roots(torch.cat([output_mean, mean], 1), torch.cat([output_root, root], 1), made_weight(made))


def made_weight(made):
    return None if made.weight_logits is None else made.weight_logits.detach().softmax(0)


@pytest.mark.parametrize("learn_weights", [False, True])
def test_a_step_of_a_full_layer_is_a_step_of_the_flow(learn_weights):
    made, (x, y) = layer("full", bias=False, learn_weights=learn_weights), data()
    expected = euler(Supervised(x, y, F.mse_loss), law(made), 0.05, float(learn_weights))
    train(made, WassersteinSGD(layer_groups(made, 0.05)), x, y)
    found = law(made)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.weight, expected.weight)
    cov, wanted = found.cov, expected.cov
    torch.testing.assert_close(cov[:, OUT:], wanted[:, OUT:], rtol=1e-8, atol=1e-10)
    assert made.scale_tril.triu(1).abs().max() < 1e-15


def test_plain_descent_of_a_triangular_root_is_not_the_flow():
    """What the optimizer is for: the triangle is held, and the law goes elsewhere."""
    made, (x, y) = layer("full", bias=False), data()
    expected = euler(Supervised(x, y, F.mse_loss), law(made), 0.05)
    train(made, torch.optim.SGD(component_groups(made, 0.05)), x, y)
    assert (law(made).cov - expected.cov)[:, OUT:].abs().max() > 1e-4


def test_a_step_of_the_papers_layer_is_one_in_joint_coordinates():
    paper, (x, y) = layer("regression"), data()
    joint = convert.to_diagonal(paper)
    for made in (paper, joint):
        train(made, WassersteinSGD(layer_groups(made, 0.02)), x, y, 5)
    for name, value in convert.to_diagonal(paper).named_parameters():
        torch.testing.assert_close(value, joint.get_parameter(name), rtol=1e-8, atol=1e-10)


def test_where_a_std_is_zero_the_slope_is_too():
    paper, (x, y) = layer("regression"), data()
    with torch.no_grad():
        paper.std[0, 1] = 0
    train(paper, WassersteinSGD(layer_groups(paper, 0.02)), x, y, 2)
    assert all(p.isfinite().all() for p in paper.parameters())


@pytest.mark.parametrize("family", ["low_rank", "diagonal", LowRank(2, "diagonal", coupling=True)], ids=str)
def test_families_in_joint_coordinates_take_plain_steps_at_rates_times_k(family):
    one, (x, y) = layer(family), data()
    other = copy.deepcopy(one)
    train(one, WassersteinSGD(layer_groups(one, 0.02)), x, y, 4)
    train(other, torch.optim.SGD(component_groups(other, 0.02)), x, y, 4)
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("learn_weights", [False, True])
@pytest.mark.parametrize("make", [WassersteinSGD, WassersteinAdam])
def test_a_component_split_in_two_changes_nothing(family, learn_weights, make):
    """Equal Wasserstein time: the law is what moves, whatever K it is written with."""
    one, (x, y) = layer(family, learn_weights=learn_weights), data()
    two = GMLayer(IN, OUT, 6, covariance=family, scaling="mean", dtype=torch.float64, learn_weights=learn_weights)
    groups = layer_groups(one, 0.02)
    with torch.no_grad():
        for name, p in two.named_parameters():
            own = one.get_parameter(name)
            p.copy_(own if name in groups[0]["shared"] else own.repeat(2, *[1] * (own.ndim - 1)))
    torch.testing.assert_close(one(x), two(x))
    train(one, make(groups), x, y, 5)
    train(two, make(layer_groups(two, 0.02)), x, y, 5)
    torch.testing.assert_close(one(x), two(x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("family", ["low_rank", "full", SharedFactor(3)], ids=str)
@pytest.mark.parametrize("make", [WassersteinAdam, functools.partial(WassersteinSGD, momentum=0.9)])
def test_a_rotation_of_the_inputs_rotates_the_path(family, make):
    one, (x, y) = layer(family), data()
    turn = torch.linalg.qr(torch.randn(IN, IN, dtype=torch.float64)).Q
    other = copy.deepcopy(one)
    with torch.no_grad():
        other.mean.copy_(one.mean @ turn)
        if family == "full":
            Q, R = torch.linalg.qr((turn.T @ one.scale_tril.tril()).mT)
            sign = R.diagonal(dim1=1, dim2=2).sign() * one.scale_tril.diagonal(dim1=1, dim2=2).sign()
            other.scale_tril.copy_(R.mT * sign[:, None])
            other.coupling.copy_(one.coupling @ Q * sign[:, None])
        else:
            other.factor.copy_(one.factor @ turn)
    torch.testing.assert_close(other(x @ turn), one(x))
    for model, inputs in ((one, x), (other, x @ turn)):
        train(model, make(layer_groups(model, 0.01)), inputs, y, 5)
    torch.testing.assert_close(other(x @ turn), one(x), rtol=1e-6, atol=1e-8)


def test_adam_does_not_care_for_rotations_of_the_inputs():
    """So that the test above could fail."""
    one, (x, y) = layer("low_rank"), data()
    turn = torch.linalg.qr(torch.randn(IN, IN, dtype=torch.float64)).Q
    other = copy.deepcopy(one)
    with torch.no_grad():
        other.mean.copy_(one.mean @ turn)
        other.factor.copy_(one.factor @ turn)
    train(one, torch.optim.Adam(one.parameters(), 0.01), x, y, 5)
    train(other, torch.optim.Adam(other.parameters(), 0.01), x @ turn, y, 5)
    assert (other(x @ turn) - one(x)).abs().max() > 1e-3


def test_one_layer_with_one_parameter_of_one_number_is_adam():
    one = GMLayer(1, 1, 1, covariance=LowRank(0), bias=False, dtype=torch.float64)
    other, x, y = copy.deepcopy(one), torch.rand(8, 1).double(), torch.rand(8, 1).double()
    train(one, WassersteinAdam(layer_groups(one, 0.01)), x, y, 10)
    train(other, torch.optim.Adam(other.parameters(), 0.01), x, y, 10)
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("make", [WassersteinSGD, WassersteinAdam])
def test_a_net_learns_and_goes_on_from_its_state(family, make):
    x, y = data(40)
    model = nn.Sequential(layer(family), nn.Linear(OUT, OUT).double())
    optimizer = make(layer_groups(model, 0.005))
    before = float(F.mse_loss(model(x), y).detach())
    train(model, optimizer, x, y, 60)
    assert float(F.mse_loss(model(x), y).detach()) < before
    twin = copy.deepcopy(model)
    again = make(layer_groups(twin, 0.005))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, x, y, 3)
    train(twin, again, x, y, 3)
    for a, b in zip(model.parameters(), twin.parameters()):
        assert torch.equal(a, b)


def test_momentum_adds_up():
    made, (x, y) = layer("diagonal"), data()
    twin = copy.deepcopy(made)
    train(made, WassersteinSGD(layer_groups(made, 0.01), momentum=0.9), x, y, 5)
    train(twin, torch.optim.SGD(component_groups(twin, 0.01), momentum=0.9), x, y, 5)
    for a, b in zip(made.parameters(), twin.parameters()):
        torch.testing.assert_close(a, b)


def test_groups_know_their_layers():
    model = nn.Sequential(layer("diagonal", K=5), nn.Linear(OUT, IN), layer(SharedFactor(3), K=7))
    groups = component_groups(model, 0.1)
    assert [round(group["lr"], 12) for group in groups] == [0.5, 0.7, 0.1, 0.1]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert groups[2]["params"] == [model[2].factor]


def test_frozen_parameters_rest_and_what_is_left_moves_as_it_is():
    made, (x, y) = layer("regression"), data()
    made.mean.requires_grad_(False)
    made.std.requires_grad_(False)
    before = made.mean.clone()
    (group,) = layer_groups(made)
    assert group["coordinates"] == "euclidean"
    train(made, WassersteinSGD([group]), x, y)
    assert torch.equal(made.mean, before)


@pytest.mark.parametrize("make", [WassersteinSGD, WassersteinAdam])
def test_a_singular_root_stays_finite(make):
    paper, (x, y) = layer("regression"), data()
    with torch.no_grad():
        paper.std[:, 1] = 0
    made = convert.to_full(paper)
    train(made, make(layer_groups(made, 0.02)), x, y, 3)
    assert all(p.isfinite().all() for p in made.parameters())


def test_gradients_are_divided_by_frozen_weights_and_those_of_the_dead_are_nothing():
    made, (x, y) = layer("diagonal", learn_weights=True), data()
    with torch.no_grad():
        made.weight_logits.copy_(torch.tensor([0.0, 2.0, -2000.0]))
    made.weight_logits.requires_grad_(False)
    optimizer = WassersteinSGD(layer_groups(made, 0.1))
    F.mse_loss(made(x), y).backward()
    before, gradient, weight = made.mean.detach().clone(), made.mean.grad, made.weight_logits.softmax(0)
    optimizer.step()
    torch.testing.assert_close(made.mean[:2], before[:2] - 0.1 * gradient[:2] / weight[:2, None])
    assert torch.equal(made.mean[2], before[2])
    assert made.weight_logits.tolist() == [0.0, 2.0, -2000.0]
    assert all(id(p) != id(made.weight_logits) for g in component_groups(made, 0.1) for p in g["params"])


def test_layers_without_a_gradient_rest_and_closures_are_called():
    model = nn.ModuleList([layer("full"), layer("diagonal")])
    optimizer, x = WassersteinSGD(layer_groups(model)), data()[0]
    before = copy.deepcopy(model[1].state_dict())

    def closure():
        optimizer.zero_grad()
        loss = model[0](x).square().mean()
        loss.backward()
        return float(loss.detach())

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first
    assert all(torch.equal(value, before[name]) for name, value in model[1].state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: component_groups(m, -1.0), "lr must be finite and not negative, got -1.0"),
        (lambda m: layer_groups(nn.ReLU()), "no parameter that requires a gradient"),
        (lambda m: WassersteinSGD(layer_groups(m), momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda m: WassersteinAdam(layer_groups(m), betas=(0.9, 1.0)), "betas must be two numbers"),
        (lambda m: WassersteinAdam(layer_groups(m), eps=0.0), "eps must be positive"),
        (lambda m: WassersteinSGD(m.parameters()), r"expected the groups of layer_groups\(model\), got a tensor"),
        (lambda m: WassersteinSGD(component_groups(m, 0.1)), r"expected the groups of layer_groups\(model\), got dict"),
        (lambda m: WassersteinAdam([{"params": [m.mean]}]), r"expected the groups of layer_groups\(model\), got dict"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make(layer("diagonal"))


def test_layers_that_have_no_flow():
    with pytest.raises(ValueError, match="must be in float32 or float64, got torch.bfloat16"):
        layer_groups(layer("full").bfloat16())
    made = layer("diagonal")
    nn.utils.parametrize.register_parametrization(made, "std", nn.Softplus())
    with pytest.raises(ValueError, match="layer_groups: remove the parametrizations of the module first"):
        layer_groups(made)


def test_rates_can_be_scheduled():
    made, (x, y) = layer("diagonal"), data()
    optimizer = WassersteinAdam(layer_groups(made, 0.01))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    for _ in range(4):
        train(made, optimizer, x, y)
        schedule.step()
    assert math.isclose(optimizer.param_groups[0]["lr"], 0, abs_tol=1e-12)


def test_old_names_are_understood_with_a_warning():
    made = layer("diagonal", K=5)
    with pytest.warns(FutureWarning, match=r"optim\.parameter_groups is deprecated; its name is now component_groups"):
        groups = optim.parameter_groups(made)
    assert groups == component_groups(made, 0.1)
    with pytest.warns(FutureWarning, match=r"optim\.Group is deprecated; its name is now LayerGroup"):
        assert optim.Group is optim.LayerGroup
    with pytest.raises(AttributeError, match=r"module 'gmlayers\.flows\.optim' has no attribute 'group'"):
        _ = optim.group
