"""Flows with known answers; the theorem itself stands in test_theorem.py."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import flows
from gmlayers.flows import (
    Covariances,
    Divergence,
    KernelDiscrepancy,
    Quadratic,
    QuadraticInteraction,
    Regularised,
    Roots,
    euler,
    flow,
    forward_backward,
    hermite_nodes,
    random_nodes,
    rk4,
)
from gmlayers.functional import bures

seeds = st.integers(0, 2**31)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def precision(d, seed=0):
    root = randn(d, d, seed=seed)
    return root @ root.T / d + 0.3 * torch.eye(d, dtype=torch.float64)


def mixture(K=3, d=2, q=None, seed=0, weight=None):
    return Roots(randn(K, d, seed=seed), randn(K, d, d if q is None else q, seed=seed + 1), weight)


def simplex(K, seed=0):
    return randn(K, seed=seed).softmax(0)


def last(*args, **kwargs):
    *_, moment = flow(*args, **kwargs)
    return moment


def same(one, other, **tolerance):
    torch.testing.assert_close(one.mean, other.mean, **tolerance)
    torch.testing.assert_close(one.cov, other.cov, **tolerance)
    torch.testing.assert_close(one.weight, other.weight, **tolerance)


def in_covariances(m):
    return Covariances(m.mean, m.cov, m.weight)


# ---- functionals against their definitions -------------------------------------------------------------------------


def integral(f, m, order=12):
    """∫ f dρ by quadrature, component by component."""
    total = 0.0
    for k in range(len(m.mean)):
        nodes, weight = hermite_nodes(m.root.shape[2], order)
        for e, w in zip(nodes, weight):
            total = total + m.weight[k] * w * f(m.mean[k] + m.root[k] @ e)
    return total


def test_quadratic_is_its_integral():
    m, P, b = mixture(weight=simplex(3)), precision(2), randn(2, seed=9)
    torch.testing.assert_close(Quadratic(P, b)(m), integral(lambda x: 0.5 * (x - b) @ P @ (x - b), m, 3))


def test_interaction_is_its_double_integral():
    m, P = mixture(K=2, weight=simplex(2)), precision(2)
    expected = integral(lambda x: integral(lambda y: 0.25 * (x - y) @ P @ (x - y), m, 2), m, 2)
    torch.testing.assert_close(QuadraticInteraction(P)(m), expected)


def test_kernel_discrepancy_is_its_double_integral():
    m, target, h = mixture(K=2, d=1, seed=3), mixture(K=1, d=1, seed=7), 1.3

    def kernel(one, other):
        return integral(
            lambda x: integral(lambda y: torch.exp(-(x - y).square().sum() / (2 * h**2)), other, 40), one, 40
        )

    expected = 0.5 * (kernel(m, m) - 2 * kernel(m, target) + kernel(target, target))
    torch.testing.assert_close(KernelDiscrepancy(target, h)(m), expected, rtol=1e-8, atol=1e-10)


def test_log_density_is_that_of_torch():
    m, x = mixture(weight=simplex(3)), randn(5, 2, seed=5)
    normal = torch.distributions.MultivariateNormal(m.mean, m.cov)
    mix = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(m.weight), normal)
    torch.testing.assert_close(flows.log_density(m, x), mix.log_prob(x))


def test_divergence_of_one_gaussian_from_another_is_the_closed_form():
    m, P, b = mixture(K=1), precision(2), randn(2, seed=4)
    cov = torch.linalg.inv(P)
    target = torch.distributions.MultivariateNormal(b, cov)
    own = torch.distributions.MultivariateNormal(m.mean[0], m.cov[0])
    expected = torch.distributions.kl_divergence(own, target)

    def potential(x):
        return 0.5 * ((x - b) @ P * (x - b)).sum(-1)

    constant = math.log(2 * math.pi) + 0.5 * torch.linalg.slogdet(cov)[1]
    for F in (Divergence(potential, hermite_nodes(2, 2)), Regularised(Quadratic(P, b), 1.0)):
        torch.testing.assert_close(F(m) + constant, expected)


def test_the_mean_divergence_of_components_is_above_that_of_the_mixture():
    m, P, b = mixture(weight=simplex(3)), precision(2), randn(2, seed=4)
    exact = Divergence(lambda x: 0.5 * ((x - b) @ P * (x - b)).sum(-1), hermite_nodes(2, 30))
    assert Regularised(Quadratic(P, b), 1.0)(m) > exact(m)


@pytest.mark.parametrize("d", [1, 3])
def test_nodes_integrate_polynomials(d):
    points, weight = hermite_nodes(d, 3)
    torch.testing.assert_close(weight @ points[:, 0] ** 4, torch.tensor(3.0, dtype=torch.float64))
    points, weight = random_nodes(d, 4000, generator=torch.Generator().manual_seed(0))
    second = (weight[:, None] * points.square()).sum(0)
    assert ((second - 1).abs() < 5 * math.sqrt(2 / 2000)).all()
    assert (weight @ points).abs().max() < 1e-12


# ---- flows with known answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", [lambda m: m, in_covariances], ids=["roots", "covariances"])
def test_a_quadratic_potential_contracts_by_the_exponential(coordinates):
    m, P, b = mixture(weight=simplex(3)), precision(2), randn(2, seed=9)
    end = last(Quadratic(P, b), coordinates(m), step=0.005, steps=200).mixture
    E = torch.linalg.matrix_exp(-P)
    same(end, Roots(b + (m.mean - b) @ E, E @ m.root, m.weight), rtol=1e-7, atol=1e-8)


def test_springs_contract_to_the_centre_of_mass_which_rests():
    m, P = mixture(weight=simplex(3)), precision(2)
    end = last(QuadraticInteraction(P), m, step=0.005, steps=200).mixture
    centre, E = m.weight @ m.mean, torch.linalg.matrix_exp(-P)
    same(end, Roots(centre + (m.mean - centre) @ E, E @ m.root, m.weight), rtol=1e-7, atol=1e-8)


def test_kl_to_a_gaussian_follows_ornstein_and_uhlenbeck():
    """dΣ/dt = 2I − PΣ − ΣP, so in the basis of P: σ²(t) = 1/p + (σ²(0) − 1/p) e^(−2pt)."""
    p = torch.tensor([0.5, 2.0], dtype=torch.float64)
    start = Covariances(randn(1, 2), torch.diag(torch.tensor([3.0, 0.2], dtype=torch.float64))[None])
    F = Regularised(Quadratic(torch.diag(p), torch.zeros(2, dtype=torch.float64)), 1.0)
    end = last(F, start, step=0.01, steps=100).mixture
    expected = 1 / p + (start.cov[0].diagonal() - 1 / p) * torch.exp(-2 * p)
    torch.testing.assert_close(end.cov[0], torch.diag(expected), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(end.mean[0], start.mean[0] * torch.exp(-p), rtol=1e-8, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_kl_to_a_gaussian_falls_at_the_known_rate(seed):
    """KL(t) <= exp(−2αt) KL(0), with α the least eigenvalue of the precision (Bakry and Émery 1985)."""
    P, b = precision(2, seed), randn(2, seed=seed + 1)
    alpha = float(torch.linalg.eigvalsh(P)[0])
    F = Regularised(Quadratic(P, b), 1.0)
    cov = torch.linalg.inv(P)
    least = float(F(Covariances(b[None], cov[None])))
    moments = list(flow(F, mixture(K=1, seed=seed), step=0.005, steps=100))
    first = moments[0].energy - least
    for moment in moments:
        assert moment.energy - least <= math.exp(-2 * alpha * moment.time) * first * (1 + 1e-6) + 1e-12


def test_variational_inference_finds_a_mixture():
    """The divergence from a mixture of as many components falls to 0."""
    target = Roots(
        torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=torch.float64),
        torch.stack([torch.eye(2, dtype=torch.float64), torch.diag(torch.tensor([1.5, 0.5], dtype=torch.float64))]),
    )
    F = Divergence(lambda x: -flows.log_density(target, x), hermite_nodes(2, 8))
    start = Roots(torch.tensor([[-0.5, 0.3], [0.6, -0.2]], dtype=torch.float64), torch.eye(2).double().expand(2, 2, 2))
    moments = list(flow(F, start, step=0.1, steps=350))
    assert all(later.energy < earlier.energy + 1e-9 for earlier, later in itertools.pairwise(moments))
    assert abs(moments[-1].energy) < 1e-4
    torch.testing.assert_close(moments[-1].mixture.mean, target.mean, rtol=0, atol=0.02)


def test_a_discrepancy_falls_along_the_flow_of_particles():
    target, particles = mixture(K=2, seed=4), Roots.particles(randn(20, 2, seed=6))
    F = KernelDiscrepancy(target, 1.0)
    moments = list(flow(F, particles, step=0.1, steps=100))
    assert moments[-1].energy < 0.2 * moments[0].energy
    assert moments[-1].mixture.cov.abs().max() == 0


def test_fisher_rao_has_the_closed_form_of_replicator_dynamics():
    """With resting positions, w(t) is proportional to w(0) exp(−t V)."""
    V, w = randn(3, seed=8), simplex(3)
    end = last(lambda m: m.weight @ V, mixture(weight=w), step=0.1, steps=10, reaction=2.0).mixture
    expected = w * torch.exp(-2.0 * V)
    torch.testing.assert_close(end.weight, expected / expected.sum(), rtol=1e-9, atol=0)
    end = last(lambda m: m.weight @ V, mixture(weight=w), step=0.1, steps=10, method=euler, reaction=2.0).mixture
    torch.testing.assert_close(end.weight, expected / expected.sum(), rtol=1e-9, atol=0)  # linear in w: no error


# ---- integrators ---------------------------------------------------------------------------------------------------


def quartic(m):
    """∫ Σ x⁴ dρ, not linear in anything."""
    x = m.mean[:, None] + hermite_nodes(m.root.shape[2], 3).points @ m.root.mT
    return m.weight @ (0.1 * x.pow(4).sum(-1) @ hermite_nodes(m.root.shape[2], 3).weight)


@pytest.mark.parametrize(("method", "order"), [(euler, 1), (rk4, 4)])
@pytest.mark.parametrize("coordinates", [lambda m: m, in_covariances], ids=["roots", "covariances"])
def test_the_order_of_a_method(method, order, coordinates):
    m = coordinates(Roots(0.5 * randn(2, 2), 0.5 * torch.eye(2).double() + 0.1 * randn(2, 2, 2, seed=1)))
    exact = last(quartic, m, step=1 / 256, steps=256).mixture
    errors = [
        float((last(quartic, m, step=1 / n, steps=n, method=method).mixture.cov - exact.cov).norm()) for n in (16, 32)
    ]
    assert math.log2(errors[0] / errors[1]) > order - 0.3


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 4))
def test_a_step_along_geodesics_is_the_same_in_both_coordinates(seed, d):
    m, P = mixture(d=d, seed=seed), precision(d, seed)
    F = Quadratic(P / torch.linalg.eigvalsh(P)[-1], randn(d, seed=seed))
    same(euler(F, m, 0.7), euler(F, in_covariances(m), 0.7), rtol=1e-7, atol=1e-9)


def test_a_step_of_euler_goes_as_far_as_it_should():
    """The length of a geodesic is its speed times the time: W2² = step² (|E∇δF|² + tr LΣL)."""
    m, P, b = in_covariances(mixture(K=1)), precision(2), randn(2, seed=3)
    step = 0.1
    after = euler(Quadratic(P, b), m, step)
    speed = (P @ (m.mean[0] - b)).square().sum() + torch.trace(P @ m.cov[0] @ P)
    torch.testing.assert_close(
        bures.distance_squared(m.mean, m.cov, after.mean, after.cov)[0], step**2 * speed, rtol=1e-9, atol=0
    )


def test_the_backward_step_minimises_distance_and_entropy():
    """Against a minimisation that knows nothing of the formula."""
    m, step, temperature = mixture(K=1, seed=5), 0.4, 0.7
    F = Regularised(Quadratic(torch.zeros(2, 2).double(), torch.zeros(2).double()), temperature)
    found = forward_backward(F, m, step).cov[0]

    def objective(root):
        distance = bures.distance_squared(m.mean, m.cov, m.mean, (root @ root.T)[None])[0]
        return distance / (2 * step) - temperature * root.det().abs().log()

    root = torch.linalg.cholesky(m.cov[0]).contiguous().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [root], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = objective(root)
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(found, (root @ root.T).detach(), rtol=1e-5, atol=1e-6)


def test_forward_backward_stays_where_the_divergence_is_least():
    P, b = precision(3), randn(3, seed=1)
    F = Regularised(Quadratic(P, b), 1.0)
    least = Covariances(b[None], torch.linalg.inv(P)[None])
    step = 0.5 / float(torch.linalg.eigvalsh(P)[-1])
    # a fixed point of the two half-steps up to O(step), and of the flow exactly
    velocity = flows.velocity(F, least)
    assert velocity.spread.abs().max() < 1e-10
    end = last(F, mixture(K=1, d=3, seed=2), step=step, steps=400, method=forward_backward).mixture
    torch.testing.assert_close(end.mean, least.mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(end.cov, least.cov, rtol=1e-6, atol=1e-8)


def test_forward_backward_leaves_singular_covariances_as_it_must():
    start = Roots(torch.zeros(1, 2).double(), torch.zeros(1, 2, 2).double())
    after = forward_backward(Regularised(Quadratic(torch.eye(2).double(), torch.zeros(2).double()), 2.0), start, 0.3)
    torch.testing.assert_close(after.cov[0], 0.3 * 2.0 * torch.eye(2).double())


@pytest.mark.parametrize("kind", ["roots", "covariances"])
def test_forward_backward_moves_weights_by_the_whole_functional(kind):
    m = mixture(weight=simplex(3))
    m = m if kind == "roots" else in_covariances(m)
    F = Regularised(Quadratic(precision(2), randn(2, seed=3)), 0.5)
    step = 1e-5
    expected = flows.velocity(F, m, 1.0).log_weight
    found = (forward_backward(F, m, step, 1.0).weight.log() - m.weight.log()) / step
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_nodes_take_the_dtype_of_the_mixture():
    m = Roots(torch.zeros(1, 2), torch.eye(2)[None])
    found = Divergence(lambda x: 0.5 * x.square().sum(-1), hermite_nodes(2, 3))(m)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(-math.log(2 * math.pi), abs=1e-6)


def test_float32():
    m = Roots(randn(2, 2).float(), randn(2, 2, 2).float())
    end = last(Quadratic(torch.eye(2), torch.zeros(2)), m, step=0.1, steps=10).mixture
    torch.testing.assert_close(end.mean, m.mean * math.exp(-1), rtol=1e-5, atol=1e-6)
    assert end.cov.dtype == torch.float32


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Roots(torch.zeros(2), torch.zeros(2, 2, 2)), r"Roots: mean must be \(K, d\).*got \(2,\)"),
        (lambda: Roots(torch.tensor(1.0), torch.zeros(2, 2, 2)), r"Roots: mean must be \(K, d\).*got \(\)"),
        (lambda: Roots(torch.zeros(2, 3), torch.zeros(2, 2, 2)), r"root must be \(2, 3, any number\).*got \(2, 2, 2\)"),
        (lambda: Covariances(torch.zeros(2, 3), torch.zeros(2, 3, 2)), r"cov must be \(2, 3, 3\).*got \(2, 3, 2\)"),
        (lambda: Roots(torch.zeros(2, 1), torch.zeros(2, 1, 1), torch.ones(3) / 3), r"weight must be \(2,\)"),
        (lambda: Roots(torch.zeros(2, 1), torch.zeros(2, 1, 1), torch.ones(2)), "sum to 1.*sum 2"),
        (lambda: Roots(torch.zeros(2, 1), torch.zeros(2, 1, 1), torch.tensor([0.0, 1.0])), "positive.*minimum 0"),
        (lambda: Roots(torch.zeros(2, 1), torch.zeros(2, 1, 1).double()), "got mean torch.float32, root torch.float64"),
        (lambda: Roots(torch.zeros(2, 1).half(), torch.zeros(2, 1, 1).half()), "float32 or float64"),
        (lambda: Roots(torch.tensor([[0.0], [math.nan]]), torch.zeros(2, 1, 1)), r"Roots: mean\[1\] is not finite"),
        (lambda: Covariances(torch.zeros(2, 1), torch.tensor([[[1.0]], [[-1.0]]])), r"cov\[1\] is not positive"),
        (
            lambda: Covariances(torch.zeros(1, 2), torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])),
            r"Covariances: cov\[0\] is not symmetric",
        ),
        (lambda: Quadratic(torch.zeros(2, 3), torch.zeros(2)), r"must be \(d, d\), got \(2, 3\)"),
        (lambda: Quadratic(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2)), "must be symmetric"),
        (lambda: KernelDiscrepancy(mixture(), 0.0), "bandwidth must be positive"),
        (lambda: Regularised(quartic, math.inf), "temperature must be positive and finite, got inf"),
        (lambda: hermite_nodes(0, 3), "dim must be at least 1"),
        (lambda: random_nodes(2, 3), "number must be even"),
        (lambda: Divergence(quartic, hermite_nodes(3, 2))(mixture()), "3 dimensions and the roots 2 columns"),
        (
            lambda: Divergence(lambda x: x.sum(-1), hermite_nodes(2, 2))(
                Roots(torch.zeros(1, 2).double(), torch.zeros(1, 2, 2).double())
            ),
            "covariance of component 0 is singular",
        ),
        (lambda: Regularised(lambda m: 0.0, 1.0)(Roots.particles(torch.zeros(1, 2))), "component 0 is singular"),
        (lambda: flows.gradient(lambda m: m.mean, mixture()), r"must return a scalar, got shape \(3, 2\)"),
        (lambda: flows.gradient(lambda m: m.mean.sum() / 0, mixture()), "the functional is not finite: inf|-inf"),
        (
            lambda: flows.gradient(lambda m: (m.mean - m.mean.detach()).norm().sqrt(), mixture()),
            "in the mean is not finite",
        ),
        (lambda: flows.gradient(lambda m: torch.tensor(1.0), mixture()), "does not depend on the mixture, or has det"),
        (lambda: forward_backward(Regularised(lambda m: m.mean.sum(), 1.0), mixture(q=1), 0.1), "must be square"),
        (lambda: list(flow(quartic, mixture(), step=0.0, steps=1)), "step must be positive"),
        (lambda: list(flow(quartic, mixture(), step=1.0, steps=-1)), "steps must be at least 0"),
        (
            lambda: list(flow(lambda m: m.mean, mixture(), step=1.0, steps=1)),
            r"must return a scalar, got shape \(3, 2\)",
        ),
        (lambda: flows.Quadratic(torch.eye(2), torch.zeros(3)), r"centre must be \(2,\) as .*, got \(3,\)"),
        (
            lambda: flows.Quadratic(torch.eye(3).double(), torch.zeros(3).double())(mixture()),
            "Quadratic: expected a mixture in 3 dimensions, got one in 2",
        ),
        (
            lambda: flows.QuadraticInteraction(torch.eye(1).double())(mixture()),
            "QuadraticInteraction: expected a mixture in 1 dimensions, got one in 2",
        ),
        (
            lambda: flows.KernelDiscrepancy(Roots.particles(torch.zeros(4, 3).double()), 1.0)(mixture()),
            "KernelDiscrepancy: expected a mixture in 3 dimensions, got one in 2",
        ),
        (
            lambda: list(flow(quartic, mixture(), step=1.0, steps=1, reaction=-1.0)),
            "reaction must be finite and not neg",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flow_wants_a_mixture_and_whole_steps():
    with pytest.raises(TypeError, match="start must be a mixture, Roots or Covariances, got Tensor"):
        list(flow(quartic, torch.zeros(3, 2), step=0.1, steps=1))
    with pytest.raises(TypeError, match=r"flow: steps must be a whole number, got 1\.5"):
        list(flow(quartic, mixture(), step=0.1, steps=1.5))


def test_forward_backward_wants_to_know_what_is_smooth():
    with pytest.raises(TypeError, match="expected a Regularised functional, got function"):
        forward_backward(quartic, mixture(), 0.1)


def test_a_flow_begins_with_its_start_and_does_not_touch_it():
    m = Roots(randn(2, 2).requires_grad_(), randn(2, 2, 2))
    before = m.mean.detach().clone()
    first, second = flow(quartic, m, step=0.1, steps=1)
    assert first.time == 0
    assert first.energy == pytest.approx(float(quartic(m).detach()))
    assert second.time == 0.1
    assert torch.equal(m.mean, before)
    assert not second.mixture.mean.requires_grad
