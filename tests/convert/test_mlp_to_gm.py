import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gmlayers import Diagonal, Full, GMLayer, LowRank, Regression, SharedFactor, convert
from gmlayers.convert._cluster import mixture, principal
from gmlayers.functional import ACTIVATIONS, Activation, get_activation
from gmlayers.nn import Covariance
from gmlayers.nn._k_means import k_means, nearest

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(3),
    LowRank(1, "diagonal"),
    LowRank(1, "isotropic", coupling=True),
    LowRank(2, "diagonal", coupling=True),
    Diagonal(),
    SharedFactor(3),
    SharedFactor(9),
    Full(),
]
families = pytest.mark.parametrize("family", FAMILIES, ids=str)


def network(width=40, *, bias=True, dtype=torch.float64, inputs=5, outputs=3):
    return nn.Linear(inputs, width, bias=bias, dtype=dtype), nn.Linear(width, outputs, bias=bias, dtype=dtype)


def answers(first, second, activation, x):
    return second(get_activation(activation).f(first(x))).detach()


def inputs(n=500, dtype=torch.float64):
    """Correlated, not centred."""
    return torch.randn(n, 5, dtype=dtype) @ torch.randn(5, 5, dtype=dtype) / 2 + torch.randn(5, dtype=dtype)


@families
@pytest.mark.parametrize("activation", ["relu", "gelu", "relu_squared", "sin"])
@pytest.mark.parametrize("given_x", [False, True])
def test_as_many_components_as_neurons_are_the_network(family, activation, given_x):
    first, second = network(12)
    x = inputs()
    fit = convert.mlp_to_gm(
        first, second, 12, covariance=family, activation=activation, x=x if given_x else None, refit=False
    )
    torch.testing.assert_close(fit.module(x).detach(), answers(first, second, activation, x), rtol=1e-9, atol=1e-9)
    assert sorted(fit.component.tolist()) == list(range(12))
    assert fit.error is None if not given_x else fit.error < 1e-8


def test_a_refit_of_the_network_itself_changes_nothing():
    first, second = network(12)
    x = inputs()
    fit = convert.mlp_to_gm(first, second, 12, x=x)
    torch.testing.assert_close(fit.module(x).detach(), answers(first, second, "relu", x), rtol=1e-9, atol=1e-9)


def test_copies_and_silent_neurons():
    first, second = network(12)
    with torch.no_grad():
        first.weight[6:9] = first.weight[:3] * 2  # the same directions
        first.bias[6:9] = first.bias[:3] * 2
        second.weight[:, 6:9] = second.weight[:, :3]
        second.weight[:, 9] = 0
        first.weight[10] = first.bias[10] = 0
    x = inputs()
    for K in (8, 12):
        fit = convert.mlp_to_gm(first, second, K)
        torch.testing.assert_close(fit.module(x).detach(), answers(first, second, "relu", x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "abs", "step", "square", "relu_squared"])
def test_sizes_of_homogeneous_neurons_do_not_matter(activation):
    """(ω, β, b) and (ω / c^p, cβ, cb) are the same neuron, and give the same components."""
    power = {"step": 0, "square": 2, "relu_squared": 2}.get(activation, 1)
    first, second = network()
    other = network()
    size = torch.rand(40, dtype=torch.float64) * 3 + 0.1
    with torch.no_grad():
        other[0].weight.copy_(size[:, None] * first.weight)
        other[0].bias.copy_(size * first.bias)
        other[1].weight.copy_(second.weight / size**power)
        other[1].bias.copy_(second.bias)
    fits = [
        convert.mlp_to_gm(*net, 8, activation=activation, generator=torch.Generator().manual_seed(1))
        for net in ((first, second), other)
    ]
    assert torch.equal(fits[0].component, fits[1].component)
    x = inputs()
    torch.testing.assert_close(fits[0].module(x), fits[1].module(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", [Full(), Diagonal(), LowRank(1, "isotropic", coupling=True)], ids=str)
@given(seed=st.integers(0, 1000))
def test_identity_is_exact_with_full_coupling(family, seed):
    """E ω⟨β, x⟩ needs the means and Cov(ω, β) alone; only Cov(ω, b) is lost, and there is none without biases."""
    torch.manual_seed(seed)
    first, second = network(bias=False)
    x = inputs(50)
    fit = convert.mlp_to_gm(first, second, 4, covariance=family, activation="identity")
    torch.testing.assert_close(fit.module(x).detach(), answers(first, second, "identity", x), rtol=1e-8, atol=1e-8)


def test_moments_of_one_component_are_those_of_the_neurons():
    """Loop-level: one Gaussian of the family full, for an activation with no homogeneity, has mass-weighted moments."""
    first, second = network()
    layer = convert.mlp_to_gm(first, second, 1, covariance="full", activation="sin").layer
    mass = second.weight.norm(dim=0)
    total = mass.sum()
    mean = sum(mass[j] * first.weight[j] for j in range(40)) / total
    cov = sum(mass[j] * torch.outer(first.weight[j] - mean, first.weight[j] - mean) for j in range(40)) / total
    cross = sum(torch.outer(second.weight[:, j], first.weight[j] - mean) for j in range(40))  # total · Cov(ω, β)
    law = layer.root()
    torch.testing.assert_close(law.mean[0], mean)
    torch.testing.assert_close(law.root[0] @ law.root[0].T, cov)
    torch.testing.assert_close(law.output_root[0] @ law.root[0].T, cross)
    torch.testing.assert_close(law.output_mean[0], second.weight.sum(1))
    torch.testing.assert_close(layer.bias[0], mass @ first.bias / total)


@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if not isinstance(f, Full) and f not in (LowRank(3), SharedFactor(9))], ids=str
)
def test_variance_of_z_is_that_of_the_neurons_on_average(family):
    """E_x of s² is E_x of the mass-weighted variance of ⟨β, x⟩ + b, spread of the biases included."""
    first, second = network()
    x = inputs()
    layer = convert.mlp_to_gm(first, second, 1, covariance=family, activation="gelu", x=x, refit=False).layer
    _, var, _ = layer.covariance.moments(layer.family_parameters(), x)
    mass = second.weight.norm(dim=0)
    z = first(x)
    mean = (z @ mass / mass.sum())[:, None]
    expected = ((z - mean).square() @ mass / mass.sum()).mean()
    torch.testing.assert_close(var.mean(), expected)


@pytest.mark.parametrize("family", [LowRank(), LowRank(2, "diagonal"), SharedFactor(2), Diagonal(), Full()], ids=str)
def test_refit_is_least_squares(family):
    """Nothing that multiplies the output can be moved to a smaller error: the gradients vanish."""
    first, second = network()
    x = inputs(3000)
    target = answers(first, second, "relu", x)
    options = {"covariance": family, "x": x, "ridge": 1e-12}
    fits = [
        convert.mlp_to_gm(first, second, 6, refit=refit, generator=torch.Generator().manual_seed(0), **options)
        for refit in (False, True)
    ]
    assert fits[1].error < fits[0].error
    loss = (fits[1].module(x) - target).square().mean()
    wrong = (loss.item() * target.numel() / (target - target.mean(0)).square().sum().item()) ** 0.5
    assert fits[1].error == pytest.approx(wrong, rel=1e-6)
    loss.backward()
    linear = {"output_mean", "output_factor", "coupling", "0.output_mean", "0.output_factor", "0.coupling", "1.bias"}
    found = {name: p.grad.abs().max().item() for name, p in fits[1].module.named_parameters() if name in linear}
    assert len(found) >= 3
    assert max(found.values()) < 1e-7


def test_a_large_ridge_leaves_the_fit_as_it_is():
    first, second = network()
    x = inputs()
    fits = [
        convert.mlp_to_gm(first, second, 6, x=x, refit=refit, ridge=1e12, generator=torch.Generator().manual_seed(0))
        for refit in (False, True)
    ]
    torch.testing.assert_close(fits[0].module(x), fits[1].module(x), rtol=1e-8, atol=1e-8)


def test_neurons_of_a_mixture_are_found_again():
    """A net drawn from a mixture of well separated components gives them back, as clusters and as a function."""
    layer = GMLayer(5, 3, 4, covariance=LowRank(1), activation="gelu", dtype=torch.float64)
    with torch.no_grad():
        layer.mean.copy_(4 * torch.eye(5, dtype=torch.float64)[:4])
        layer.std.fill_(0.05)
        layer.factor.mul_(0.5)
        layer.output_mean.normal_()
        layer.output_factor.normal_().mul_(0.2)
    net = convert.gm_to_mlp(layer, 400, generator=torch.Generator().manual_seed(0))
    fit = convert.mlp_to_gm(net[0], net[2], 4, activation="gelu")
    true = torch.arange(4).repeat_interleave(100)
    assert all(len(fit.component[true == k].unique()) == 1 for k in range(4))
    x = torch.randn(200, 5, dtype=torch.float64)
    wrong = (fit.module(x) - net(x)).square().sum() / (net(x) - net(x).mean(0)).square().sum()
    assert wrong.sqrt() < 0.03


def test_more_components_and_factors_fit_better():
    torch.manual_seed(3)
    first, second = network(200)
    x = inputs()

    def error(K, rank):
        return convert.mlp_to_gm(first, second, K, covariance=LowRank(rank), x=x).error

    assert error(5, 1) > error(20, 1) > error(80, 1)
    assert error(10, 0) > error(10, 1) > error(10, 3)


def test_what_is_returned(dtype):
    first, second = network(dtype=dtype)
    fit = convert.mlp_to_gm(first, second, 6, x=inputs(dtype=dtype))
    assert isinstance(fit.module, nn.Sequential)
    assert fit.module[0] is fit.layer
    assert isinstance(fit.module[1], convert.Shift)
    assert {p.dtype for p in fit.module.parameters()} == {dtype}
    assert all(p.requires_grad for p in fit.module.parameters())
    assert fit.component.shape == (40,)
    assert convert.fold(fit.module)(inputs(3, dtype)).shape == (3, 3)
    first, second = network(bias=False, dtype=dtype)
    fit = convert.mlp_to_gm(first, second, 6)
    assert fit.module is fit.layer
    assert not fit.layer.bias.any()
    assert repr(convert.Shift(torch.zeros(3))) == "Shift(3)"


def test_half_precision():
    first, second = network(dtype=torch.bfloat16)
    x = inputs(dtype=torch.bfloat16)
    fit = convert.mlp_to_gm(first, second, 12, x=x)
    assert {p.dtype for p in fit.module.parameters()} == {torch.bfloat16}
    target = answers(first, second, "relu", x).double()
    wrong = (fit.module(x).detach().double() - target).square().sum() / (target - target.mean(0)).square().sum()
    assert wrong.sqrt() < fit.error + 0.03  # rounding of weights and outputs


def test_same_generator_same_fit_and_the_global_one_is_left_alone():
    first, second = network()
    before = torch.random.get_rng_state()
    one, other = (convert.mlp_to_gm(first, second, 6, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.testing.assert_close(one.module.state_dict(), other.module.state_dict(), rtol=0, atol=0)


def test_constant_networks_and_inputs():
    first, second = network()
    with torch.no_grad():
        second.weight.zero_()
    x = inputs()
    fit = convert.mlp_to_gm(first, second, 6)
    torch.testing.assert_close(fit.module(x), second.bias.expand(500, 3))
    first, second = network()
    fit = convert.mlp_to_gm(first, second, 40, x=torch.zeros(2, 5, dtype=torch.float64), refit=False)
    torch.testing.assert_close(fit.module(x).detach(), answers(first, second, "relu", x), rtol=1e-9, atol=1e-9)
    assert not math.isfinite(fit.error)  # no input differs from another


def test_large_and_small_weights():
    first, second = network()
    x = inputs()
    fits = []
    for scale in (1e-30, 1.0, 1e30):
        twin = network()
        with torch.no_grad():
            for mine, theirs in zip(twin, (first, second)):
                mine.weight.copy_(theirs.weight)
                mine.bias.copy_(theirs.bias)
            twin[1].weight.mul_(scale)
            twin[1].bias.mul_(scale)
        fit = convert.mlp_to_gm(*twin, 8, x=x, generator=torch.Generator().manual_seed(0))
        fits.append(fit.module(x).detach() / scale)
    torch.testing.assert_close(fits[0], fits[1], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(fits[2], fits[1], rtol=1e-8, atol=1e-8)


def test_an_activation_of_ones_own():
    own = Activation(torch.sin, ACTIVATIONS["sin"].mean, ACTIVATIONS["sin"].gate)
    first, second = network(10)
    x = inputs()
    fit = convert.mlp_to_gm(first, second, 10, activation=own)
    torch.testing.assert_close(fit.module(x).detach(), answers(first, second, "sin", x), rtol=1e-9, atol=1e-9)


def test_mixture_raises_the_likelihood_until_it_stays():
    """Against densities of torch: the weighted log-likelihood does not fall, and stops at a stationary point."""
    points = torch.randn(80, 4, dtype=torch.float64) * torch.tensor([3.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    weight = torch.rand(80, dtype=torch.float64) + 0.1
    label = nearest(points, k_means(points, 3, torch.Generator().manual_seed(0), weight))

    def likelihood(share):
        fits = [principal(points, weight * share[:, k], 1) for k in range(3)]
        noise = sum(f.mass * f.residual for f in fits) / (weight.sum() * 3)
        terms = []
        for f in fits:
            along = f.direction @ torch.diag((f.var - noise).clamp(min=0)) @ f.direction.T
            cov = along + noise * torch.eye(4, dtype=torch.float64)
            density = torch.distributions.MultivariateNormal(f.centre, cov).log_prob(points)
            terms.append(torch.log(f.mass / weight.sum()) + density)
        return (weight * torch.stack(terms, 1).logsumexp(1)).sum().item()

    values = [likelihood(mixture(points, weight, label, 3, 1, rounds=n)) for n in (1, 2, 4, 8, 16, 200, 400)]
    assert all(after >= before - 1e-6 for before, after in pairwise(values))
    assert values[-1] == pytest.approx(values[-2], rel=1e-4)


def test_refusals():
    first, second = network()
    x = inputs()
    with pytest.raises(TypeError, match="mlp_to_gm: second must be an nn.Linear, got ReLU"):
        convert.mlp_to_gm(first, nn.ReLU(), 3)
    with pytest.raises(ValueError, match="first gives 40 features, second takes 5"):
        convert.mlp_to_gm(first, nn.Linear(5, 3), 3)
    for K in (0, 41):
        with pytest.raises(ValueError, match=f"between 1 and the number of neurons, 40, got {K}"):
            convert.mlp_to_gm(first, second, K)
    with pytest.raises(TypeError, match="num_components must be a whole number, got 2.5"):
        convert.mlp_to_gm(first, second, 2.5)
    with pytest.raises(ValueError, match="unknown activation 'rel'; did you mean 'relu'"):
        convert.mlp_to_gm(first, second, 3, activation="rel")
    with pytest.raises(ValueError, match="convert.to_regression gives the paper's coordinates"):
        convert.mlp_to_gm(first, second, 3, covariance=Regression())
    with pytest.raises(ValueError, match="ridge must be positive and finite, got 0"):
        convert.mlp_to_gm(first, second, 3, ridge=0)
    with pytest.raises(ValueError, match=r"mlp_to_gm: x: expected an input of shape \(..., 5\), got \(4, 6\)"):
        convert.mlp_to_gm(first, second, 3, x=torch.randn(4, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="mlp_to_gm: x: expected torch.float64"):
        convert.mlp_to_gm(first, second, 3, x=x.float())
    with pytest.raises(ValueError, match=r"x must hold at least two inputs, got shape \(1, 5\)"):
        convert.mlp_to_gm(first, second, 3, x=x[:1])
    with pytest.raises(ValueError, match="x has values that are not finite"):
        convert.mlp_to_gm(first, second, 3, x=x.log())
    wide = network(120, inputs=200)
    with pytest.raises(ValueError, match="unknowns for each output, too many to solve for"):
        convert.mlp_to_gm(*wide, 100, covariance="diagonal", x=torch.randn(9, 200, dtype=torch.float64))
    with torch.no_grad():
        second.bias[0] = math.inf
    with pytest.raises(ValueError, match="mlp_to_gm: second.bias has values that are not finite"):
        convert.mlp_to_gm(first, second, 3)

    class Other(Covariance):
        shapes, default_init_scale, init, moments = LowRank.shapes, 0.1, LowRank.init, LowRank.moments

    with pytest.raises(ValueError, match="expected a covariance LowRank, SharedFactor, Diagonal or Full"):
        convert.mlp_to_gm(*network(), 3, covariance=Other())
