import pytest
import torch
from torch import nn

from gmlayers import GMNM, solve
from gmlayers.solve import Points
from gmlayers_studies.approximators.equations import operate
from gmlayers_studies.approximators.gaussians import PIG, Splats
from gmlayers_studies.approximators.mlp import MLP

F64 = torch.float64


def points(n=7):
    return torch.rand(n, 2, dtype=F64) * 2 - 1


NETS = {
    "mahalanobis": lambda: GMNM(2, 1, 5, form="mahalanobis", domain=(-1, 1), dtype=F64),
    "diagonal": lambda: GMNM(2, 1, 5, form="diagonal", domain=(-1, 1), dtype=F64),
    "ridge": lambda: GMNM(2, 1, 5, form="ridge", domain=(-1, 1), dtype=F64),
    "splats": lambda: Splats(points(5)),
    "PIG": lambda: PIG(points(5), 3, 4),
    "tanh": lambda: MLP(2, 5, 3, "tanh"),
    "ReLU": lambda: MLP(2, 5, 2, "relu"),
}


@pytest.mark.parametrize("name", NETS)
def test_laplacians_of_nets_and_their_slopes_are_what_autograd_finds(name):
    net = NETS[name]()
    for p in net.parameters():
        nn.init.normal_(p)
    x = Points(points())
    laplacian = solve.laplacian(solve.unknown(2))
    found, nested = operate(laplacian, net, x), operate(laplacian, nn.Sequential(net), x)
    torch.testing.assert_close(found, nested, rtol=1e-10, atol=1e-12)
    if name != "ReLU":  # there both are 0, whatever the parameters
        weights = list(net.parameters())
        by_hand, by_autograd = (
            torch.autograd.grad(y.square().sum(), weights, materialize_grads=True) for y in (found, nested)
        )
        torch.testing.assert_close(by_hand, by_autograd, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("net", [GMNM(2, 1, 5, domain=(-1, 1), dtype=F64), MLP(2, 4, 2, "tanh")], ids=["GMNM", "MLP"])
def test_other_expressions_are_what_autograd_finds(net):
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    expression = 2 * solve.laplacian(u) + (lambda x: x[:, 0]) * solve.grad(u_y)[0] - u_x + 3 * u
    x = points()
    found = operate(expression, net, Points(x))[:, 0]
    for row, value in zip(x, found):
        f = lambda z: net(z.unsqueeze(0)).sum()  # noqa: E731
        g, h = torch.autograd.functional.jacobian(f, row), torch.autograd.functional.hessian(f, row)
        expected = 2 * h.trace() + row[0] * h[0, 1] - g[0] + 3 * f(row)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
