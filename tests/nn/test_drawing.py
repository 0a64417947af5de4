"""Parameters that torch computes in every forward: by pruning, parametrizations, norms of weights."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from gmlayers import GMNM, GMLayer, parameter_groups, solve
from gmlayers.flows import optim


def pruned(module, name):
    prune.random_unstructured(module, name, 0.5)


def custom(module, name):
    prune.custom_from_mask(module, name, torch.ones_like(getattr(module, name)))


def parametrized(module, name):
    parametrize.register_parametrization(module, name, nn.Softplus())


def spectral(module, name):
    parametrizations.spectral_norm(module, name)


def weight(module, name):
    parametrizations.weight_norm(module, name)


def orthogonal(module, name):
    parametrizations.orthogonal(module, name)


def old_spectral(module, name):
    nn.utils.spectral_norm(module, name)


def old_weight(module, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module, name)


WAYS = [pruned, custom, parametrized, spectral, weight, orthogonal, old_spectral, old_weight]
FAMILIES = ["low_rank", "shared_factor", "diagonal", "full", "regression"]
SINGLE = (pruned, custom, parametrized, weight, old_weight)  # take a vector as well


def layer(family):
    return GMLayer(4, 3, 5, covariance=family, learn_weights=True)


def cases():
    for family in FAMILIES:
        for name, p in layer(family).named_parameters():
            for way in WAYS if p.ndim == 2 else SINGLE:
                yield pytest.param(lambda f=family: layer(f), way, name, id=f"{family}-{way.__name__}-{name}")
    for form in ("mahalanobis", "diagonal", "ridge"):
        for name, p in GMNM(4, 3, 5, form=form).named_parameters():
            for way in WAYS if p.ndim == 2 else SINGLE:
                yield pytest.param(lambda f=form: GMNM(4, 3, 5, form=f), way, name, id=f"{form}-{way.__name__}-{name}")


@pytest.mark.parametrize(("make", "way", "name"), [*cases()])
def test_what_is_computed_is_not_drawn_anew(make, way, name):
    module, x = make(), torch.rand(6, 4)
    with torch.no_grad():
        getattr(module, name).add_(1.0)  # a bias is 0, and 0 has no direction
    way(module, name)
    module.eval()
    before, state = module(x), {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(RuntimeError, match=rf"reset_parameters: remove the .*{name} is computed anew in every forward"):
        module.reset_parameters()
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert torch.equal(module(x), before)


@pytest.mark.parametrize("make", [lambda: layer("low_rank"), lambda: GMNM(4, 3, 5)])
def test_after_its_removal_all_is_drawn_anew(make):
    module, x = make(), torch.rand(6, 4)
    pruned(module, "mean")
    before = module(x)
    prune.remove(module, "mean")
    module.reset_parameters()
    assert not (module.mean == 0).any()
    assert not torch.allclose(module(x), before)


def test_a_copy_and_a_compiled_name_are_no_computed_parameters():
    """Nothing of our own modules is a plain tensor."""
    for module in (*map(layer, FAMILIES), GMNM(4, 3, 5, domain=(-1, 1)), GMNM.from_data(torch.rand(20, 4), 1, 5)):
        module(torch.rand(2, 4)).sum().backward()
        module.reset_parameters()


@pytest.mark.parametrize("way", [pruned, old_weight, parametrized])
def test_what_moves_or_fits_a_module_refuses_too(way):
    made = layer("diagonal")
    way(made, "std")
    with pytest.raises(ValueError, match=r"layer_groups: remove the .*std is computed anew in every forward"):
        optim.layer_groups(made)
    net = GMNM(2, 1, 5)
    way(net, "weight")
    x = torch.rand(20, 2)
    with pytest.raises(RuntimeError, match=r"fit: remove the .*weight is computed anew in every forward"):
        solve.fit(net, x, x[:, :1])


@pytest.mark.parametrize("way", [pruned, old_weight, parametrized, weight])
@pytest.mark.parametrize("name", ["std", "factor_std"])
def test_stds_have_their_rate_whatever_they_are_computed_from(way, name):
    made = layer("shared_factor")
    way(made, name)
    *_, stds = parameter_groups(made, 0.1, 1.0, weight_decay=0.5)
    assert stds["lr"] == 1.0
    names = {n for n, p in made.named_parameters() if any(p is q for q in stds["params"])}
    assert names == {n for n, _ in made.named_parameters() if "std" in n}
    assert len(names) > 1
