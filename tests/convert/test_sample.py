import math

import pytest
import torch
from torch import nn

from gmlayers import Diagonal, GMLayer, LowRank, Regression, SharedFactor, convert
from gmlayers.functional import Activation, get_activation

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(2, "diagonal", coupling=True),
    Diagonal(),
    Regression(),
    SharedFactor(2),
]
families = pytest.mark.parametrize("family", FAMILIES, ids=str)


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p), alpha=0.5)
    return layer


def layer_of(family, activation="relu", **options):
    return shaken(GMLayer(5, 2, 3, covariance=family, activation=activation, dtype=torch.float64, **options))


@torch.no_grad()
def deviations(layer, x, width, networks, **options):
    """Squared errors of many sampled networks, summed over outputs, (networks, n), and their mean output."""
    outputs = torch.stack([convert.gm_to_mlp(layer, width, **options)(x) for _ in range(networks)])
    return (outputs - layer(x)).square().sum(-1), outputs


@families
@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sin"])
def test_unbiased_with_the_predicted_variance(family, stratified, activation):
    layer = layer_of(family, activation, learn_weights=True)
    x = torch.randn(4, 5, dtype=torch.float64)
    networks, width = 600, 60
    squares, outputs = deviations(layer, x, width, networks, stratified=stratified)
    error = outputs.std(0) / math.sqrt(networks)
    assert ((outputs.mean(0) - layer(x)).abs() <= 5 * error).all()
    expected = convert.sampling_variance(layer, x, stratified=stratified).sum(-1) / width
    tolerance = 5 * squares.std(0) / math.sqrt(networks) + 0.05 * expected  # shares of 60 neurons are rounded
    assert ((squares.mean(0) - expected).abs() <= tolerance).all()


def test_variance_by_monte_carlo_over_neurons():
    """The formula, with a sample of neurons in place of the quadrature."""
    layer = layer_of(Diagonal())
    x = torch.randn(3, 5, dtype=torch.float64)
    mean, root, output_mean, output_root = layer.root()
    n, weight = 200_000, layer.component_weight()
    answers = []
    for k in range(3):
        noise = torch.randn(n, root.shape[2], dtype=torch.float64)
        beta, omega = mean[k] + noise @ root[k].T, output_mean[k] + noise @ output_root[k].T
        answers.append((x @ beta.T + layer.bias[k]).relu()[..., None] * omega)  # (3, n, 2)
    share, total = weight / weight.sum(), weight.sum()
    within = sum(p * a.var(1) for p, a in zip(share, answers)) * total**2
    second = sum(p * a.square().mean(1) for p, a in zip(share, answers)) * total**2
    found = convert.sampling_variance(layer, x), convert.sampling_variance(layer, x, stratified=False)
    torch.testing.assert_close(found[0], within.detach(), rtol=0.03, atol=0)
    torch.testing.assert_close(found[1], (second - layer(x).square()).detach(), rtol=0.03, atol=0)


@pytest.mark.parametrize("activation", ["relu", "step", "abs", "gelu", "cos"])
def test_quadrature_agrees_with_closed_forms(activation):
    """E f and E t f = s E f' are in the table; E f² of ReLU is that of relu_squared."""
    from gmlayers.convert._sample import _moments

    f = get_activation(activation)
    m = torch.tensor([-30.0, -3.0, 0.0, 0.5, 4.0, 30.0], dtype=torch.float64)
    std = torch.tensor([1.0, 0.3, 2.0, 1e-9, 1.0, 2.0], dtype=torch.float64)
    first, square = _moments(f, m, std)
    torch.testing.assert_close(first[0], f.mean(m, std.square()), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(first[1], std * f.gate(m, std.square()), rtol=1e-11, atol=1e-11)
    if activation == "relu":
        squared = get_activation("relu_squared")
        torch.testing.assert_close(square[0], squared.mean(m, std.square()), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(square[1], std * squared.gate(m, std.square()), rtol=1e-11, atol=1e-11)


def test_error_falls_like_one_over_the_root_of_the_width():
    layer = layer_of(LowRank())
    x = torch.randn(8, 5, dtype=torch.float64)
    products = [width * deviations(layer, x, width, 300)[0].mean().item() for width in (30, 300, 3000)]
    assert max(products) <= 1.25 * min(products)


def test_antithetic_neurons_cancel_what_is_odd():
    layer = layer_of(Diagonal(), "identity")
    x = torch.randn(6, 5, dtype=torch.float64)
    with torch.no_grad():
        layer.coupling.zero_()  # then ω f(z) is linear in the noise
    net = convert.gm_to_mlp(layer, 6, antithetic=True)
    torch.testing.assert_close(net(x), layer(x), rtol=1e-12, atol=1e-12)
    relu = layer_of(LowRank())
    plain, pairs = (deviations(relu, x, 60, 300, antithetic=a)[0].mean() for a in (False, True))
    assert pairs < plain


def test_width_for_an_accuracy():
    layer = layer_of(LowRank())
    x = torch.randn(20, 5, dtype=torch.float64)
    width = convert.width_for(layer, x, 0.1)
    squares, _ = deviations(layer, x, width, 300)
    assert squares.mean().sqrt().item() == pytest.approx(0.1, rel=0.15)
    assert convert.width_for(layer, x, 1e9) == 3


def test_one_component_without_noise_is_its_neuron(dtype):
    layer = GMLayer(5, 2, 1, covariance=LowRank(0), dtype=dtype)
    with torch.no_grad():
        layer.std.zero_()
    x = torch.randn(7, 5, dtype=dtype)
    net = convert.gm_to_mlp(layer, 1)
    torch.testing.assert_close(net(x), layer(x), rtol=1e-5, atol=1e-5)
    assert net[0].weight.dtype == dtype
    assert all(p.requires_grad for p in net.parameters())


def test_same_generator_same_network():
    layer = layer_of(SharedFactor(2))
    one, other = (convert.gm_to_mlp(layer, 9, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_own_activations_and_batch_shapes():
    own = Activation(torch.sin, get_activation("sin").mean, get_activation("sin").gate)
    layer = layer_of(LowRank(), own)
    net = convert.gm_to_mlp(layer, 5)
    assert isinstance(net[1], convert.Pointwise)
    assert isinstance(convert.gm_to_mlp(layer_of(LowRank(), "gelu"), 5)[1], nn.GELU)
    for rows in [(), (0,), (2, 3)]:
        x = torch.randn(*rows, 5, dtype=torch.float64)
        assert net(x).shape == (*rows, 2)
        assert convert.sampling_variance(layer, x).shape == (*rows, 2)


def test_refusals():
    layer = layer_of(LowRank())
    with pytest.raises(ValueError, match="width must be at least 1 neuron for each of 3 components, got 2"):
        convert.gm_to_mlp(layer, 2)
    with pytest.raises(ValueError, match="width must be at least 2 neurons for each of 3 components, got 5"):
        convert.gm_to_mlp(layer, 5, antithetic=True)
    with pytest.raises(ValueError, match="come in pairs, got a width of 7"):
        convert.gm_to_mlp(layer, 7, antithetic=True)
    with pytest.raises(TypeError, match="width"):
        convert.gm_to_mlp(layer, 2.5)
    with pytest.raises(ValueError, match=r"expected an input of shape \(..., 5\), got \(3, 4\)"):
        convert.sampling_variance(layer, torch.randn(3, 4, dtype=torch.float64))
    x = torch.randn(3, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match="error must be positive and finite, got 0"):
        convert.width_for(layer, x, 0)
    with pytest.raises(ValueError, match="at least one input is needed"):
        convert.width_for(layer, x[:0], 0.1)


def test_only_layers_are_sampled():
    net, x = torch.nn.Linear(3, 2), torch.zeros(1, 3)
    with pytest.raises(TypeError, match="gm_to_mlp: layer must be a GMLayer, got Linear"):
        convert.gm_to_mlp(net, 10)
    with pytest.raises(TypeError, match="sampling_variance: layer must be a GMLayer, got Linear"):
        convert.sampling_variance(net, x)
    with pytest.raises(TypeError, match="width_for: layer must be a GMLayer, got Linear"):
        convert.width_for(net, x, 0.1)
