import pytest
import torch
from torch import nn

from gmlayers import Diagonal, Full, GMLayer, LowRank, Regression, SharedFactor, diagnostics
from gmlayers.diagnostics import NeuronMixture, effective_components, log_determinants, marginal, neurons
from gmlayers.nn import Covariance

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(2, "diagonal"),
    LowRank(2, "isotropic", coupling=True),
    Diagonal(),
    Regression(),
    SharedFactor(3),
    Full(),
]


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))
    return layer


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize(("d", "K"), [(5, 3), (1, 1)])
def test_marginal_is_the_law_of_the_root(family, d, K, covariance, dtype):
    layer = shaken(GMLayer(d, 2, K, covariance=family, dtype=dtype))
    found, law = marginal(layer), layer.root()
    assert found.mean.dtype == dtype
    torch.testing.assert_close(found.mean, law.mean.detach())
    torch.testing.assert_close(covariance(found), (law.root @ law.root.mT).detach())
    torch.testing.assert_close(found.weight, torch.full((K,), 1 / K, dtype=dtype))


def test_marginal_of_a_family_of_ones_own(covariance):
    class Mine(Covariance):
        shapes, default_init_scale, init = Regression.shapes, Regression.default_init_scale, Regression.init
        moments, readout = Regression.moments, Regression.readout

        def root(self, p):
            return Regression().root(p)

    layer = shaken(GMLayer(4, 2, 3, covariance=Mine()))
    found = marginal(layer)
    assert found.factor.shape == (3, 4, 4)
    assert (found.var == 0).all()
    torch.testing.assert_close(covariance(found), torch.diag_embed(layer.std.detach().square()))


def test_marginal_has_the_learned_weights():
    layer = shaken(GMLayer(4, 2, 3, learn_weights=True))
    assert layer.weight_logits is not None
    torch.testing.assert_close(marginal(layer).weight, layer.weight_logits.detach().softmax(0))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_marginal_is_a_copy(family):
    layer = GMLayer(4, 2, 3, covariance=family)
    found = marginal(layer)
    before = [t.clone() for t in (found.weight, found.mean, found.var, found.factor)]
    shaken(layer)
    for t, old in zip((found.weight, found.mean, found.var, found.factor), before):
        assert torch.equal(t, old)
        assert not t.requires_grad


def test_half_precision_is_widened():
    layer = GMLayer(4, 2, 3, learn_weights=True).half()
    with torch.no_grad():
        layer.std.fill_(1e-4)  # its square is 0 in float16
    found = marginal(layer)
    assert found.weight.dtype == found.mean.dtype == torch.float32
    assert (found.var > 0).all()
    assert neurons(nn.Linear(4, 3).half().weight).weight.dtype == torch.float32


def test_neurons(dtype):
    linear = nn.Linear(5, 3, dtype=dtype)
    found = neurons(linear.weight)
    assert torch.equal(found.mean, linear.weight)
    assert not found.mean.requires_grad
    assert found.factor.shape == (3, 5, 0)
    assert (found.var == 0).all()
    torch.testing.assert_close(found.weight, torch.full((3,), 1 / 3, dtype=dtype))
    with pytest.raises(ValueError, match=r"neurons: expected a weight of shape \(m, d\), as of nn.Linear, got \(3,\)"):
        neurons(torch.ones(3))


GOOD = {
    "weight": torch.tensor([0.25, 0.75]),
    "mean": torch.zeros(2, 3),
    "var": torch.ones(2, 3),
    "factor": torch.zeros(2, 3, 1),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": torch.zeros(3)}, r"mean must be \(K, d\) with K and d at least 1, got \(3,\)"),
        ({"mean": torch.zeros(2, 0)}, r"mean must be \(K, d\) with K and d at least 1, got \(2, 0\)"),
        ({"weight": torch.ones(3) / 3}, r"weight must be \(2,\) for a mean of shape \(2, 3\), got \(3,\)"),
        ({"var": torch.ones(2)}, r"var must be \(2, 3\) for a mean of shape \(2, 3\), got \(2,\)"),
        ({"factor": torch.ones(2, 1, 3)}, r"factor must be \(2, 3, r\) for a mean of shape \(2, 3\), got \(2, 1, 3\)"),
        ({"var": torch.ones(2, 3).double()}, "one dtype for all tensors, got .*var torch.float64"),
        ({"var": -torch.ones(2, 3)}, "var must be finite and not negative, got -1.0 to -1.0"),
        ({"var": torch.full((2, 3), torch.nan)}, "var must be finite and not negative, got nan to nan"),
        ({"weight": torch.ones(2)}, "weights must be at least 0 and sum to 1, got minimum 1 and sum 2"),
        ({"weight": torch.tensor([-0.5, 1.5])}, "got minimum -0.5 and sum 1"),
        ({"weight": torch.tensor([torch.nan, 1.0])}, "sum nan"),
    ],
)
def test_what_is_no_mixture_is_refused(wrong, message):
    NeuronMixture(**GOOD)
    with pytest.raises(ValueError, match=message):
        NeuronMixture(**(GOOD | wrong))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_log_determinants_are_those_of_dense_covariances(family, covariance):
    mixture = marginal(shaken(GMLayer(6, 2, 3, covariance=family, dtype=torch.float64)))
    torch.testing.assert_close(log_determinants(mixture), torch.linalg.slogdet(covariance(mixture))[1])


def test_log_determinants_of_large_and_of_singular_covariances(mixture):
    wide = mixture(2, 300, 2)
    scaled = NeuronMixture(wide.weight, wide.mean, 1e-8 * wide.var, 1e-4 * wide.factor)  # whose determinant underflows
    torch.testing.assert_close(
        log_determinants(scaled), log_determinants(wide) + 300 * torch.tensor(1e-8).double().log()
    )
    flat = NeuronMixture(wide.weight, wide.mean, 0 * wide.var, wide.factor)
    assert log_determinants(flat).tolist() == [-torch.inf] * 2
    assert log_determinants(neurons(torch.randn(3, 2))).tolist() == [-torch.inf] * 3
    assert log_determinants(marginal(GMLayer(4, 2, 3))).dtype == torch.float32


def test_only_layers_have_a_law_of_neurons():
    with pytest.raises(TypeError, match="marginal: layer must be a GMLayer, got Linear"):
        marginal(torch.nn.Linear(3, 2))
    with pytest.raises(TypeError, match="effective_components: layer must be a GMLayer, got Linear"):
        effective_components(torch.nn.Linear(3, 2), torch.zeros(1, 3))


def test_the_old_name_is_understood_with_a_warning():
    with pytest.warns(FutureWarning, match=r"diagnostics\.Mixture is deprecated; its name is now NeuronMixture"):
        assert diagnostics.Mixture is NeuronMixture
