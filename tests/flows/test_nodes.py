"""Variational inference on few nodes: what they cost, and whether the estimate says so."""

import math

import pytest
import torch

from gmlayers.flows import (
    Covariances,
    Divergence,
    NodeError,
    Quadratic,
    Roots,
    flow,
    hermite_nodes,
    node_error,
    random_nodes,
)

FLOAT = torch.float64


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def standard(d, kind=Roots):
    return kind(torch.zeros(1, d, dtype=FLOAT), torch.eye(d, dtype=FLOAT)[None])


def logistic(d):
    """The posterior of a logistic regression of 3d points with a standard Gaussian prior."""
    inputs = torch.randn(3 * d, d, generator=seeded(5), dtype=FLOAT) * 2 / math.sqrt(d)
    labels = (torch.rand(3 * d, generator=seeded(6)) < 0.5).to(FLOAT)

    def potential(x):
        z = x @ inputs.T
        return torch.nn.functional.softplus(z).sum(-1) - z @ labels + 0.5 * x.square().sum(-1)

    return potential


def turned(d):
    return torch.linalg.qr(torch.randn(d, d, generator=seeded(7), dtype=FLOAT))[0]


def quartic(d):
    B = turned(d)
    return lambda x: (0.25 * (x @ B).pow(4) + 0.1 * (x @ B).square()).sum(-1)


def heavy(d):
    """Five degrees of freedom in each direction."""
    B = turned(d)
    return lambda x: 3 * torch.log1p((x @ B).square() / 5).sum(-1)


def fit(potential, d, points, rounds=40):
    """The Gaussian with E∇V = 0 and Σ⁻¹ = E∇²V on the points, by a damped fixed point: no flow."""
    mean, cov = torch.zeros(d, dtype=FLOAT), torch.eye(d, dtype=FLOAT)
    for _ in range(rounds):
        root = torch.linalg.cholesky(cov)
        x = (mean + points @ root.T).requires_grad_()
        (slope,) = torch.autograd.grad(potential(x).sum(), x)
        hessian = torch.linalg.solve_triangular(root.T, points.T @ slope / len(points), upper=True)  # Stein's identity
        goal = torch.linalg.inv((hessian + hessian.T) / 2)
        mean, cov = mean - 0.5 * goal @ slope.mean(0), (cov + goal) / 2
    return mean, cov


def many(d, number=1 << 13):
    """Quasi-random points whose second moments are those of the Gaussian."""
    uniform = torch.quasirandom.SobolEngine(d, scramble=True, seed=3).draw(number, dtype=FLOAT)
    half = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12))
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(half.T @ half / number), half.T, upper=False).T
    return torch.cat([half, -half])


def relative(found, exact):
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize(("d", "number"), [(1, 2), (3, 6), (10, 256), (30, 64), (50, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_nodes_have_the_moments_of_the_gaussian_up_to_degree_3(d, number, dtype):
    points, weight = random_nodes(d, number, generator=seeded(0), dtype=dtype)
    assert points.shape == (number, d)
    tolerance = {"rtol": 0, "atol": 200 * torch.finfo(dtype).eps * d}
    eye, zero = torch.eye(d, dtype=dtype), torch.zeros(d, d, d, dtype=dtype)
    torch.testing.assert_close(weight.sum(), torch.ones((), dtype=dtype))
    torch.testing.assert_close(weight @ points, zero[0, 0], **tolerance)
    torch.testing.assert_close(torch.einsum("n,ni,nj->ij", weight, points, points), eye, **tolerance)
    torch.testing.assert_close(torch.einsum("n,ni,nj,nk->ijk", weight, points, points, points), zero, **tolerance)


def test_random_nodes_stay_random():
    """Their moments of degree 4 are those of the Gaussian up to chance, and no direction is preferred."""
    points, _ = random_nodes(4, 40_000, generator=seeded(1))
    assert (points.pow(4).mean(0) - 3).abs().max() < 5 * math.sqrt(96 / 20_000)
    assert abs(float((points[:, 0] * points[:, 1]).square().mean()) - 1) < 5 * math.sqrt(8 / 20_000)


@pytest.mark.parametrize("number", [2, 38])
def test_fewer_nodes_than_directions_are_refused(number):
    with pytest.raises(ValueError, match=r"number must be at least 40 in 20 dimensions, got \d+; fewer nodes leave"):
        random_nodes(20, number)


@pytest.mark.parametrize(
    ("d", "number", "kind"), [(10, 256, Roots), (10, 20, Roots), (30, 64, Roots), (4, 8, Covariances)]
)
def test_a_gaussian_is_found_exactly_on_any_random_nodes(d, number, kind):
    root = torch.randn(d, d, generator=seeded(0), dtype=FLOAT) / math.sqrt(d)
    P, b = root @ root.T + 0.5 * torch.eye(d, dtype=FLOAT), torch.randn(d, generator=seeded(1), dtype=FLOAT)
    F = Divergence(lambda x: 0.5 * ((x - b) @ P * (x - b)).sum(-1), random_nodes(d, number, generator=seeded(2)))
    *_, end = flow(F, standard(d, kind), step=0.25, steps=130)
    assert relative(end.mixture.cov[0], torch.linalg.inv(P)) < 1e-6
    assert relative(end.mixture.mean[0], b) < 1e-6
    found = node_error(F, end.mixture, generator=seeded(3))
    assert float(found.cov) < 1e-5
    assert float(found.mean) < 1e-5


@pytest.mark.parametrize(
    ("make", "d", "number", "worst"),
    [
        (logistic, 10, 256, 0.02),
        (logistic, 30, 256, 0.02),
        (quartic, 10, 1024, 0.1),
        (quartic, 30, 1024, 0.15),
        (heavy, 10, 256, 0.12),
    ],
)
def test_the_error_of_the_nodes_is_the_one_that_is_told(make, d, number, worst):
    potential = make(d)
    exact_mean, exact = fit(potential, d, many(d))
    nodes = random_nodes(d, number, generator=seeded(14))
    mean, cov = fit(potential, d, nodes.points)
    F = Divergence(potential, nodes)
    *_, end = flow(F, Roots(mean[None], torch.linalg.cholesky(cov)[None]), step=0.3, steps=20)
    found = node_error(F, end.mixture, generator=seeded(15))
    error = relative(end.mixture.cov[0], exact)
    assert 0.001 < error < worst
    assert error < 1.1 * relative(cov, exact)  # the flow fits the nodes no more than the fixed point does
    assert 0.75 * error < float(found.cov) < 1.5 * error
    away = (end.mixture.mean[0] - exact_mean)[:, None]
    off = float(torch.linalg.solve_triangular(torch.linalg.cholesky(exact), away, upper=False).norm())
    assert 0.6 * off - 1e-12 < float(found.mean) < 1.6 * off + 1e-12


@pytest.mark.parametrize("kind", [Roots, Covariances])
def test_a_root_that_turns_does_not_matter(kind):
    """The divergence is that of a measure: a turned root is the same law, and so the same value on any nodes."""
    root = torch.randn(1, 4, 4, generator=seeded(0), dtype=FLOAT)
    mean = torch.randn(1, 4, generator=seeded(1), dtype=FLOAT)
    F = Divergence(quartic(4), random_nodes(4, 16, generator=seeded(2)))
    other = Roots(mean, root @ turned(4)) if kind is Roots else Covariances(mean, root @ root.mT)
    torch.testing.assert_close(F(other), F(Roots(mean, root)))


def test_a_flow_ends_near_the_fixed_point_on_its_nodes():
    potential, nodes = logistic(6), random_nodes(6, 64, generator=seeded(10))
    F = Divergence(potential, nodes)
    *_, end = flow(F, standard(6), step=0.2, steps=80)
    assert relative(end.mixture.cov[0], fit(potential, 6, nodes.points, 80)[1]) < 0.01
    for mixture in (end.mixture, Covariances(end.mixture.mean, end.mixture.cov)):
        found = node_error(F, mixture, generator=seeded(11))
        assert isinstance(found, NodeError)
        assert 0.001 < float(found.cov) < 0.1


def test_exact_nodes_have_no_error_that_is_told_but_that_of_the_check():
    F = Divergence(lambda x: 0.1 * x.pow(4).sum(-1), hermite_nodes(2, 4))
    *_, end = flow(F, standard(2), step=0.2, steps=60)
    small, large = (float(node_error(F, end.mixture, number=n, generator=seeded(0)).cov) for n in (200, 20_000))
    assert large < 0.03
    assert large < small


def test_components_are_judged_one_by_one():
    """Two components far apart: one sits on a quadratic, the other on something else."""

    def potential(x):
        left, right = x[..., 0] + 20, x[..., 0] - 20
        flat = 0.5 * left.square() + 0.5 * x[..., 1].square()
        steep = 0.25 * right.pow(4) + 0.25 * x[..., 1].pow(4)
        return torch.where(x[..., 0] < 0, flat, steep)

    mean = torch.tensor([[-20.0, 0.0], [20.0, 0.0]], dtype=FLOAT)
    start = Roots(mean, torch.eye(2, dtype=FLOAT).expand(2, 2, 2))
    F = Divergence(potential, random_nodes(2, 16, generator=seeded(2)))
    *_, end = flow(F, start, step=0.1, steps=100)
    found = node_error(F, end.mixture, generator=seeded(3))
    assert float(found.cov[0]) < 1e-6
    assert float(found.cov[1]) > 0.02


def test_what_node_error_refuses():
    F = Divergence(lambda x: 0.5 * x.square().sum(-1), random_nodes(2, 8, generator=seeded(0)))
    with pytest.raises(TypeError, match="node_error: expected a Divergence, got Quadratic"):
        node_error(Quadratic(torch.eye(2), torch.zeros(2)), standard(2))
    with pytest.raises(TypeError, match="node_error: expected a mixture, Roots or Covariances, got Tensor"):
        node_error(F, torch.zeros(2))
    with pytest.raises(ValueError, match="node_error: the covariance of component 0 is singular"):
        node_error(F, Roots.particles(torch.zeros(1, 2, dtype=FLOAT)))
    away = Divergence(lambda x: -9 * x.square().sum(-1), random_nodes(2, 8, generator=seeded(0)))
    with pytest.raises(ValueError, match="component 0 is nowhere near a minimum on fresh nodes"):
        node_error(away, standard(2))


@pytest.mark.parametrize(
    ("potential", "error", "message"),
    [
        (lambda x: x, ValueError, r"to values \(\.\.\.\), and took \(1, 8, 2\) to \(1, 8, 2\) instead of \(1, 8\)"),
        (lambda x: x.sum(), ValueError, r"took \(1, 8, 2\) to \(\) instead of \(1, 8\)"),
        (lambda x: x.sum(-1, keepdim=True), ValueError, r"to \(1, 8, 1\) instead of \(1, 8\)"),
        (lambda x: x.detach().square().sum(-1), ValueError, "the potential has detached its values from its points"),
        (lambda x: 1.0, TypeError, "Divergence: potential must return a tensor .*got 1.0"),
        (lambda x: x.detach().square().sum(-1).numpy(), TypeError, "must return a tensor .*got ndarray"),
        (lambda x: None, TypeError, "must return a tensor .*got None"),
        (lambda x: x.sum(-1) * math.nan, ValueError, "flow: stopped at time 0: the functional is not finite: nan"),
        (lambda x: x.norm(dim=-1).log() / 0, ValueError, "the functional is not finite: (-?inf|nan)"),
    ],
)
def test_potentials_that_are_none(potential, error, message):
    with pytest.raises(error, match=message):
        [*flow(Divergence(potential, random_nodes(2, 8, generator=seeded(0))), standard(2), step=0.1, steps=1)]


@pytest.mark.parametrize("potential", [None, 3.0, torch.zeros(2), "x"])
def test_a_potential_can_be_called(potential):
    with pytest.raises(TypeError, match="Divergence: potential must be a function, got"):
        Divergence(potential, hermite_nodes(2, 2))


def test_a_constant_potential_is_one():
    """Nothing depends on the points, and nothing has been lost: a Gaussian spreads."""
    F = Divergence(lambda x: x.new_zeros(x.shape[:-1]), hermite_nodes(2, 2))
    *_, end = flow(F, standard(2), step=0.1, steps=5)
    torch.testing.assert_close(end.mixture.cov[0], 2 * torch.eye(2, dtype=FLOAT), rtol=1e-4, atol=1e-6)
