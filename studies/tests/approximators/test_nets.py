import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers_studies.approximators.nets import MLP, PIG, RBF, Chebyshev, Scaled, Splats, largest, stored
from gmlayers_studies.approximators.tasks import Regression

F64 = torch.float64


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored(d, n):
    mean = torch.randn(n, d, dtype=F64)
    assert stored(MLP(d, n, 1, "relu")) == MLP.count(d, n, 1) == d * n + n + n + 1
    assert stored(MLP(d, n, 3, "tanh")) == MLP.count(d, n, 3) == d * n + n + 2 * (n * n + n) + n + 1
    assert stored(Splats(mean)) == Splats.count(d, n) == n * (d + d * (d + 1) // 2 + 1)
    assert stored(PIG(mean, 4, 7)) == PIG.count(d, n, 4, 7) == n * (d + d + 4) + 4 * 7 + 7 + 7 + 1
    assert stored(RBF(mean, 1.0, bias=True)) == RBF.count(d, n, bias=True) == n * d + 1 + n + 1
    assert stored(RBF(mean, 1.0, bias=False)) == RBF.count(d, n, bias=False) == n * d + 1 + n
    assert stored(Chebyshev(d, n, total=False)) == Chebyshev.count(d, n, total=False) == (n + 1) ** d
    assert stored(Chebyshev(d, n, total=True)) == Chebyshev.count(d, n, total=True)


@given(st.integers(1, 500), st.integers(1, 7), st.integers(0, 5))
def test_the_largest_size_is_within_the_budget_and_the_next_is_not(parameters, slope, constant):
    if slope + constant > parameters:
        with pytest.raises(ValueError, match=f"{parameters} parameters are too few, the smallest net has"):
            largest(lambda n: slope * n + constant, parameters)
        return
    size = largest(lambda n: slope * n + constant, parameters)
    assert slope * size + constant <= parameters < slope * (size + 1) + constant


def perturbed(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("d", [1, 2, 3])
def test_splats_equal_a_loop_over_them(d):
    net = perturbed(Splats(torch.randn(4, d, dtype=F64)))
    x = torch.randn(6, d, dtype=F64)
    expected = torch.zeros(6, dtype=F64)
    for k in range(4):
        scale = net.log_scale[k].exp()
        if d == 2:
            angle = net.shear[k, 0].item()
            R = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=F64)
            cov = R @ torch.diag(scale) @ torch.diag(scale).T @ R.T
        else:
            L = torch.diag(scale)
            entries = iter(net.shear[k])
            for i in range(d):
                for j in range(i):
                    L[i, j] = next(entries)
            cov = L @ L.T
        for n in range(6):
            z = x[n] - net.mean[k]
            expected[n] += net.weight[k, 0] * torch.exp(-0.5 * z @ torch.linalg.inv(cov) @ z)
    torch.testing.assert_close(net(x)[:, 0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_laplacian_of_splats_is_that_of_autograd(d):
    net = perturbed(Splats(torch.randn(4, d, dtype=F64)))
    x = torch.randn(5, d, dtype=F64)
    hessians = [torch.autograd.functional.hessian(lambda z: net(z.unsqueeze(0)).sum(), row) for row in x]
    expected = torch.stack([h.trace() for h in hessians])
    torch.testing.assert_close(net.laplacian(x)[:, 0], expected, rtol=1e-10, atol=1e-12)


def test_splats_at_one_place_are_finite():
    net = Splats(torch.zeros(3, 2, dtype=F64))
    assert net.projection().isfinite().all()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_physics_informed_gaussians_equal_a_loop_over_them(d):
    net = perturbed(PIG(torch.randn(4, d, dtype=F64), 3, 5))
    first, second = net.net[0], net.net[2]
    x = torch.randn(6, d, dtype=F64)
    for n in range(6):
        features = torch.zeros(3, dtype=F64)
        for k in range(4):
            z = (x[n] - net.mean[k]) / net.log_scale[k].exp()
            features += net.feature[k] * torch.exp(-0.5 * z.square().sum())
        expected = second.weight @ torch.tanh(first.weight @ features + first.bias) + second.bias
        torch.testing.assert_close(net(x[n : n + 1])[0], expected, rtol=1e-12, atol=1e-14)


def test_radial_bumps_equal_a_loop_over_them():
    net = RBF(torch.randn(4, 3, dtype=F64), 0.7, bias=True)
    x = torch.randn(6, 3, dtype=F64)
    expected = net.linear.bias + sum(
        net.linear.weight[0, k] * torch.exp(-(x - net.centre[k]).square().sum(1) / (2 * 0.49)) for k in range(4)
    )
    torch.testing.assert_close(net(x)[:, 0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("total", [True, False])
def test_chebyshev_polynomials_are_cosines_of_multiples(total):
    net = Chebyshev(2, 5, total=total)
    x = torch.rand(20, 2, dtype=F64) * 2 - 1
    pairs = [(i, j) for i in range(6) for j in range(6) if not total or i + j <= 5]
    columns = [torch.cos(i * x[:, 0].acos()) * torch.cos(j * x[:, 1].acos()) for i, j in pairs]
    torch.testing.assert_close(net.columns(x), torch.stack(columns, 1), rtol=0, atol=1e-12)
    assert net.exponents.tolist() == [list(pair) for pair in pairs]


@pytest.mark.parametrize("degree", [0, 1, 2, 6])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 0), (0, 1), (1, 1)])
def test_derivatives_of_chebyshev_polynomials_are_those_of_autograd(degree, axes):
    net = Chebyshev(2, degree, total=False)
    x = (torch.rand(5, 2, dtype=F64) * 2 - 1).requires_grad_()
    for k, column in enumerate(net.columns(x).unbind(1)):
        found = column
        for axis in axes:
            total = found.sum() + 0 * x.sum()
            (slopes,) = torch.autograd.grad(total, x, create_graph=True, materialize_grads=True)
            found = slopes[:, axis] + 0 * x.sum()
        torch.testing.assert_close(net.columns(x, axes)[:, k], found, rtol=1e-10, atol=1e-10)


def test_a_scaled_net_sees_a_unit_box_and_standardised_values_and_answers_in_units_of_the_data():
    x = torch.tensor([[1.0, -10.0], [3.0, 10.0], [2.0, 0.0]], dtype=F64)
    y = torch.tensor([[1.0], [3.0], [5.0]], dtype=F64)
    scaled = Scaled(Regression(x, y, (1.0, -10.0), (3.0, 10.0)))
    assert torch.equal(scaled.unit.x, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], dtype=F64))
    assert scaled.unit.y.mean().item() == pytest.approx(0, abs=1e-15)
    assert scaled.unit.y.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(scaled(x), 3 + math.sqrt(8 / 3) * scaled.unit.x)  # its net is the identity
    assert stored(scaled) == 6


def test_scaled_constants_stay_finite():
    x = torch.rand(4, 1, dtype=F64)
    scaled = Scaled(Regression(x, torch.full((4, 1), 7.0, dtype=F64), (0.0,), (1.0,)))
    assert torch.equal(scaled.unit.y, torch.zeros(4, 1, dtype=F64))
