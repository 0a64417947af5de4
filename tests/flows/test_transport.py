"""Optimal transport between mixtures."""

import itertools
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gmlayers.flows import Covariances, Roots
from gmlayers.flows.transport import mixture_distance, optimal_plan
from gmlayers.functional import bures

seeds = st.integers(0, 2**31)


def mixture(K, d=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    mean, root = torch.randn(K, d, generator=g).double(), torch.randn(K, d, d, generator=g).double()
    return Roots(mean, root, torch.randn(K, generator=g).double().softmax(0))


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_the_plan_is_the_optimum_of_the_linear_program(seed, K, L):
    one, other = mixture(K, seed=seed), mixture(L, seed=seed + 1)
    cost = torch.rand(K, L, generator=torch.Generator().manual_seed(seed)).double()
    plan = optimal_plan(one.weight, other.weight, cost)
    torch.testing.assert_close(plan.sum(1), one.weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(plan.sum(0), other.weight, rtol=0, atol=1e-12)
    assert plan.min() >= 0
    rows = torch.kron(torch.eye(K).double(), torch.ones(1, L).double())
    columns = torch.kron(torch.ones(1, K).double(), torch.eye(L).double())
    best = linprog(
        cost.flatten().numpy(),
        A_eq=torch.cat([rows, columns]).numpy(),
        b_eq=torch.cat([one.weight, other.weight]).numpy(),
    )
    assert float((plan * cost).sum()) == pytest.approx(best.fun, abs=1e-8)


def test_the_distance_takes_that_of_every_pair():
    one, other = mixture(3), mixture(2, seed=5)
    distance, plan = mixture_distance(one, other)
    total = 0.0
    for k, j in itertools.product(range(3), range(2)):
        total += plan[k, j] * bures.distance_squared(one.mean[k], one.cov[k], other.mean[j], other.cov[j])
    assert float(distance) == pytest.approx(math.sqrt(total))
    again = mixture_distance(Covariances(one.mean, one.cov, one.weight), other)
    torch.testing.assert_close(again.distance, distance)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_it_is_a_metric(seed):
    a, b, c = (mixture(K, seed=seed + i) for i, K in enumerate((2, 3, 4)))

    def d(one, other):
        return float(mixture_distance(one, other).distance)

    assert d(a, a) == pytest.approx(0, abs=1e-7)
    assert d(a, b) == pytest.approx(d(b, a))
    assert d(a, c) <= d(a, b) + d(b, c) + 1e-12


def test_particles_on_the_line_are_sorted():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 1, generator=g).double(), torch.randn(40, 1, generator=g).double()
    expected = (a.sort(0).values - b.sort(0).values).square().mean().sqrt()
    torch.testing.assert_close(mixture_distance(Roots.particles(a), Roots.particles(b)).distance, expected)


def test_the_gradient_is_that_of_the_optimum():
    one, other = mixture(3), mixture(2, seed=5)
    leaf = one.mean.clone().requires_grad_()
    mixture_distance(Roots(leaf, one.root, one.weight), other).distance.backward()
    step = 1e-6
    for k, i in itertools.product(range(3), range(2)):
        ahead, behind = one.mean.clone(), one.mean.clone()
        ahead[k, i] += step
        behind[k, i] -= step
        two = [float(mixture_distance(Roots(m, one.root, one.weight), other).distance) for m in (ahead, behind)]
        assert float(leaf.grad[k, i]) == pytest.approx((two[0] - two[1]) / (2 * step), abs=1e-7)
    same = one.mean.clone().requires_grad_()
    mixture_distance(Roots.particles(same), Roots.particles(one.mean)).distance.backward()
    assert same.grad.abs().max() == 0


def test_the_gradient_in_the_weights_is_that_of_the_optimum():
    one, other, step = mixture(3), mixture(2, seed=5), 1e-6
    weight = one.weight.clone().requires_grad_()
    mixture_distance(Roots(one.mean, one.root, weight), other).distance.backward()
    for k in range(2):
        shift = torch.zeros(3).double()
        shift[k], shift[2] = step, -step
        two = [
            float(mixture_distance(Roots(one.mean, one.root, one.weight + sign * shift), other).distance)
            for sign in (1, -1)
        ]
        assert float(weight.grad[k] - weight.grad[2]) == pytest.approx((two[0] - two[1]) / (2 * step), rel=1e-5)


def test_float32():
    one, other = Roots.particles(torch.rand(4, 2)), Roots.particles(torch.rand(3, 2))
    distance, plan = mixture_distance(one, other)
    assert distance.dtype == plan.dtype == torch.float32


@pytest.mark.parametrize(
    ("weights", "cost", "message"),
    [
        (
            ([0.5, 0.5], [1.0]),
            torch.zeros(1, 2),
            r"must be \(K,\), \(L,\) and \(K, L\), got \(2,\), \(1,\) and \(1, 2\)",
        ),
        (([0.5, 0.5], [1.0]), torch.full((2, 1), math.nan), "the cost is not finite"),
        (([1.5, -0.5], [1.0]), torch.zeros(2, 1), "minimum -0.5 and sums 1 and 1"),
        (([0.5, 0.5], [2.0]), torch.zeros(2, 1), "sums 1 and 2"),
        (([], []), torch.zeros(0, 0), r"got \(0,\)"),
    ],
)
def test_bad_input(weights, cost, message):
    with pytest.raises(ValueError, match=message):
        optimal_plan(*map(torch.tensor, weights), cost)


def test_mixtures_of_other_dimensions_and_a_missing_library(monkeypatch):
    with pytest.raises(ValueError, match="as many dimensions each, got 2 and 3"):
        mixture_distance(mixture(2), mixture(2, d=3))
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"POT; install it from a clone of gmlayers: pip install '\.\[transport\]'"):
        mixture_distance(mixture(2), mixture(2))
