import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.functional import gmnm


def arguments(rows, d, m, p, out, dtype=torch.float64):
    shapes = (*rows, d), (m, d), (m, p, d), (m, out), (out,)
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def loops(x, mean, projection, weight, bias):
    m, p, d = projection.shape
    y = bias.tolist()
    for k in range(m):
        q = 0.0
        for j in range(p):
            q += sum(projection[k, j, i].item() * (x[i].item() - mean[k, i].item()) for i in range(d)) ** 2
        for o in range(weight.shape[1]):
            y[o] += weight[k, o].item() * math.exp(-q / 2)
    return torch.tensor(y, dtype=x.dtype)


@pytest.mark.parametrize(("d", "m", "p", "out"), [(1, 1, 1, 1), (2, 3, 2, 1), (5, 7, 3, 4), (3, 2, 5, 2)])
def test_formula(d, m, p, out, dtype):
    x, *rest = arguments((6,), d, m, p, out, dtype)
    torch.testing.assert_close(gmnm.gmnm(x, *rest), torch.stack([loops(row, *rest) for row in x]))


@pytest.mark.parametrize(("d", "m", "p", "out"), [(1, 1, 1, 1), (2, 3, 2, 1), (5, 7, 3, 4), (3, 2, 5, 2)])
def test_closed_forms_equal_autograd(d, m, p, out):
    x, mean, projection, weight, bias = arguments((6,), d, m, p, out)

    def value(x):
        return gmnm.gmnm(x, mean, projection, weight, bias)

    jacobian = torch.func.vmap(torch.func.jacrev(value))(x)
    hessian = torch.func.vmap(torch.func.hessian(value))(x)
    laplacian = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    args = x, mean, projection, weight
    torch.testing.assert_close(gmnm.gradient(*args), jacobian)
    torch.testing.assert_close(gmnm.hessian(*args), hessian)
    torch.testing.assert_close(gmnm.laplacian(*args), laplacian)
    together = gmnm.value_gradient_laplacian(*args, bias)
    for got, expected in zip(together, (value(x), jacobian, laplacian)):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("rows", [(), (0,), (4,), (2, 3)])
def test_batch_shapes(rows, dtype):
    x, mean, projection, weight, bias = arguments(rows, 2, 3, 2, 4, dtype)
    assert gmnm.gmnm(x, mean, projection, weight, bias).shape == (*rows, 4)
    assert gmnm.gradient(x, mean, projection, weight).shape == (*rows, 4, 2)
    assert gmnm.laplacian(x, mean, projection, weight).shape == (*rows, 4)
    assert gmnm.hessian(x, mean, projection, weight).shape == (*rows, 4, 2, 2)


@pytest.mark.parametrize("function", [gmnm.gmnm, gmnm.laplacian, gmnm.gradient])
def test_parameter_gradients(function):
    args = [a.requires_grad_() for a in arguments((3,), 2, 2, 2, 1)[:4]]
    assert torch.autograd.gradcheck(function, args)
    assert torch.autograd.gradgradcheck(function, args)


def test_ridge_is_the_sum_of_projections():
    x, mean, projection, weight, _ = arguments((6,), 3, 4, 2, 1)
    w = gmnm.ridge(projection)
    y = torch.einsum("kd,nkd->nk", projection.sum(1), x[:, None] - mean)
    f = torch.exp(-y.square() / 2)
    torch.testing.assert_close(gmnm.gmnm(x, mean, w, weight), f @ weight)
    norm = projection.sum(1).square().sum(-1)
    torch.testing.assert_close(gmnm.laplacian(x, mean, w, weight), (norm * (y.square() - 1) * f) @ weight)


@given(st.integers(0, 10_000))
def test_invariances(seed):
    torch.manual_seed(seed)
    x, mean, projection, weight, bias = arguments((4,), 3, 5, 2, 2)
    value = gmnm.gmnm(x, mean, projection, weight, bias)
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=x.dtype))[0]
    order, shift = torch.randperm(5), torch.randn(3, dtype=x.dtype)
    torch.testing.assert_close(gmnm.gmnm(x, mean, turn @ projection, weight, bias), value)
    torch.testing.assert_close(gmnm.gmnm(x, mean[order], projection[order], weight[order], bias), value)
    torch.testing.assert_close(gmnm.gmnm(x + shift, mean + shift, projection, weight, bias), value)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e18])
def test_far_from_the_data(far, dtype):
    x, mean, projection, weight, bias = arguments((4,), 3, 5, 3, 2, dtype)
    x = far * torch.nn.functional.normalize(x, dim=-1)
    args = [a.requires_grad_() for a in (x, mean, projection, weight)]
    value = gmnm.gmnm(*args, bias)
    assert torch.equal(value, bias.expand(4, 2))
    total = value.sum() + gmnm.laplacian(*args).sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(total, args))


def test_compiles():
    args = arguments((4,), 3, 5, 3, 2)
    torch.testing.assert_close(torch.compile(gmnm.gmnm, fullgraph=True)(*args), gmnm.gmnm(*args))


def test_wrong_shapes():
    x, mean, projection, weight, bias = arguments((4,), 3, 5, 2, 2)
    with pytest.raises(ValueError, match=r"got x \(4, 2\), mean \(5, 3\)"):
        gmnm.gmnm(x[:, 1:], mean, projection, weight)
    with pytest.raises(ValueError, match=r"bias \(1,\)"):
        gmnm.gmnm(x, mean, projection, weight, bias[1:])
    with pytest.raises(ValueError, match=r"weight \(4, 2\)"):
        gmnm.laplacian(x, mean, projection, weight[1:])
    for function in (gmnm.bumps, gmnm.bumps_laplacian):
        with pytest.raises(ValueError, match=r"got x \(4, 2\), mean \(5, 3\), projection \(5, 2, 3\)$"):
            function(x[:, 1:], mean, projection)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3, 2, 2)])
def test_ridge_takes_projections_of_all_bumps(shape):
    with pytest.raises(ValueError, match=re.escape(f"gmnm: expected projection (m, p, d), got {shape}")):
        gmnm.ridge(torch.ones(shape))
