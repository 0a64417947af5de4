"""What a module shows is what makes another one like it."""

import pytest
import torch

import gmlayers
from gmlayers import GMNM, AxisAligned, Diagonal, Full, GMLayer, LowRank, Mahalanobis, Regression, Ridge, SharedFactor
from gmlayers.functional import ACTIVATIONS, Activation

PUBLIC = {name: getattr(gmlayers, name) for name in gmlayers.__all__}

MODULES = [
    *(
        GMLayer(4, 2, 3, covariance=family)
        for family in (
            LowRank(),
            LowRank(0),
            LowRank(2, "diagonal", coupling=True),
            SharedFactor(3),
            Diagonal(),
            Full(),
            Regression(),
        )
    ),
    *(GMLayer(4, 2, 3, activation=name) for name in ACTIVATIONS),
    GMLayer(4, 2, 3, scaling="mean", learn_weights=True, bias=False, init_scale=1 / 3),
    GMLayer.paper(4, 2, 3),
    *(GMNM(4, 2, 3, form=form) for form in ("mahalanobis", "diagonal", "ridge")),
    *(GMNM(4, 2, 3, form=form) for form in (Mahalanobis(6), AxisAligned(), Ridge())),
    GMNM(4, 2, 3, domain=(-1 / 3, 1e8 + 1), bias=False),
    GMNM(2, 1, 3, domain=([0.1, 1 / 3], [1.0, 2.0])),
    GMNM(1, 1, 3, domain=(0, 1)),
    GMNM.from_data(torch.rand(20, 8, generator=torch.Generator().manual_seed(0)), 1, 5),
]


@pytest.mark.filterwarnings("ignore:GMNM. an input is outside")
@pytest.mark.parametrize("module", MODULES, ids=lambda module: repr(module)[:60])
def test_what_is_shown_makes_a_module_of_the_same_kind(module):
    twin = eval(repr(module), PUBLIC)
    assert repr(twin) == repr(module)
    assert {k: v.shape for k, v in twin.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}
    for name in ("covariance", "activation", "scaling", "init_scale", "form", "domain"):
        assert getattr(twin, name, None) == getattr(module, name, None)
    assert twin.load_state_dict(module.state_dict())
    x = torch.rand(5, module.in_features)
    assert torch.equal(twin(x), module(x))


def test_a_domain_of_many_features_is_shown_in_part_and_does_not_pass_for_another():
    text = repr(GMNM.from_data(torch.rand(20, 9), 1, 5))
    assert len(text) < 500
    with pytest.raises(TypeError, match="domain must be"):
        eval(text, PUBLIC)


def test_an_activation_of_your_own_is_shown_by_its_name():
    own = Activation(torch.relu, lambda m, var: m, lambda m, var: m, "relu")
    layer = GMLayer(4, 2, 3, activation=own)
    assert "activation=relu," in repr(layer)
    assert eval(repr(layer), {**PUBLIC, "relu": own}).activation is own


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
def test_a_form_and_its_name_make_the_same_module(form):
    descriptor = {"mahalanobis": Mahalanobis(3), "diagonal": AxisAligned(), "ridge": Ridge()}[form]
    torch.manual_seed(0)
    named = GMNM(3, 2, 4, form=form)
    torch.manual_seed(0)
    made = GMNM(3, 2, 4, form=descriptor)
    assert made.form == named.form
    for a, b in zip(named.parameters(), made.parameters()):
        assert torch.equal(a, b)


def test_what_forms_refuse():
    with pytest.raises(ValueError, match="Mahalanobis: rank must be at least 1, got 0"):
        Mahalanobis(0)
    with pytest.raises(TypeError, match="Mahalanobis: rank must be a whole number, got 1.5"):
        Mahalanobis(1.5)
    with pytest.raises(ValueError, match=r"rank is for form='mahalanobis', got rank=2 with form=Mahalanobis\(rank=3\)"):
        GMNM(3, 1, 4, form=Mahalanobis(3), rank=2)
    with pytest.raises(TypeError):
        Ridge(rank=2)
