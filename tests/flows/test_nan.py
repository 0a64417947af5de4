"""What is not a number stays visible in everything that moves a layer."""

import math

import pytest
import torch

from gmlayers import GMLayer
from gmlayers.flows import Roots, optim, transport
from gmlayers.nn import Diagonal, Full, LowRank, Regression, SharedFactor

FAMILIES = [LowRank(1), LowRank(2, "diagonal", coupling=True), SharedFactor(2), Diagonal(), Full(), Regression()]


def own(layer):
    """The parameters of which every component has a part."""
    return {n: p for n, p in layer.named_parameters() if n != "weight_logits" and len(p) == layer.num_components}


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("where", ["gradient", "gradient without weight or noise", "logits", "parameter"])
def test_nan_is_not_taken_for_zero(make, family, where):
    torch.manual_seed(0)
    layer = GMLayer(3, 2, 4, covariance=family, learn_weights=True)
    optimizer = make(optim.layer_groups(layer, 0.1))
    with torch.no_grad():
        if "without" in where:
            layer.weight_logits[1] = -1e4  # its weight underflows to 0
            if "std" in own(layer):
                layer.std[1] = 0.0
    layer(torch.rand(5, 3)).square().mean().backward()
    with torch.no_grad():
        for p in own(layer).values():
            if "gradient" in where and p.grad is not None:
                p.grad[1] = math.nan
            if where == "parameter":
                p[1] = math.nan
        if where == "logits":
            layer.weight_logits[1] = math.nan
    optimizer.step()
    for name, p in own(layer).items():
        assert p[1].isnan().any(), name


def test_a_component_of_weight_0_still_rests():
    layer = GMLayer(3, 2, 4, learn_weights=True)
    with torch.no_grad():
        layer.weight_logits[1] = -1e4
    before = layer.mean[1].clone()
    layer(torch.rand(5, 3)).square().mean().backward()
    optim.WassersteinSGD(optim.layer_groups(layer, 0.1)).step()
    assert torch.equal(layer.mean[1], before)


@pytest.mark.parametrize("what", ["mean", "root", "weight"])
def test_no_distance_from_nan(what):
    one = Roots(torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2))
    other = Roots(torch.ones(2, 2), torch.eye(2).expand(2, 2, 2).clone(), torch.full((2,), 0.5))
    with torch.no_grad():
        {"mean": other.mean, "root": other.root, "weight": other.weight}[what].view(-1)[0] = math.nan
    with pytest.raises(ValueError, match="finite|must not be negative"):
        transport.mixture_distance(one, other)


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
def test_a_step_that_fails_moves_nothing(make):
    """The second layer has no inverse: one component is singular, another is not a number."""
    torch.manual_seed(0)
    model = torch.nn.ModuleList([GMLayer(3, 2, 4), GMLayer(3, 2, 4, covariance="full")])
    optimizer = make(optim.layer_groups(model, 0.1))
    x = torch.rand(5, 3)
    sum(layer(x).square().mean() for layer in model).backward()
    with torch.no_grad():
        model[1].scale_tril[0] = 0.0
        model[1].scale_tril[1, 0, 0] = math.nan
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="non-finite"):
        optimizer.step()
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(before, model.parameters()))
    assert not optimizer.state


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
def test_a_closure_that_fails_moves_nothing(make):
    layer = GMLayer(3, 2, 4)
    optimizer = make(optim.layer_groups(layer, 0.1))
    before = [p.clone() for p in layer.parameters()]

    def closure():
        layer(torch.rand(5, 3)).square().mean().backward()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters()))
    assert not optimizer.state
    assert torch.is_grad_enabled()
