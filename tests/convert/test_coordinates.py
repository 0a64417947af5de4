import pytest
import torch

from gmlayers import Diagonal, Full, GMLayer, LowRank, Regression, SharedFactor, convert
from gmlayers.nn import Covariance, Root


@pytest.fixture
def paper():
    layer = GMLayer.paper(6, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.std.copy_(torch.randn(4, 6))
    return layer


def test_paper_to_diagonal_and_back(paper):
    x = torch.randn(7, 6, dtype=torch.float64)
    joint = convert.to_diagonal(paper)
    back = convert.to_regression(joint)
    torch.testing.assert_close(joint(x), paper(x), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(back(x), paper(x), rtol=1e-12, atol=1e-14)
    for (name, a), (_, b) in zip(back.named_parameters(), paper.named_parameters()):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13, msg=name)
    assert (joint.scaling, joint.bias) == ("mean", None)


def test_diagonal_to_regression_keeps_every_option():
    layer = GMLayer(6, 3, 4, covariance="diagonal", activation="gelu", learn_weights=True, dtype=torch.float64)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))
    other = convert.to_regression(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-11, atol=1e-12)
    assert other.activation is layer.activation
    assert other.weight_logits is not None


def test_without_noise_the_slope_is_zero_and_the_function_kept():
    layer = GMLayer(6, 3, 4, covariance="diagonal", dtype=torch.float64)
    with torch.no_grad():
        layer.std[:, ::2] = 0
    other = convert.to_regression(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-12, atol=1e-13)
    slope = dict(other.named_parameters())["slope"]
    assert (slope[..., ::2] == 0).all()
    assert slope.isfinite().all()


def test_a_std_that_is_next_to_nothing_gives_no_infinity():
    layer = GMLayer(6, 3, 4, covariance="diagonal")
    with torch.no_grad():
        layer.std[:, ::2] = 1e-40
    other = convert.to_regression(layer)
    x = torch.randn(7, 6)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-4, atol=1e-5)


def test_conversion_draws_nothing_and_keeps_the_mode(paper):
    paper.eval()
    state = torch.get_rng_state()
    assert not convert.to_diagonal(paper).training
    assert torch.equal(state, torch.get_rng_state())


def test_the_copy_is_independent(paper):
    joint = convert.to_diagonal(paper)
    with torch.no_grad():
        joint.mean.zero_()
    assert paper.mean.abs().sum() > 0


def test_other_families_are_refused():
    with pytest.raises(ValueError, match=r"to_diagonal: expected a layer with covariance=Regression\(\), got LowRank"):
        convert.to_diagonal(GMLayer(6, 3, 4))
    with pytest.raises(ValueError, match=r"to_regression: expected a layer with covariance=Diagonal\(\)"):
        convert.to_regression(GMLayer.paper(6, 3, 4))


# --- up the ladder -------------------------------------------------------------------------------------------

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(3, "diagonal"),
    LowRank(8, "isotropic", coupling=True),
    LowRank(2, "diagonal", coupling=True),
    SharedFactor(1),
    SharedFactor(9),
    Diagonal(),
    Regression(),
    Full(),
]
families = pytest.mark.parametrize("covariance", FAMILIES, ids=repr)


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))
    return layer


@families
@pytest.mark.parametrize("extras", [True, False])
@pytest.mark.parametrize(("in_features", "K"), [(6, 4), (1, 1)])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_to_full_keeps_the_function(covariance, extras, in_features, K, activation, dtype):
    scaling = "sqrt" if extras else "mean"
    layer = shaken(
        GMLayer(
            in_features,
            3,
            K,
            covariance=covariance,
            activation=activation,
            scaling=scaling,
            learn_weights=extras,
            bias=extras,
            dtype=dtype,
        )
    ).eval()
    full, x = convert.to_full(layer), 3 * torch.randn(2, 7, in_features, dtype=dtype)
    exact = 1e-10 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(full(x), layer(x), rtol=exact, atol=exact)
    assert (full.covariance, full.scaling, full.activation) == (Full(), scaling, layer.activation)
    assert (full.bias is not None, full.weight_logits is not None) == (extras, extras)
    assert full.mean.dtype == dtype
    assert not full.training
    law, other = layer.root(), full.root()
    torch.testing.assert_close(other.mean, law.mean)
    torch.testing.assert_close(other.root @ other.root.mT, law.root @ law.root.mT, rtol=exact, atol=10 * exact)
    torch.testing.assert_close(
        other.output_root @ other.root.mT, law.output_root @ law.root.mT, rtol=exact, atol=10 * exact
    )
    assert (full.scale_tril.triu(1) == 0).all()
    assert (full.scale_tril.diagonal(dim1=-2, dim2=-1) >= 0).all()


def test_to_full_gives_the_cholesky_factor():
    layer = shaken(GMLayer(5, 2, 3, covariance=LowRank(2, "diagonal"), dtype=torch.float64))
    root = layer.root().root
    torch.testing.assert_close(convert.to_full(layer).scale_tril, torch.linalg.cholesky(root @ root.mT))


@pytest.mark.parametrize("covariance", [LowRank(2, coupling=True), Diagonal(), SharedFactor(2)], ids=repr)
def test_to_full_takes_singular_covariances(covariance):
    layer = shaken(GMLayer(6, 3, 4, covariance=covariance, dtype=torch.float64))
    with torch.no_grad():
        layer.std[:2] = 0
    full, x = convert.to_full(layer), torch.randn(7, 6, dtype=torch.float64)
    assert all(p.isfinite().all() for p in full.parameters())
    torch.testing.assert_close(full(x), layer(x), rtol=1e-10, atol=1e-10)


def test_to_full_takes_a_family_of_ones_own_and_half_precision():
    class Thin(Covariance):
        """Fewer columns than inputs."""

        default_init_scale, gates_reading = 0.1, True

        def shapes(self, in_features, out_features, num_components):
            return LowRank(2).shapes(in_features, out_features, num_components)

        def init(self, p, init_scale, generator):
            LowRank(2).init(p, init_scale, generator)

        def moments(self, p, x):
            return LowRank(2).moments({**p, "std": torch.zeros_like(p["std"])}, x)

        def readout_gated(self, p, level, gated):
            return LowRank(2).readout_gated(p, level, gated)

        def root(self, p):
            return Root(p["mean"], p["factor"].mT, p["output_mean"], p["output_factor"].mT)

    layer = shaken(GMLayer(6, 3, 4, covariance=Thin(), dtype=torch.float64))
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(convert.to_full(layer)(x), layer(x), rtol=1e-10, atol=1e-10)
    half = convert.to_full(GMLayer(6, 3, 4).bfloat16())
    assert half.scale_tril.dtype == torch.bfloat16


def test_to_full_draws_nothing():
    layer = GMLayer(6, 3, 4)
    state = torch.get_rng_state()
    convert.to_full(layer)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("function", [convert.to_diagonal, convert.to_regression, convert.to_full])
def test_only_layers_have_coordinates(function):
    with pytest.raises(TypeError, match=f"{function.__name__}: layer must be a GMLayer, got Linear"):
        function(torch.nn.Linear(3, 2))
