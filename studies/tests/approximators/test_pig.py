import pytest
import torch
from torch import nn

from gmlayers_studies.approximators.nets import stored
from gmlayers_studies.approximators.pig import PIG

F64 = torch.float64


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored(d, n):
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
