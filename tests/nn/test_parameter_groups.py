import pytest
import torch
from torch import nn

from gmlayers import PAPER_RATES, GMLayer, LowRank, parameter_groups


def names_by_group(model, groups):
    name = {id(p): n for n, p in model.named_parameters()}
    return [sorted(name[id(p)] for p in group["params"]) for group in groups]


def test_the_papers_rates():
    model = GMLayer.paper(4, 2, 3)
    groups = parameter_groups(model, *PAPER_RATES)
    assert names_by_group(model, groups) == [["intercept", "mean", "slope"], ["std"]]
    assert [g["lr"] for g in groups] == [0.1, 1.0]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_rate_that_is_not_given_is_the_optimizers(optimizer):
    model = nn.Sequential(nn.Linear(4, 4), GMLayer(4, 2, 3))
    assert [g["lr"] for g in optimizer(parameter_groups(model), lr=1e-3).param_groups] == [1e-3] * 3
    assert [g["lr"] for g in optimizer(parameter_groups(model, std_lr=0.5), lr=1e-3).param_groups] == [1e-3, 1e-3, 0.5]
    assert [g["lr"] for g in optimizer(parameter_groups(model, 0.5), lr=1e-3).param_groups] == [0.5, 0.5, 1e-3]
    assert not any("lr" in group for group in parameter_groups(model))


def test_stds_are_not_decayed_by_the_optimizer():
    groups = torch.optim.AdamW(parameter_groups(GMLayer(4, 2, 3)), lr=1e-3, weight_decay=0.5).param_groups
    assert [g["weight_decay"] for g in groups] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("base", ["isotropic", "diagonal"])
def test_stds_and_biases_are_not_decayed(base):
    model = nn.Sequential(
        nn.Linear(4, 5), nn.LayerNorm(5), GMLayer(5, 2, 3, covariance=LowRank(base=base), learn_weights=True)
    )
    groups = parameter_groups(model, lr=0.5, std_lr=0.25, weight_decay=0.125)
    assert names_by_group(model, groups) == [
        ["0.weight", "2.factor", "2.mean", "2.output_factor", "2.output_mean"],
        ["0.bias", "1.bias", "1.weight", "2.bias", "2.weight_logits"],
        ["2.std"],
    ]
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(0.5, 0.125), (0.5, 0.0), (0.25, 0.0)]
    torch.optim.AdamW(groups)


def test_a_parametrized_std_is_a_std():
    model = GMLayer(4, 2, 3)
    nn.utils.parametrize.register_parametrization(model, "std", nn.Softplus())
    groups = parameter_groups(model, weight_decay=0.1)
    assert names_by_group(model, groups)[-1] == ["parametrizations.std.original"]
    assert groups[-1]["weight_decay"] == 0.0


def test_a_triangular_root_is_a_std():
    model = GMLayer(4, 2, 3, covariance="full")
    groups = parameter_groups(model, weight_decay=0.1)
    assert names_by_group(model, groups) == [["coupling", "mean", "output_mean"], ["bias"], ["scale_tril"]]
    assert groups[-1]["weight_decay"] == 0.0
    nn.utils.parametrize.register_parametrization(model, "scale_tril", nn.Identity())
    assert names_by_group(model, parameter_groups(model))[-1] == ["parametrizations.scale_tril.original"]


def test_frozen_parameters_are_left_out():
    model = GMLayer.paper(4, 2, 3)
    model.std.requires_grad_(False)
    assert names_by_group(model, parameter_groups(model)) == [["intercept", "mean", "slope"]]
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        parameter_groups(model.requires_grad_(False))


@pytest.mark.parametrize("name", ["lr", "std_lr", "weight_decay"])
def test_negative_rates_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative, got -1"):
        parameter_groups(nn.Linear(2, 2), **{name: -1})


def test_a_step_of_sgd_is_the_papers_update():
    """θ - 0.1 ∂θ for means, slopes and intercepts, σ - 1 ∂σ for the stds."""
    model = GMLayer.paper(4, 2, 3, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.randn(8, 4, dtype=torch.float64)).square().mean().backward()
    torch.optim.SGD(parameter_groups(model, *PAPER_RATES)).step()
    for name, p in model.named_parameters():
        rate = 1.0 if name == "std" else 0.1
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), before[name] - rate * p.grad, rtol=1e-14, atol=0)
