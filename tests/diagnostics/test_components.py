import math

import pytest
import torch

from gmlayers import GMLayer, LowRank
from gmlayers.diagnostics import clustering, effective_components, marginal, neurons
from gmlayers.functional import gm_layer

FAMILIES = [
    "low_rank",
    "shared_factor",
    "diagonal",
    "regression",
    LowRank(0),
    LowRank(2, "diagonal"),
    LowRank(2, coupling=True),
    "full",
]


def test_clustering_loop(dtype):
    rows = torch.randn(7, 3, dtype=dtype)
    total = 0.0
    for k in range(7):
        cosines = [float(rows[k] @ rows[j] / rows[k].norm() / rows[j].norm()) for j in range(7) if j != k]
        total += max(cosines) / 7
    found = clustering(neurons(rows))
    assert {t.dtype for t in found} == {dtype}
    assert float(found.nearest_cosine) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(("K", "d"), [(2, 3), (5, 1), (8, 2), (30, 3), (20, 10), (100, 784)])
def test_expectation_by_monte_carlo(K, d):
    """Of whole draws of K directions, so that the independence that the formula claims is tested as well."""
    draws = torch.stack(
        [clustering(neurons(torch.randn(K, d, dtype=torch.float64))).nearest_cosine for _ in range(400)]
    )
    expected = clustering(neurons(torch.randn(K, d, dtype=torch.float64))).at_random
    assert (draws.mean() - expected).abs() <= 5 * draws.std() / math.sqrt(400) + 1e-9


@pytest.mark.parametrize("n", [1, 2, 5, 50, 999])
def test_expectation_in_closed_form(n):
    """On the line the cosines are signs, on the circle angles are uniform, on the sphere heights are."""
    t = torch.cos(math.pi * (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000)  # midpoints in the angle
    on_circle = 1 - ((1 - t.acos() / math.pi) ** n * (1 - t * t).sqrt()).mean() * math.pi
    for d, expected in ((1, 1 - 2.0 ** (1 - n)), (2, float(on_circle)), (3, (n - 1) / (n + 1))):
        found = clustering(neurons(torch.randn(n + 1, d, dtype=torch.float64))).at_random
        assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_expectation_in_very_many_dimensions():
    """√d · cosine tends to a normal, the larger of two to an expectation of 1/√π."""
    found = clustering(neurons(torch.randn(3, 100_000, dtype=torch.float64))).at_random
    assert float(found) * math.sqrt(100_000) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-4)


def test_clusters_are_seen_and_lengths_are_not():
    centres = torch.randn(4, 50, dtype=torch.float64)
    rows = centres.repeat(5, 1) + 0.01 * torch.randn(20, 50, dtype=torch.float64)
    tight, loose = clustering(neurons(rows)), clustering(neurons(torch.randn(20, 50, dtype=torch.float64)))
    assert tight.nearest_cosine > 0.99
    assert loose.nearest_cosine < 0.5
    for length in (1e-200, 1e200):
        torch.testing.assert_close(clustering(neurons(length * rows)), tight)
    lengths = torch.rand(20, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(clustering(neurons(lengths * rows)), tight)


def test_means_without_direction_are_left_out():
    rows = torch.randn(5, 3)
    torch.testing.assert_close(clustering(neurons(torch.cat([rows, torch.zeros(2, 3)]))), clustering(neurons(rows)))
    with pytest.raises(ValueError, match="at least two means must differ from 0, got 1 of 3"):
        clustering(neurons(torch.tensor([[0.0], [2.0], [0.0]])))
    with pytest.raises(ValueError, match="got 1 of 1"):
        clustering(marginal(GMLayer(3, 2, 1)))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("extras", [True, False])
@pytest.mark.parametrize(("d", "K"), [(4, 3), (1, 1)])
def test_effective_components_by_the_reference(family, extras, d, K, dtype):
    """Each contribution is that of the reference with all weights but one set to 0."""
    layer = GMLayer(d, 2, K, covariance=family, bias=extras, learn_weights=extras, activation="gelu", dtype=dtype)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))
    x = torch.randn(6, d, dtype=dtype)
    energy = []
    for k in range(K):
        weight = torch.zeros(K, dtype=dtype)
        weight[k] = layer.component_weight()[k].detach()
        h = gm_layer(x, *layer.root(), layer.activation, bias=layer.bias, weight=weight).detach()
        energy.append(sum(float(value) ** 2 for value in h.flatten()))
    expected = sum(energy) ** 2 / sum(e**2 for e in energy)
    found = effective_components(layer, x)
    assert found.dtype == dtype
    assert not found.requires_grad
    assert float(found) == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 1e-10)
    torch.testing.assert_close(effective_components(layer, x.reshape(2, 3, d)), found)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_effective_components_from_one_to_all(family):
    layer = GMLayer(4, 2, 5, covariance=family)
    x = torch.randn(6, 4)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(p[:1].clone().expand_as(p))
    assert float(effective_components(layer, x)) == pytest.approx(5, rel=1e-5)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            if name in ("output_mean", "output_factor", "coupling", "slope", "intercept"):
                p[2:] = 0
    assert float(effective_components(layer, x)) == pytest.approx(2, rel=1e-5)


def test_a_silent_component_does_not_count():
    """Its parameters are as large as the others', but on these inputs it does not fire."""
    layer = GMLayer(2, 1, 2, covariance=LowRank(0), bias=True, dtype=torch.float64)
    x = torch.randn(6, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.bias[0] = -50
    assert float(effective_components(layer, x)) == pytest.approx(1)


def test_effective_components_in_half_precision_and_under_autocast():
    layer, x = GMLayer(4, 2, 5), torch.randn(6, 4)
    expected = effective_components(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(effective_components(layer, x), expected)
    found = effective_components(layer.bfloat16(), x.bfloat16()).float()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0)


def test_effective_components_refusals():
    layer = GMLayer(4, 2, 3, init_scale=0)
    assert effective_components(layer, torch.randn(6, 4)).isnan()
    with pytest.raises(ValueError, match=r"effective_components: expected an input of shape \(..., 4\), got \(6, 5\)"):
        effective_components(layer, torch.randn(6, 5))
    with pytest.raises(ValueError, match=r"effective_components: expected at least one input, got shape \(0, 4\)"):
        effective_components(layer, torch.randn(0, 4))
