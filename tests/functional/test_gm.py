import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.functional import ACTIVATIONS, VARIANCE_FLOOR, gm_layer, quadrature


def law(K, d, out, q, dtype=torch.float64):
    """A random mean, root, output mean and output root."""
    shapes = (K, d), (K, d, q), (K, out), (K, out, q)
    return [torch.randn(*shape, dtype=dtype) for shape in shapes]


def paper_law(mean, std, slope, intercept):
    """(μ, σ, U, v) as a root."""
    output_mean = torch.einsum("koi,ki->ko", slope, mean) + intercept
    return mean, torch.diag_embed(std), output_mean, slope * std[:, None, :]


def test_equals_a_transcription_of_the_papers_equation_6():
    """h(x) = 1/K Σ_k E_{β ~ N(μ_k, diag σ_k²)} [(U_k β + v_k) ReLU(⟨β, x⟩)], loop by loop, by Monte Carlo."""
    K, d, out, n = 3, 4, 2, 40_000
    mean, std = torch.randn(K, d, dtype=torch.float64), torch.rand(K, d, dtype=torch.float64) + 0.2
    slope, intercept = torch.randn(K, out, d, dtype=torch.float64), torch.randn(K, out, dtype=torch.float64)
    x = torch.randn(5, d, dtype=torch.float64)
    h = gm_layer(x, *paper_law(mean, std, slope, intercept))
    for b in range(len(x)):
        total, variance = torch.zeros(out, dtype=torch.float64), torch.zeros(out, dtype=torch.float64)
        for k in range(K):
            beta = mean[k] + std[k] * torch.randn(n, d, dtype=torch.float64)
            sample = (beta @ slope[k].T + intercept[k]) * torch.relu(beta @ x[b])[:, None]
            total += sample.mean(0) / K
            variance += sample.var(0) / n / K**2
        assert ((h[b] - total).abs() <= 5 * variance.sqrt()).all()


def test_equals_a_loop_over_components_of_the_closed_form():
    """h = 1/K Σ g (Uμ + v) + Φ(t) U (σ² ⊙ x), with the textbook g, entry by entry."""
    K, d, out = 3, 5, 2
    mean, std = torch.randn(K, d, dtype=torch.float64), torch.randn(K, d, dtype=torch.float64)
    slope, intercept = torch.randn(K, out, d, dtype=torch.float64), torch.randn(K, out, dtype=torch.float64)
    x = torch.randn(4, d, dtype=torch.float64)
    h = gm_layer(x, *paper_law(mean, std, slope, intercept))
    for b in range(4):
        for o in range(out):
            total = 0.0
            for k in range(K):
                m = sum(float(mean[k, i] * x[b, i]) for i in range(d))
                s = math.sqrt(sum(float(std[k, i] * x[b, i]) ** 2 for i in range(d)) + VARIANCE_FLOOR)
                phi = math.exp(-((m / s) ** 2) / 2) / math.sqrt(2 * math.pi)
                Phi = math.erfc(-m / s / math.sqrt(2)) / 2
                g = m * Phi + s * phi
                p = sum(float(slope[k, o, i] * mean[k, i]) for i in range(d)) + float(intercept[k, o])
                total += g * p + Phi * sum(float(slope[k, o, i] * std[k, i] ** 2 * x[b, i]) for i in range(d))
            assert h[b, o].item() == pytest.approx(total / K, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_equals_monte_carlo_over_neurons(name):
    K, d, out, q = 4, 3, 2, 5
    x, parts = 0.5 * torch.randn(6, d, dtype=torch.float64), law(K, d, out, q)
    bias, weight = torch.randn(K, dtype=torch.float64), torch.randn(K, dtype=torch.float64)
    estimate, error = quadrature.gm_layer_monte_carlo(x, *parts, name, bias=bias, weight=weight, samples=50_000)
    exact = gm_layer(x, *parts, name, bias=bias, weight=weight)
    assert ((exact - estimate).abs() <= 5 * error).all()


def test_bias_is_a_constant_feature_without_noise():
    x, (mean, root, output_mean, output_root) = torch.randn(6, 3, dtype=torch.float64), law(4, 3, 2, 5)
    bias = torch.randn(4, dtype=torch.float64)
    one = torch.ones(6, 1, dtype=torch.float64)
    wide = gm_layer(
        torch.cat([x, one], 1),
        torch.cat([mean, bias[:, None]], 1),
        torch.cat([root, torch.zeros(4, 1, 5, dtype=torch.float64)], 1),
        output_mean,
        output_root,
    )
    torch.testing.assert_close(gm_layer(x, mean, root, output_mean, output_root, bias=bias), wide, rtol=1e-13, atol=0)


def test_only_covariances_matter():
    """Rotating the noise ζ changes the root but not the law."""
    x, (mean, root, output_mean, output_root) = torch.randn(6, 3, dtype=torch.float64), law(4, 3, 2, 5)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    a = gm_layer(x, mean, root, output_mean, output_root)
    b = gm_layer(x, mean, root @ turn, output_mean, output_root @ turn)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_permutation_of_components():
    x, parts = torch.randn(6, 3, dtype=torch.float64), law(4, 3, 2, 5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(gm_layer(x, *parts), gm_layer(x, *(p[order] for p in parts)), rtol=1e-13, atol=1e-14)


@given(c=st.floats(1e-2, 1e3))
def test_homogeneity(c):
    """Without bias h(cx) = c h(x) for c > 0, as for a ReLU network; the variance floor does not bend it."""
    torch.manual_seed(0)
    x, parts = torch.randn(6, 3, dtype=torch.float64), law(4, 3, 2, 5)
    h = gm_layer(x, *parts)
    # bent by the floor at c = 1e-2: s² is of size 1e-4, and 1e-12 of that is 1e-8 relative
    torch.testing.assert_close(gm_layer(c * x, *parts), c * h, rtol=0, atol=1e-7 * c * h.abs().max().item())


@given(c=st.floats(0.1, 10))
def test_scale_invariance_of_the_papers_coordinates(c):
    """(μ, σ, U, v) -> (cμ, cσ, U/c², v/c) changes nothing."""
    mean, std = torch.randn(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    slope, intercept = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    x = torch.randn(5, 4, dtype=torch.float64)
    a = gm_layer(x, *paper_law(mean, std, slope, intercept))
    b = gm_layer(x, *paper_law(c * mean, c * std, slope / c**2, intercept / c))
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_no_noise_is_a_relu_network():
    x, (mean, _, output_mean, _) = torch.randn(6, 3, dtype=torch.float64), law(4, 3, 2, 5)
    nothing = torch.zeros(4, 3, 1, dtype=torch.float64), torch.zeros(4, 2, 1, dtype=torch.float64)
    h = gm_layer(x, mean, nothing[0], output_mean, nothing[1])
    torch.testing.assert_close(h, torch.relu(x @ mean.T) @ output_mean / 4, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["relu", "gelu", "sin"])
def test_gradcheck_and_gradgradcheck(name):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    parts = [p.requires_grad_() for p in law(2, 3, 2, 2)]

    def function(*arguments):
        return gm_layer(*arguments, name)

    assert torch.autograd.gradcheck(function, (x, *parts))
    assert torch.autograd.gradgradcheck(function, (x, *parts))


def test_gradients_equal_the_hand_derived_ones():
    """The formulas of the joint parametrisation, for one component and one output direction δ."""
    d, out = 4, 3
    mean, std = torch.randn(1, d, dtype=torch.float64), torch.rand(1, d, dtype=torch.float64) + 0.1
    slope, intercept = torch.randn(1, out, d, dtype=torch.float64), torch.randn(1, out, dtype=torch.float64)
    x, delta = torch.randn(d, dtype=torch.float64), torch.randn(out, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (mean, std, slope, intercept, x)]
    h = gm_layer(x, *paper_law(mean, std, slope, intercept))
    d_mean, d_std, d_slope, d_intercept, d_x = torch.autograd.grad(h @ delta, leaves)
    with torch.no_grad():
        mu, sigma, U, v = mean[0], std[0], slope[0], intercept[0]
        m, s = mu @ x, (sigma * x).norm()
        t = m / s
        phi = torch.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        Phi = torch.special.ndtr(t)
        g, lam = m * Phi + s * phi, phi / s
        r, noisy = U.T @ delta, sigma**2 * x
        alpha, b = delta @ (U @ mu + v), (U.T @ delta) @ noisy
        expected = [
            g * r + (Phi * alpha + lam * b) * x,
            2 * sigma * (0.5 * lam * (alpha - b * t / s) * x**2 + Phi * r * x),
            torch.outer(delta, g * mu + Phi * noisy),
            g * delta,
            (Phi * alpha + lam * b) * mu + lam * (alpha - b * t / s) * noisy + Phi * sigma**2 * r,
        ]
    for got, want in zip((d_mean[0], d_std[0], d_slope[0], d_intercept[0], d_x), expected):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)
