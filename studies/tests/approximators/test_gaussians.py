import math

import pytest
import torch
from torch import nn

from gmlayers_studies.approximators.gaussians import PIG, RBF, Splats
from gmlayers_studies.approximators.nets import stored

F64 = torch.float64


def perturbed(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored_of_splats(d, n):
    assert stored(Splats(torch.randn(n, d, dtype=F64))) == Splats.count(d, n) == n * (d + d * (d + 1) // 2 + 1)


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
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored_of_gaussians_before_a_net(d, n):
    net = PIG(torch.randn(n, d, dtype=F64), 4, 7)
    assert stored(net) == PIG.count(d, n, 4, 7) == n * (d + d + 4) + 4 * 7 + 7 + 7 + 1


@pytest.mark.parametrize("d", [1, 2, 3])
def test_physics_informed_gaussians_equal_a_loop_over_them(d):
    net = PIG(torch.randn(4, d, dtype=F64), 3, 5)
    for p in net.parameters():
        nn.init.normal_(p)
    first, second = net.net[0], net.net[2]
    x = torch.randn(6, d, dtype=F64)
    for n in range(6):
        features = torch.zeros(3, dtype=F64)
        for k in range(4):
            z = (x[n] - net.mean[k]) / net.log_scale[k].exp()
            features += net.feature[k] * torch.exp(-0.5 * z.square().sum())
        expected = second.weight @ torch.tanh(first.weight @ features + first.bias) + second.bias
        torch.testing.assert_close(net(x[n : n + 1])[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored_of_radial_bases(d, n):
    mean = torch.randn(n, d, dtype=F64)
    assert stored(RBF(mean, 1.0, bias=True)) == RBF.count(d, n, bias=True) == n * d + 1 + n + 1
    assert stored(RBF(mean, 1.0, bias=False)) == RBF.count(d, n, bias=False) == n * d + 1 + n


def test_radial_bumps_equal_a_loop_over_them():
    net = RBF(torch.randn(4, 3, dtype=F64), 0.7, bias=True)
    x = torch.randn(6, 3, dtype=F64)
    expected = net.linear.bias + sum(
        net.linear.weight[0, k] * torch.exp(-(x - net.centre[k]).square().sum(1) / (2 * 0.49)) for k in range(4)
    )
    torch.testing.assert_close(net(x)[:, 0], expected, rtol=1e-12, atol=1e-14)
