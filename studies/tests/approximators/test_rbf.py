import pytest
import torch

from gmlayers_studies.approximators.nets import stored
from gmlayers_studies.approximators.rbf import RBF

F64 = torch.float64


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored(d, n):
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
