import itertools
import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers import GMLayer, LowRank
from gmlayers.diagnostics import (
    NeuronMixture,
    _distance,
    component_displacements,
    displacement,
    marginal,
    neurons,
    transport,
)


def root(S):
    values, vectors = torch.linalg.eigh(S)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T


def bures_squared(S, T):
    """Tr S + tr T - 2 tr (S^½ T S^½)^½, as it is written."""
    return S.trace() + T.trace() - 2 * root(root(S) @ T @ root(S)).trace()


def dense_squared(before, after, k, other):
    S, T = (torch.diag(m.var[i]) + m.factor[i] @ m.factor[i].T for m, i in ((before, k), (after, other)))
    return (before.mean[k] - after.mean[other]).square().sum() + bures_squared(S, T)


def random_mixture(K, d, r, isotropic, singular, generator):
    draw = {"dtype": torch.float64, "generator": generator}
    var = torch.rand(K, 1 if isotropic else d, **draw).expand(K, d) * (not singular)
    return NeuronMixture(
        torch.full((K,), 1 / K, dtype=torch.float64), torch.randn(K, d, **draw), var, torch.randn(K, d, r, **draw)
    )


sizes = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(0, 5), st.integers(0, 5))


@given(sizes, st.tuples(st.booleans(), st.booleans()), st.tuples(st.booleans(), st.booleans()), st.integers(0, 2**31))
def test_every_structure_equals_the_dense_formula(size, isotropic, singular, seed):
    K, d, r, r2 = size
    g = torch.Generator().manual_seed(seed)
    before = random_mixture(K, d, r, isotropic[0], singular[0], g)
    after = random_mixture(K, d, r2, isotropic[1], singular[1], g)
    expected = torch.stack([dense_squared(before, after, k, k) for k in range(K)])
    found = component_displacements(before, after)
    scale = 1 + before.factor.square().sum() + after.factor.square().sum()
    torch.testing.assert_close(found.square(), expected, rtol=1e-9, atol=1e-7 * float(scale))
    torch.testing.assert_close(component_displacements(after, before), found, rtol=1e-9, atol=1e-7)  # symmetry


def test_isotropic_with_low_rank_in_many_dimensions_is_the_dense_formula(mixture):
    before, after = mixture(3, 60, 2, isotropic=True), mixture(3, 60, 1, isotropic=True)
    expected = torch.stack([dense_squared(before, after, k, k) for k in range(3)])
    torch.testing.assert_close(component_displacements(before, after).square(), expected, rtol=1e-10, atol=1e-10)


def test_components_one_at_a_time(mixture, monkeypatch):
    before, after = mixture(5, 6, 1), mixture(5, 6, 2)
    expected = component_displacements(before, after)
    for entries in (1, 2 * 8**2):
        monkeypatch.setattr(_distance, "_ENTRIES", entries)
        torch.testing.assert_close(component_displacements(before, after), expected)


def test_factors_that_span_less_than_their_columns(mixture):
    """The basis of the span must be orthonormal where the factors are dependent, equal or zero."""
    m = mixture(3, 9, 2, isotropic=True)
    factor = m.factor.clone()
    factor[0] = 0
    factor[1, :, 1] = factor[1, :, 0]
    one, other = NeuronMixture(m.weight, m.mean, m.var, factor), NeuronMixture(m.weight, -m.mean, 2 * m.var, 3 * factor)
    expected = torch.stack([dense_squared(one, other, k, k) for k in range(3)])
    torch.testing.assert_close(component_displacements(one, other).square(), expected, rtol=1e-7, atol=1e-7)


def test_diagonal_loop():
    """W₂² = Σ (μ - μ')² + (|σ| - |σ'|)², entry by entry."""
    one, other = (GMLayer(4, 2, 3, covariance="diagonal", dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        one.std.normal_(), other.std.normal_()
    one, other = one.requires_grad_(False), other.requires_grad_(False)
    found = component_displacements(marginal(one), marginal(other))
    total = 0.0
    for k in range(3):
        squared = 0.0
        for i in range(4):
            squared += float(one.mean[k, i] - other.mean[k, i]) ** 2
            squared += (abs(float(one.std[k, i])) - abs(float(other.std[k, i]))) ** 2
        assert float(found[k]) == pytest.approx(math.sqrt(squared), rel=1e-13)
        total += squared / 3
    assert float(displacement(marginal(one), marginal(other))) == pytest.approx(math.sqrt(total), rel=1e-13)


def test_the_optimal_map_costs_the_distance(mixture, covariance):
    """E |X - TX|² by Monte Carlo, with T = S^-½ (S^½ S' S^½)^½ S^-½, which carries N(0, S) to N(0, S')."""
    before, after = mixture(1, 4, 1), mixture(1, 4, 2)
    S, target = covariance(before)[0], covariance(after)[0]
    half = root(S)
    T = torch.linalg.inv(half) @ root(half @ target @ half) @ torch.linalg.inv(half)
    torch.testing.assert_close(T @ S @ T.T, target)
    X = torch.randn(100_000, 4, dtype=torch.float64) @ half
    cost = (before.mean[0] + X - after.mean[0] - X @ T.T).square().sum(1)
    error = cost.std() / math.sqrt(len(cost))
    assert (component_displacements(before, after).square() - cost.mean()).abs() <= 5 * error


def test_one_dimension_by_quantiles(mixture, covariance):
    """W₂² = ∫ (Q - Q')² of the quantile functions; a factor is then one more variance."""
    before, after = mixture(2, 1, 1), mixture(2, 1, 2)
    level = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    z = torch.special.ndtri(level)
    for k in range(2):
        q, q2 = (m.mean[k, 0] + covariance(m)[k, 0, 0].sqrt() * z for m in (before, after))
        found = component_displacements(before, after)[k].square()
        torch.testing.assert_close(found, (q - q2).square().mean(), rtol=1e-4, atol=1e-6)


def test_bound_of_the_distance_between_mixtures(mixture, sample):
    """On the line W₂ is that of the sorted samples; MW₂ is between it and the displacement."""
    before, after = mixture(3, 1, 1), mixture(3, 1, 1)
    a, b = (sample(m, 100_000)[:, 0].sort().values for m in (before, after))
    true = float((a - b).square().mean().sqrt())
    assert true <= float(transport(before, after).distance) + 0.02
    assert transport(before, after).distance <= displacement(before, after) * (1 + 1e-12)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("r", [0, 1, 3])
def test_zero_for_equal_and_only_then(mixture, r, isotropic):
    m = mixture(3, 8, r, isotropic=isotropic)
    assert float(displacement(m, m)) <= 1e-13
    for part in ("mean", "var", "factor")[: 2 + (r > 0)]:
        moved = {name: getattr(m, name).clone() for name in ("weight", "mean", "var", "factor")}
        moved[part][1] *= 1 + 1e-6
        found = component_displacements(m, NeuronMixture(**moved))
        assert 1e-7 <= float(found[1]) <= 1e-5  # small distances do not drown in rounding
        assert found[[0, 2]].max() <= 1e-13


@pytest.mark.parametrize("family", [LowRank(), LowRank(2, "diagonal"), "diagonal"], ids=str)
def test_the_signs_of_stds_and_factors_and_rotations_do_not_matter(family, dtype):
    layer = GMLayer(6, 2, 3, covariance=family, dtype=dtype)
    with torch.no_grad():
        layer.std.normal_()
    start = marginal(layer)
    with torch.no_grad():
        layer.std.neg_()
        if "factor" in dict(layer.named_parameters()):
            rank = layer.factor.shape[1]
            layer.factor.copy_(torch.linalg.qr(torch.randn(rank, rank, dtype=dtype)).Q @ layer.factor)
    assert float(displacement(start, marginal(layer))) <= 1e-6
    assert displacement(start, marginal(layer)).dtype == dtype


def test_triangle_inequality(mixture):
    for r in (0, 2):
        a, b, c = (mixture(4, 5, r) for _ in range(3))
        for distance in (displacement, lambda a, b: transport(a, b).distance):
            assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_weights_enter_the_displacement(mixture):
    weight = torch.tensor([0.2, 0.8], dtype=torch.float64)
    before, after = mixture(2, 3, 1, weight=weight), mixture(2, 3, 1, weight=weight)
    one, two = component_displacements(before, after).tolist()
    assert float(displacement(before, after)) == pytest.approx(math.sqrt(0.2 * one**2 + 0.8 * two**2))


@pytest.mark.parametrize(
    ("K", "d", "r", "isotropic"), [(4, 3, 0, False), (4, 6, 1, True), (3, 4, 2, False), (1, 1, 1, 1)]
)
def test_transport_is_the_best_of_all_permutations(mixture, K, d, r, isotropic):
    before, after = mixture(K, d, r, isotropic=isotropic), mixture(K, d, r, isotropic=isotropic)
    best, matching = min(
        (sum(float(dense_squared(before, after, k, p[k])) for k in range(K)) / K, p)
        for p in itertools.permutations(range(K))
    )
    distance, plan = transport(before, after)
    assert float(distance) == pytest.approx(math.sqrt(best), rel=1e-6)
    assert tuple(plan.argmax(1).tolist()) == matching
    torch.testing.assert_close(K * plan.amax(1), torch.ones(K, dtype=plan.dtype))


def test_transport_does_not_see_the_order(mixture):
    before, after = mixture(5, 4, 1, isotropic=True), mixture(5, 4, 1, isotropic=True)
    order = torch.randperm(5)
    shuffled = NeuronMixture(after.weight, after.mean[order], after.var[order], after.factor[order])
    torch.testing.assert_close(transport(before, shuffled).distance, transport(before, after).distance)
    torch.testing.assert_close(transport(after, before).distance, transport(before, after).distance)
    distance, plan = transport(after, shuffled)
    assert float(distance) <= 1e-13
    assert torch.equal(order[plan.argmax(1)], torch.arange(5))


def test_transport_of_neurons_on_the_line_is_sorting(dtype):
    a, b = torch.randn(30, 1, dtype=dtype), torch.randn(30, 1, dtype=dtype)
    expected = (a.sort(0).values - b.sort(0).values).square().mean().sqrt()
    torch.testing.assert_close(transport(neurons(a), neurons(b)).distance, expected)


def test_float32_is_as_good_as_its_input(mixture):
    before, after = mixture(3, 8, 1, dtype=torch.float32), mixture(3, 8, 1, dtype=torch.float32)
    wide = [
        NeuronMixture(m.weight.double(), m.mean.double(), m.var.double(), m.factor.double()) for m in (before, after)
    ]
    assert torch.equal(component_displacements(before, after), component_displacements(*wide).float())


def test_refusals(mixture, monkeypatch):
    for function in (component_displacements, displacement):
        with pytest.raises(ValueError, match=rf"{function.__name__}: .*got means of shape \(3, 4\) and \(2, 4\)"):
            function(mixture(3, 4, 1), mixture(2, 4, 1))
    uneven = mixture(2, 4, 1, weight=torch.tensor([0.2, 0.8], dtype=torch.float64))
    with pytest.raises(
        ValueError, match="displacement: the weights of the mixtures must be equal, they differ by up to 0.3"
    ):
        displacement(mixture(2, 4, 1), uneven)
    assert component_displacements(mixture(2, 4, 1), uneven).shape == (2,)
    with pytest.raises(ValueError, match="transport: the mixtures must have as many dimensions each, got 4 and 5"):
        transport(mixture(2, 4, 1), mixture(2, 5, 1))
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"needs POT; install it .* pip install '\.\[transport\]'"):
        transport(mixture(2, 4, 1), mixture(2, 4, 1))


def test_transport_splits_components_where_weights_differ(mixture):
    whole = mixture(1, 4, 1)
    halves = NeuronMixture(
        torch.tensor([0.25, 0.75], dtype=torch.float64),
        *(t.expand(2, *t.shape[1:]) for t in (whole.mean, whole.var, whole.factor)),
    )
    distance, plan = transport(halves, whole)
    assert float(distance) <= 1e-13
    assert plan[:, 0].tolist() == [0.25, 0.75]
