"""Theorem 1 of Chewi, Rigollet and Yan (2025): both sides along the flow, with the factor K and nothing else."""

import math

import pytest
import torch
from torch.nn import functional as F

from gmlayers.flows import Covariances, Roots, Supervised, euler, flow, hermite_nodes, velocity
from gmlayers.functional import bures, gm_layer

OUT, IN, ROWS = 2, 2, 5


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = randn(ROWS, IN, seed=1), randn(ROWS, OUT, seed=2)


def half_square(h, y):
    return 0.5 * (h - y).square().sum(1).mean()


LOSS = Supervised(X, Y, half_square)


def start(K, q=OUT + IN):
    return Roots(randn(K, OUT + IN, seed=3), 0.7 * randn(K, OUT + IN, q, seed=4))


def density(t):
    return math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


def below(t):
    return 0.5 * math.erfc(-t / math.sqrt(2))


def wasserstein_side(mean, cov):
    """The means of ∇δF and ∇²δF over each Gaussian, for δF(ω, β) = E⟨δ(x), ω⟩ relu⟨β, x⟩: loops and scalars."""
    K = len(mean)
    gradients, hessians = torch.zeros_like(mean), torch.zeros_like(cov)
    moments = {}
    for n in range(ROWS):
        for k in range(K):
            m = float(mean[k, OUT:] @ X[n])
            s = math.sqrt(float(X[n] @ cov[k, OUT:, OUT:] @ X[n]))
            moments[n, k] = m, s, m * below(m / s) + s * density(m / s), below(m / s), density(m / s) / s
    for n in range(ROWS):
        h = torch.zeros(OUT, dtype=torch.float64)
        for k in range(K):
            _, _, g, gate, _ = moments[n, k]
            h += (g * mean[k, :OUT] + gate * cov[k, :OUT, OUT:] @ X[n]) / K
        delta = (h - Y[n]) / ROWS
        for k in range(K):
            m, s, g, gate, lam = moments[n, k]
            cross = cov[k, :OUT, OUT:] @ X[n]
            gradients[k, :OUT] += delta * g
            gradients[k, OUT:] += delta @ (mean[k, :OUT] * gate + cross * lam) * X[n]
            block = gate * torch.outer(delta, X[n])
            hessians[k, :OUT, OUT:] += block
            hessians[k, OUT:, :OUT] += block.T
            curve = delta @ (mean[k, :OUT] - cross * m / s**2) * lam
            hessians[k, OUT:, OUT:] += curve * torch.outer(X[n], X[n])
    return gradients, hessians


def euclidean_side(mean, root):
    """The gradient of the loss in (μ, C), by autograd through the layer's formula."""
    mean, root = mean.clone().requires_grad_(), root.clone().requires_grad_()
    h = gm_layer(X, mean[:, OUT:], root[:, OUT:], mean[:, :OUT], root[:, :OUT])
    return torch.autograd.grad(half_square(h, Y), (mean, root))


def runge_kutta(field, state, step, steps):
    for _ in range(steps):
        a = field(*state)
        b = field(*(s + step / 2 * v for s, v in zip(state, a)))
        c = field(*(s + step / 2 * v for s, v in zip(state, b)))
        d = field(*(s + step * v for s, v in zip(state, c)))
        state = [s + step / 6 * (a + 2 * b + 2 * c + d) for s, a, b, c, d in zip(state, a, b, c, d)]
    return state


@pytest.mark.parametrize("K", [1, 3])
def test_both_sides_agree_along_the_flow_with_the_factor_k(K):
    first = start(K)

    def wasserstein(mean, cov):
        gradients, H = wasserstein_side(mean, cov)
        return -gradients, -(H @ cov + cov @ H)

    def euclidean(mean, root):
        return [-K * g for g in euclidean_side(mean, root)]

    def apart(step, steps):
        mean, root = runge_kutta(euclidean, [first.mean, first.root], step, steps)
        mean2, cov2 = runge_kutta(wasserstein, [first.mean, first.cov], step, steps)
        return max(float((mean - mean2).abs().max()), float((root @ root.mT - cov2).abs().max()))

    moved = runge_kutta(euclidean, [first.mean, first.root], 0.05, 20)
    assert (moved[0] - first.mean).abs().max() > 0.1
    coarse, fine = apart(0.05, 20), apart(0.025, 40)
    assert fine < 1e-6
    assert coarse / fine > 2**3.5  # it is the error of the integrator, of order 4, and nothing else


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("kind", [Roots, Covariances])
def test_the_velocity_is_that_of_the_theorem(K, kind):
    first = start(K)
    gradients, H = wasserstein_side(first.mean, first.cov)
    found = velocity(LOSS, first if kind is Roots else Covariances(first.mean, first.cov))
    torch.testing.assert_close(found.mean, -gradients, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.spread, -H @ first.root if kind is Roots else -H, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("coordinates", ["roots", "covariances"])
def test_the_flow_of_the_library_is_the_flow_of_the_theorem(coordinates):
    K, step, steps = 3, 0.025, 40
    first = start(K)

    def wasserstein(mean, cov):
        gradients, H = wasserstein_side(mean, cov)
        return -gradients, -(H @ cov + cov @ H)

    begin = first if coordinates == "roots" else Covariances(first.mean, first.cov)
    *_, last = flow(LOSS, begin, step=step, steps=steps)
    mean, cov = runge_kutta(wasserstein, [first.mean, first.cov], step, steps)
    torch.testing.assert_close(last.mixture.mean, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(last.mixture.cov, cov, rtol=0, atol=1e-6)


def test_outputs_are_those_of_the_layer():
    m = start(3)
    expected = gm_layer(X, m.mean[:, OUT:], m.root[:, OUT:], m.mean[:, :OUT], m.root[:, :OUT])
    torch.testing.assert_close(LOSS.outputs(m), expected, rtol=1e-12, atol=1e-12)


def test_one_gaussian_follows_the_wasserstein_gradient_seen_from_the_gaussians():
    """Of all affine fields the one nearest to −∇δF in mean square over the Gaussian, by a regression on quadrature."""
    m = start(1)
    delta = (LOSS.outputs(m) - Y) / ROWS
    nodes, weight = hermite_nodes(OUT + IN, 24)
    points = m.mean[0] + nodes @ m.root[0].T
    omega, beta = points.split([OUT, IN], 1)
    z = beta @ X.T
    field = torch.cat([z.relu() @ delta, ((omega @ delta.T) * (z > 0)) @ X], 1)
    away, D = points - m.mean[0], OUT + IN
    pairs = [(i, j) for i in range(D) for j in range(i, D)]
    columns = []
    for i, j in pairs:  # symmetric matrices: the gradients of quadratic functions
        S = torch.zeros(D, D, dtype=torch.float64)
        S[i, j] = S[j, i] = 1
        columns.append((away @ S).flatten())
    for i in range(D):
        columns.append(torch.eye(D, dtype=torch.float64)[i].expand_as(away).flatten())
    scale = weight.sqrt().repeat_interleave(D)
    solution = torch.linalg.lstsq(torch.stack(columns, 1) * scale[:, None], -(field.flatten() * scale)).solution
    found = velocity(LOSS, Covariances(m.mean, m.cov))
    torch.testing.assert_close(found.mean[0], solution[len(pairs) :], rtol=0, atol=5e-3)
    for (i, j), value in zip(pairs, solution):
        assert abs(float(found.spread[0, i, j] - value)) < 5e-3  # the field has kinks, quadrature converges slowly


def test_one_gaussian_follows_minimising_movements():
    """A short step goes where F + W2²/2η is least, up to order η² (Jordan, Kinderlehrer and Otto 1998)."""
    m = start(1)
    apart = []
    for step in (0.02, 0.01):
        mean, root = m.mean.clone().requires_grad_(), m.root.clone().contiguous().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [mean, root], max_iter=300, tolerance_grad=1e-11, tolerance_change=1e-15, line_search_fn="strong_wolfe"
        )

        def closure(mean=mean, root=root, step=step, optimizer=optimizer):
            optimizer.zero_grad()
            distance = bures.distance_squared(mean, root @ root.mT, m.mean, m.cov)[0]
            value = LOSS(Roots(mean, root)) + distance / (2 * step)
            value.backward()
            return value

        optimizer.step(closure)
        taken = euler(LOSS, m, step)
        with torch.no_grad():
            apart.append(float(bures.distance(mean, root @ root.mT, taken.mean, taken.cov)))
    assert apart[0] / apart[1] == pytest.approx(4, rel=0.15)


def test_descent_of_a_layer_at_rates_times_k_is_the_flow():
    """SGD on the mean-field layer of K components with rate K · η takes the step η of the flow, and so does a net."""
    K, step = 3, 0.1
    m = start(K)
    taken = euler(LOSS, m, step)
    gradients = euclidean_side(m.mean, m.root)
    torch.testing.assert_close(taken.mean, m.mean - K * step * gradients[0])
    torch.testing.assert_close(taken.root, m.root - K * step * gradients[1])

    particles = Roots.particles(m.mean)
    omega, beta = m.mean.split([OUT, IN], 1)
    omega, beta = omega.clone().requires_grad_(), beta.clone().requires_grad_()
    F.relu(X @ beta.T).matmul(omega / K).sub(Y).square().sum(1).mean().mul(0.5).backward()
    expected = m.mean - K * step * torch.cat([omega.grad, beta.grad], 1)
    torch.testing.assert_close(euler(LOSS, particles, step).mean, expected, rtol=1e-6, atol=1e-6)


def test_own_noise_of_the_output_weight_moves_the_law():
    """Without it in the root, as in every family of the layer, there is none later; with it β feels it."""
    m = start(2)
    omega_noise = torch.zeros(2, OUT + IN, OUT, dtype=torch.float64)
    omega_noise[:, :OUT] = torch.eye(OUT)
    noisy = Roots(m.mean, torch.cat([m.root, omega_noise], 2))
    torch.testing.assert_close(LOSS.outputs(noisy), LOSS.outputs(m))
    quiet, loud = velocity(LOSS, m), velocity(LOSS, noisy)
    torch.testing.assert_close(quiet.spread, loud.spread[:, :, : OUT + IN])
    assert loud.spread[:, OUT:, OUT + IN :].abs().max() > 1e-3
