import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers.functional import bures

DOUBLE = torch.float64


def symmetric(matrix):
    return (matrix + matrix.mT) / 2


def rotation(d, dtype=DOUBLE):
    return torch.linalg.qr(torch.randn(d, d, dtype=DOUBLE))[0].to(dtype)


def spd(*batch, d=3, rank=None, dtype=DOUBLE):
    factor = torch.randn(*batch, d, rank or d, dtype=dtype)
    return factor @ factor.mT


def with_eigenvalues(Q, values):
    return symmetric(Q * values @ Q.mT)


def spread(d, condition):
    return torch.logspace(0, -math.log10(condition), d, dtype=DOUBLE)


def zeros(cov):
    return cov.new_zeros(cov.shape[-1])


def pair(cov1, cov2):
    """Squared distance of centred Gaussians."""
    return bures.distance_squared(zeros(cov1), cov1, zeros(cov2), cov2)


def relative(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


SPECIAL = {
    "identity": torch.eye(3, dtype=DOUBLE),
    "repeated": torch.diag(torch.tensor([1.0, 1.0, 4.0], dtype=DOUBLE)),
    "nearly repeated": torch.diag(torch.tensor([1.0, 1.0 + 1e-9, 4.0], dtype=DOUBLE)),
    "any": torch.tensor([[3.0, 1.0, 0.2], [1.0, 2.0, -0.3], [0.2, -0.3, 1.5]], dtype=DOUBLE),
}
special = pytest.mark.parametrize("cov", SPECIAL.values(), ids=SPECIAL.keys())


# --- formulas ------------------------------------------------------------------------------------------------


def test_sqrt_equals_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    cov = spd(4, d=5)
    found = bures.sqrt(cov)
    for S, root in zip(cov, found):
        torch.testing.assert_close(root, torch.from_numpy(linalg.sqrtm(S.numpy()).real), rtol=1e-9, atol=1e-9)


def test_distance_equals_its_formula_by_loops():
    """|μ - μ'|² + tr S + tr S' - 2 tr (S^½ S' S^½)^½."""
    linalg = pytest.importorskip("scipy.linalg")
    mean, cov = torch.randn(5, 4, dtype=DOUBLE), spd(5, d=4)
    pairwise = bures.distance_squared(mean[:, None], cov[:, None], mean, cov)
    for i in range(5):
        for j in range(5):
            root = linalg.sqrtm(cov[i].numpy())
            cross = linalg.sqrtm(root @ cov[j].numpy() @ root).real
            want = sum(float(mean[i, n] - mean[j, n]) ** 2 for n in range(4))
            want += sum(float(cov[i, n, n] + cov[j, n, n] - 2 * cross[n, n]) for n in range(4))
            assert pairwise[i, j].item() == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_distance_is_the_least_cost_of_couplings():
    """E|X - Y|² over Gaussian couplings S^½ C S'^½ with |C| ≤ 1: none is below, the transport map attains it."""
    cov1, cov2 = spd(), spd()
    A, B = bures.sqrt(cov1), bures.sqrt(cov2)
    distance = pair(cov1, cov2)
    for _ in range(200):
        cost = (cov1.trace() + cov2.trace() - 2 * (A @ rotation(3) @ B).trace()).item()
        assert cost >= distance.item() - 1e-12
    T = bures.transport_map(cov1, cov2)
    x = torch.randn(400_000, 3, dtype=DOUBLE) @ A
    cost = (x @ T - x).square().sum(1)
    assert abs(cost.mean() - distance) <= 5 * cost.std() / math.sqrt(len(cost))


@pytest.mark.parametrize("d", [1, 2, 8])
@pytest.mark.parametrize(("condition", "rel"), [(1.0, 1e-12), (1e2, 1e-12), (1e6, 1e-11)])
def test_accuracy_against_the_commuting_closed_form(d, condition, rel):
    for _ in range(20):
        Q, l1 = rotation(d), spread(d, condition)
        l2 = l1[torch.randperm(d)] * (0.5 + torch.rand(d, dtype=DOUBLE))
        mean1, mean2 = torch.zeros(d, dtype=DOUBLE), 0.1 * torch.randn(d, dtype=DOUBLE)
        want = (mean1 - mean2).square().sum() + (l1.sqrt() - l2.sqrt()).square().sum()
        cov1, cov2 = with_eigenvalues(Q, l1), with_eigenvalues(Q, l2)
        assert bures.distance_squared(mean1, cov1, mean2, cov2).item() == pytest.approx(want.item(), rel=rel)
        assert bures.distance(mean1, cov1, mean2, cov2).item() == pytest.approx(math.sqrt(want.item()), rel=rel)


@pytest.mark.parametrize(("condition", "rel"), [(1.0, 1e-5), (1e2, 1e-5), (1e4, 1e-4), (1e6, 1e-2)])
def test_accuracy_in_float32(condition, rel):
    Q, l1 = rotation(8), spread(8, condition)
    l2 = l1.flip(0) + 0.1
    cov1, cov2 = (with_eigenvalues(Q, values).float() for values in (l1, l2))
    assert pair(cov1, cov2).item() == pytest.approx((l1.sqrt() - l2.sqrt()).square().sum().item(), rel=rel)
    assert relative(bures.sqrt(cov1), with_eigenvalues(Q, l1.sqrt()).float()) <= rel
    geodesic = bures.geodesic(zeros(cov1), cov1, zeros(cov2), cov2, 0.5).cov
    assert relative(geodesic, with_eigenvalues(Q, (l1.sqrt() + l2.sqrt()).square() / 4).float()) <= rel


def test_small_distances_do_not_cancel():
    Q, l1 = rotation(8), spread(8, 1e2)
    l2 = l1 * (1 + 1e-6 * torch.randn(8, dtype=DOUBLE))
    cov1, cov2 = with_eigenvalues(Q, l1), with_eigenvalues(Q, l2)
    want = (l1.sqrt() - l2.sqrt()).square().sum().item()
    assert pair(cov1, cov2).item() == pytest.approx(want, rel=1e-6)
    root = bures.sqrt(cov1)
    textbook = cov1.trace() + cov2.trace() - 2 * bures.sqrt(symmetric(root @ cov2 @ root)).trace()
    assert abs(textbook.item() / want - 1) > 1e-5


@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_root_and_map_satisfy_their_equations(condition):
    for _ in range(10):
        cov1, cov2 = (with_eigenvalues(rotation(6), spread(6, condition)) for _ in range(2))
        root, T = bures.sqrt(cov1), bures.transport_map(cov1, cov2)
        assert relative(root @ root, cov1) <= 1e-14
        assert relative(T @ cov1 @ T, cov2) <= 1e-15 * condition + 1e-13
        assert torch.equal(T, T.mT)
        assert torch.linalg.eigvalsh(T).min() > 0


def test_the_map_of_commuting_matrices(dtype):
    Q = rotation(5, dtype)
    l1, l2 = 1 + torch.rand(5, dtype=dtype), torch.rand(5, dtype=dtype)
    found = bures.transport_map(with_eigenvalues(Q, l1), with_eigenvalues(Q, l2))
    torch.testing.assert_close(found, with_eigenvalues(Q, (l2 / l1).sqrt()))


def test_exp_and_log_of_commuting_matrices():
    Q = rotation(4)
    l1, l2 = 1 + torch.rand(4, dtype=DOUBLE), 0.1 + torch.rand(4, dtype=DOUBLE)
    cov1, cov2 = with_eigenvalues(Q, l1), with_eigenvalues(Q, l2)
    tangent = with_eigenvalues(Q, (l2 / l1).sqrt() - 1)
    torch.testing.assert_close(bures.log(cov1, cov2), tangent, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(bures.exp(cov1, tangent), cov2, rtol=1e-12, atol=1e-13)


# --- laws ----------------------------------------------------------------------------------------------------

cases = given(seed=st.integers(0, 10**6), d=st.integers(1, 5), rank=st.integers(1, 5))


def gaussians(seed, d, rank, n):
    """Gaussians of scales from 1e-3 to 1e3, singular if rank < d."""
    torch.manual_seed(seed)
    scale = 10 ** torch.empty(n, 1, dtype=DOUBLE).uniform_(-3, 3)
    return scale * torch.randn(n, d, dtype=DOUBLE), scale[..., None] ** 2 * spd(n, d=d, rank=min(rank, d))


@cases
@settings(max_examples=30)
def test_distance_is_a_metric(seed, d, rank):
    (m1, m2, m3), (S1, S2, S3) = gaussians(seed, d, rank, 3)
    ab, bc, ac = (bures.distance(*pair) for pair in ((m1, S1, m2, S2), (m2, S2, m3, S3), (m1, S1, m3, S3)))
    assert bures.distance(m2, S2, m1, S1).item() == pytest.approx(ab.item(), rel=1e-9)
    assert (ac <= (ab + bc) * (1 + 1e-9)).item()
    assert bures.distance(m1, S1, m1, S1).item() <= 1e-12 * S1.trace().sqrt().item()
    assert ab > 0


@cases
@settings(max_examples=30)
def test_invariance_under_rotations_and_scaling(seed, d, rank):
    (m1, m2), (S1, S2) = gaussians(seed, d, rank, 2)
    Q, shift, c = rotation(d), torch.randn(d, dtype=DOUBLE), 3.0
    want = c * bures.distance(m1, S1, m2, S2)
    moved = [t for m, S in ((m1, S1), (m2, S2)) for t in (c * Q @ m + shift, symmetric(c**2 * Q @ S @ Q.mT))]
    assert bures.distance(*moved).item() == pytest.approx(want.item(), rel=1e-7)


@cases
@settings(max_examples=30)
def test_geodesics_have_constant_speed(seed, d, rank):
    (m1, m2), (S1, S2) = gaussians(seed, d, rank, 2)
    length = bures.distance(m1, S1, m2, S2).item()
    size = max(S1.abs().max().item(), S2.abs().max().item())
    for s, t in ((0.0, 1.0), (0.0, 0.3), (0.25, 0.75), (0.6, 1.0)):
        a, b = (bures.geodesic(m1, S1, m2, S2, time) for time in (s, t))
        assert bures.distance(*a, *b).item() == pytest.approx((t - s) * length, rel=1e-6)
    for time, mean, cov in ((0, m1, S1), (1, m2, S2)):
        end = bures.geodesic(m1, S1, m2, S2, time)
        torch.testing.assert_close(end.mean, mean)
        torch.testing.assert_close(end.cov, cov, rtol=0, atol=1e-13 * size)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 5))
@settings(max_examples=30)
def test_exp_of_log(seed, d):
    _, (S1, S2) = gaussians(seed, d, d, 2)
    S1, S2 = (S + 1e-3 * S.trace() * torch.eye(d, dtype=DOUBLE) for S in (S1, S2))
    tangent = bures.log(S1, S2)
    assert relative(bures.exp(S1, tangent), S2) <= 1e-11
    speed = (tangent @ S1 @ tangent).trace()
    assert speed.item() == pytest.approx(pair(S1, S2).item(), rel=1e-9)
    assert relative(bures.log(S1, bures.exp(S1, tangent)), tangent) <= 1e-8
    half = bures.geodesic(zeros(S1), S1, zeros(S2), S2, 0.5).cov
    assert relative(bures.exp(S1, tangent / 2), half) <= 1e-9


@pytest.mark.parametrize("rank", [1, 2])
def test_singular_matrices(rank):
    """In the plane that holds both, they are what they are without the rest of the space."""
    Q = rotation(5)[:, : rank + 1]
    small1, small2 = spd(d=rank + 1), spd(d=rank + 1)
    cov1, cov2 = (symmetric(Q @ S @ Q.mT) for S in (small1, small2))
    assert pair(cov1, cov2).item() == pytest.approx(pair(small1, small2).item(), rel=1e-12)
    found = bures.geodesic(zeros(cov1), cov1, zeros(cov2), cov2, 0.3).cov
    want = bures.geodesic(zeros(small1), small1, zeros(small2), small2, 0.3).cov
    torch.testing.assert_close(found, Q @ want @ Q.mT, rtol=1e-11, atol=1e-12)
    assert pair(cov1, 0 * cov2).item() == pytest.approx(cov1.trace().item(), rel=1e-13)
    flat, full = symmetric(spd(d=5, rank=rank)), spd(d=5)
    T = bures.transport_map(full, flat)
    torch.testing.assert_close(T @ full @ T, flat, rtol=1e-9, atol=1e-9)
    wide = torch.zeros(3, 3, dtype=DOUBLE, requires_grad=True)
    bures.sqrt(wide).sum().backward()
    assert wide.grad is not None
    assert (wide.grad == 0).all()


# --- derivatives ---------------------------------------------------------------------------------------------


@special
def test_gradcheck_and_gradgradcheck_of_sqrt(cov):
    cov = cov.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: bures.sqrt(symmetric(c)), cov, check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(
        lambda c: bures.sqrt(symmetric(c)), cov, check_fwd_over_rev=True, check_batched_grad=True
    )


FUNCTIONS = {
    "distance_squared": lambda m1, S1, m2, S2: bures.distance_squared(m1, S1, m2, S2),
    "distance": lambda m1, S1, m2, S2: bures.distance(m1, S1, m2, S2),
    "transport_map": lambda m1, S1, m2, S2: bures.transport_map(S1, S2),
    "log": lambda m1, S1, m2, S2: bures.log(S1, S2),
    "exp": lambda m1, S1, m2, S2: bures.exp(S1, 0.1 * S2),
    "geodesic": lambda m1, S1, m2, S2: bures.geodesic(m1, S1, m2, S2, m1.new_tensor([0.3, 0.9])).cov,
}


@special
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_gradcheck_and_gradgradcheck(function, cov):
    def on_symmetric(m1, S1, m2, S2):
        return function(m1, symmetric(S1), m2, symmetric(S2))

    for other in (torch.eye(3, dtype=DOUBLE), SPECIAL["any"].flip(0, 1)):
        means = torch.randn(2, 3, dtype=DOUBLE)
        inputs = [t.clone().requires_grad_() for t in (means[0], cov, means[1], other)]
        assert torch.autograd.gradcheck(on_symmetric, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(on_symmetric, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize(("condition", "rel"), [(1e2, 1e-12), (1e6, 1e-8)])
def test_the_gradient_of_the_squared_distance_is_identity_minus_map(condition, rel):
    Q, l1 = rotation(6), spread(6, condition)
    l2 = l1[torch.randperm(6)]
    cov1, cov2 = with_eigenvalues(Q, l1).requires_grad_(), with_eigenvalues(Q, l2)
    (found,) = torch.autograd.grad(pair(cov1, cov2), cov1)
    assert relative(found, with_eigenvalues(Q, 1 - (l2 / l1).sqrt())) <= rel
    assert torch.equal(found, found.mT)


def test_gradients_where_torch_s_eigenvectors_have_none():
    cov = torch.eye(3, dtype=DOUBLE, requires_grad=True)
    values, vectors = torch.linalg.eigh(cov)
    (naive,) = torch.autograd.grad((vectors * values.sqrt() @ vectors.mT).sum(), cov)
    (found,) = torch.autograd.grad(bures.sqrt(cov).sum(), cov)
    torch.testing.assert_close(found, torch.full_like(cov, 0.5))
    assert not torch.allclose(naive, found)


def test_distance_of_equals_has_finite_derivatives(dtype):
    mean, cov = torch.zeros(3, dtype=dtype), torch.eye(3, dtype=dtype)
    for other in (cov.clone().requires_grad_(), spd(dtype=dtype).requires_grad_()):
        (found,) = torch.autograd.grad(bures.distance(mean, other.detach(), mean, other), other)
        assert found.isfinite().all()


def test_nothing_flows_within_the_kernel():
    """At diag(1, 0) the derivative is ½ along and 1 across; in the kernel, where there is none, 0."""
    cov = torch.diag(torch.tensor([1.0, 0.0], dtype=DOUBLE)).requires_grad_()
    direction = torch.ones(2, 2, dtype=DOUBLE)
    (found,) = torch.autograd.grad((bures.sqrt(cov) * direction).sum(), cov)
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0], [1.0, 0.0]], dtype=DOUBLE))


def test_func_transforms():
    cov, other = spd(4), spd()

    def function(S):
        return pair(symmetric(S), other)

    torch.testing.assert_close(torch.func.vmap(function)(cov), pair(cov, other))
    torch.testing.assert_close(torch.func.vmap(bures.sqrt, in_dims=1)(cov.movedim(0, 1)), bures.sqrt(cov))
    gradient = torch.func.vmap(torch.func.grad(function))(cov)
    torch.testing.assert_close(gradient, torch.eye(3, dtype=DOUBLE) - bures.transport_map(cov, other))
    hessian = torch.autograd.functional.hessian(function, cov[0])
    for transform in (
        torch.func.hessian(function),
        torch.func.jacrev(torch.func.jacrev(function)),
        torch.func.jacrev(torch.func.jacfwd(function)),
    ):
        torch.testing.assert_close(transform(cov[0]), hessian)
    with pytest.raises(NotImplementedError, match="distance_squared: torch cannot nest forward mode in forward mode"):
        torch.func.jacfwd(torch.func.jacfwd(function))(cov[0])


# --- batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("d", [1, 3])
def test_batches(batch, d, dtype):
    mean, cov, other = torch.randn(*batch, d, dtype=dtype), spd(*batch, d=d, dtype=dtype), 3 * torch.eye(d, dtype=dtype)
    eye = torch.eye(d, dtype=dtype)
    cov = (cov + eye).requires_grad_()
    origin = torch.zeros(d, dtype=dtype)
    matrices = [
        bures.sqrt(cov),
        bures.transport_map(cov, other),
        bures.log(other, cov),
        bures.exp(cov, eye),
        bures.geodesic(mean, cov, origin, other, 0.5).cov,
        bures.barycentre(mean.unsqueeze(-2), cov.unsqueeze(-3)).cov.detach(),
    ]
    assert all(m.shape == (*batch, d, d) and m.dtype == dtype for m in matrices)
    squared = bures.distance_squared(mean, cov, origin, other)
    assert squared.shape == batch
    assert bures.geodesic(mean, cov, origin, other, torch.rand(7, *([1] * len(batch)))).mean.shape == (7, *batch, d)
    (sum(m.sum() for m in matrices) + squared.sum()).backward()
    assert cov.grad is not None
    assert cov.grad.isfinite().all()
    flat = bures.distance_squared(mean.reshape(-1, d), cov.reshape(-1, d, d), origin, other)
    torch.testing.assert_close(squared.reshape(-1), flat)


def test_one_dimension(dtype):
    a, b = (torch.tensor([[v]], dtype=dtype) for v in (4.0, 25.0))
    assert bures.sqrt(a).item() == 2
    assert pair(a, b).item() == pytest.approx(9)
    assert bures.transport_map(a, b).item() == pytest.approx(2.5)
    assert bures.geodesic(a[0], a, b[0], b, 1 / 3).cov.item() == pytest.approx(9)


# --- barycentres ---------------------------------------------------------------------------------------------


def test_barycentre_of_commuting_matrices(dtype):
    """It is (Σ w S^½)²."""
    Q, values = rotation(4, dtype), 0.1 + torch.rand(5, 4, dtype=dtype)
    means = torch.randn(5, 4, dtype=dtype)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0], dtype=dtype)
    covs = symmetric(Q * values.unsqueeze(1) @ Q.mT)
    found = bures.barycentre(means, covs, weights)
    torch.testing.assert_close(found.mean, weights @ means)
    torch.testing.assert_close(found.cov, with_eigenvalues(Q, (weights @ values.sqrt()).square()))


@pytest.mark.parametrize("condition", [1e1, 1e6])
def test_barycentre_solves_its_equation(condition):
    """S = Σ w (S^½ S_i S^½)^½, written with roots of their own."""
    covs = torch.stack([with_eigenvalues(rotation(4), spread(4, condition)) for _ in range(5)])
    weights = torch.rand(5, dtype=DOUBLE)
    weights /= weights.sum()
    S = bures.barycentre(torch.zeros(5, 4, dtype=DOUBLE), covs, weights).cov
    root = bures.sqrt(S)
    total = sum(w * bures.sqrt(symmetric(root @ cov @ root)) for w, cov in zip(weights, covs))
    assert relative(total, S) <= 1e-9


def test_nothing_nearby_is_better_than_the_barycentre():
    means, covs = torch.randn(2, 6, 3, dtype=DOUBLE), spd(2, 6)
    found = bures.barycentre(means, covs)

    def cost(mean, cov):
        return bures.distance_squared(means, covs, mean.unsqueeze(1), cov.unsqueeze(1)).mean(-1)

    best = cost(*found)
    for _ in range(20):
        moved = bures.exp(found.cov, 0.02 * symmetric(torch.randn(2, 3, 3, dtype=DOUBLE)))
        assert (cost(found.mean + 0.02 * torch.randn(2, 3, dtype=DOUBLE), moved) > best).all()


def test_barycentre_of_two_is_on_the_geodesic():
    means, covs = torch.randn(2, 3, dtype=DOUBLE), spd(2)
    found = bures.barycentre(means, covs, torch.tensor([0.7, 0.3], dtype=DOUBLE))
    want = bures.geodesic(means[0], covs[0], means[1], covs[1], 0.3)
    torch.testing.assert_close(found.mean, want.mean)
    torch.testing.assert_close(found.cov, want.cov, rtol=1e-9, atol=1e-9)


def test_barycentre_broadcasts_its_weights():
    means, covs = torch.randn(4, 3, dtype=DOUBLE), spd(4)
    weights = torch.rand(2, 5, 4, dtype=DOUBLE)
    weights /= weights.sum(-1, keepdim=True)
    found = bures.barycentre(means, covs, weights)
    assert found.mean.shape == (2, 5, 3)
    torch.testing.assert_close(found.cov[1, 2], bures.barycentre(means, covs, weights[1, 2]).cov, rtol=1e-9, atol=1e-9)


def test_barycentre_takes_singular_matrices():
    means, covs = torch.zeros(4, 3, dtype=DOUBLE), torch.cat([spd(3, rank=1), spd(1)])
    S = bures.barycentre(means, covs).cov
    root = bures.sqrt(S)
    torch.testing.assert_close(bures.sqrt(symmetric(root @ covs @ root)).mean(0), S, rtol=1e-6, atol=1e-6)
    assert (bures.barycentre(means, 0 * covs).cov == 0).all()


def test_barycentre_that_does_not_converge_says_what_it_reached():
    covs = torch.stack([spd(4), torch.eye(3, dtype=DOUBLE).expand(4, 3, 3)])
    message = (
        r"not converged after 2 iterations: the last step is [\d.e-]+ of the size of the iterate\[0\], tolerance is"
    )
    with pytest.raises(RuntimeError, match=message):
        bures.barycentre(torch.zeros(2, 4, 3, dtype=DOUBLE), covs, max_iterations=2)
    bures.barycentre(torch.zeros(2, 4, 3, dtype=DOUBLE), covs, max_iterations=2, tolerance=1.0)


def test_barycentre_refuses_derivatives_of_its_covariance():
    means, covs = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True), spd(4).requires_grad_()
    found = bures.barycentre(means, covs)
    found.mean.sum().backward()
    torch.testing.assert_close(means.grad, torch.full((4, 3), 0.25, dtype=DOUBLE))
    with pytest.raises(NotImplementedError, match="barycentre: its covariance cannot be differentiated"):
        found.cov.sum().backward()


# --- what is refused -----------------------------------------------------------------------------------------

I2, I3, M2, M3 = torch.eye(2), torch.eye(3), torch.zeros(2), torch.zeros(3)


def changed(matrix, row, column, value):
    matrix = matrix.clone()
    matrix[..., row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bures.sqrt(torch.ones(2, 3)), r"sqrt: cov must be square matrices.* got \(2, 3\)"),
        (lambda: bures.sqrt(torch.ones(3)), r"sqrt: cov must be square matrices.* got \(3,\)"),
        (lambda: bures.sqrt(torch.ones(0, 0)), r"sqrt: cov must be square matrices.* got \(0, 0\)"),
        (lambda: bures.sqrt(I2.half()), "sqrt: expected float32 or float64, one for all, got cov torch.float16"),
        (lambda: bures.log(I2, I2.double()), "got cov1 torch.float32, cov2 torch.float64"),
        (lambda: bures.log(I2, I3), r"must have one d, got cov1 \(2, 2\), cov2 \(3, 3\)"),
        (lambda: bures.distance(M3, I3, M2, I3), r"must have one d, got mean1 \(3,\), cov1 \(3, 3\), mean2 \(2,\)"),
        (lambda: bures.exp(I3.expand(2, 3, 3), I3.expand(4, 3, 3)), "exp: batch axes cannot be broadcast"),
        (lambda: bures.sqrt(changed(I3, 0, 1, 0.5)), "sqrt: cov is not symmetric: it differs .* by up to 0.5"),
        (lambda: bures.sqrt(changed(I3, 0, 0, -2.0)), "sqrt: cov is not positive semi-definite: .* eigenvalue is -2"),
        (lambda: bures.sqrt(changed(I3, 0, 0, math.nan)), "sqrt: cov is not finite"),
        (
            lambda: bures.distance_squared(M3, I3, M3, torch.stack([I3, I3, -I3]).unsqueeze(1)),
            r"distance_squared: cov2\[2, 0\] is not positive semi-definite",
        ),
        (lambda: bures.transport_map(0 * I3, I3), "transport_map: cov1 is not positive definite beyond rounding"),
        (lambda: bures.log(0 * I3, I3), "log: cov1 is not positive definite beyond rounding"),
        (lambda: bures.exp(I3, -I3), r"exp: I \+ tangent is not positive definite .* eigenvalue is 0"),
        (lambda: bures.exp(I3, torch.stack([I3, -2 * I3])), r"exp: I \+ tangent\[1\] is not positive definite"),
        (lambda: torch.func.vmap(bures.sqrt)(torch.stack([I3, -I3])), r"sqrt: cov\[1\] is not positive semi-definite"),
        (lambda: bures.barycentre(M3, I3), r"expected means \(..., n, d\) and covs \(..., n, d, d\) with n at least 1"),
        (lambda: bures.barycentre(torch.zeros(0, 3), torch.zeros(0, 3, 3)), "with n at least 1"),
        (lambda: bures.barycentre(torch.zeros(2, 3), I3[None]), "with n at least 1"),
        (lambda: bures.barycentre(M3[None], I3[None], torch.ones(2)), r"weights must be \(..., 1\) of torch.float32"),
        (lambda: bures.barycentre(M3[None], I3[None], torch.tensor([0.5])), "sum to 1, got minimum 0.5 and sums"),
        (
            lambda: bures.barycentre(torch.zeros(2, 3), I3.expand(2, 3, 3), torch.tensor([[0.5, 0.5], [-1, 2]])),
            r"weights must not be negative and sum to 1\[1\], got minimum -1",
        ),
        (lambda: bures.barycentre(M3[None], I3[None], max_iterations=0), "max_iterations must be at least 1, got 0"),
        (lambda: bures.barycentre(M3[None], I3[None], tolerance=0.0), "tolerance must be positive and finite, got 0.0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rounding_is_not_refused():
    """A product of floats is symmetric and positive semi-definite up to rounding only."""
    for dtype in (torch.float32, torch.float64):
        for d in (2, 10, 50):
            factor = torch.randn(d, 1, dtype=dtype)
            M = torch.randn(d, d, dtype=dtype)
            assert bures.sqrt(M @ (factor @ factor.mT) @ M.mT).isfinite().all()
