import math

import pytest
import torch

from gmlayers import ops
from gmlayers.functional import gmnm

BOTH = [ops.bumps, ops.bumps_laplacian]


def tensors(rows, d, m, p, dtype=torch.float64, requires_grad=True):
    shapes = (*rows, d), (m, d), (m, p, d)
    return [torch.randn(shape, dtype=dtype, requires_grad=requires_grad) for shape in shapes]


def values(op, *args, implementation=None):
    found = op(*args, implementation=implementation)
    return found if isinstance(found, tuple) else (found,)


def loops(x, mean, projection):
    """f and its Laplacian, sum by sum."""
    m, p, d = projection.shape
    f, laplacian = torch.zeros(len(x), m, dtype=x.dtype), torch.zeros(len(x), m, dtype=x.dtype)
    for n in range(len(x)):
        for k in range(m):
            v = [sum((projection[k, j, i] * (x[n, i] - mean[k, i])).item() for i in range(d)) for j in range(p)]
            slope = [sum(v[j] * projection[k, j, i].item() for j in range(p)) for i in range(d)]
            f[n, k] = math.exp(-0.5 * sum(a * a for a in v))
            laplacian[n, k] = f[n, k] * (sum(a * a for a in slope) - projection[k].square().sum())
    return f, laplacian


@pytest.mark.parametrize("implementation", ["reference", "products"])
@pytest.mark.parametrize(("d", "m", "p"), [(1, 1, 1), (2, 3, 2), (4, 2, 3), (2, 3, 4)])
def test_formula(implementation, d, m, p, dtype):
    args = tensors((5,), d, m, p, dtype, requires_grad=False)
    expected = loops(*args)
    for got, value in zip(values(ops.bumps_laplacian, *args, implementation=implementation), expected):
        torch.testing.assert_close(got, value)
    torch.testing.assert_close(ops.bumps(*args, implementation=implementation), expected[0])


@pytest.mark.parametrize("op", BOTH)
@pytest.mark.parametrize("rows", [(), (0,), (1,), (63,), (2, 3)])
@pytest.mark.parametrize("needs", [(True, True, True), (False, True, True), (False, True, False), (False, False, True)])
@pytest.mark.parametrize(("d", "m", "p"), [(1, 1, 1), (2, 7, 2), (7, 3, 2), (3, 257, 1), (2, 3, 5)])
def test_equals_reference(op, rows, needs, d, m, p, dtype):
    args = tensors(rows, d, m, p, dtype)
    inputs = [a.requires_grad_(need) for a, need in zip(args, needs) if need]
    for a, need in zip(args, needs):
        a.requires_grad_(need)
    results = []
    for name in ("products", "reference"):
        found = values(op, *args, implementation=name)
        weights = [torch.linspace(-1, 1, f.numel(), dtype=dtype).view_as(f) for f in found]
        results.append([*found, *torch.autograd.grad(found, inputs, weights)])
    bound = {torch.float32: 2e-5, torch.float64: 1e-13}[dtype]
    for got, expected in zip(*results):
        assert got.shape == expected.shape
        assert got.numel() == 0 or (got - expected).abs().max() <= bound * (1 + expected.abs().max())


@pytest.mark.parametrize("op", BOTH)
def test_only_x_needs_a_gradient(op):
    x, mean, projection = tensors((6,), 3, 4, 2)
    mean.requires_grad_(False)
    projection.requires_grad_(False)
    grads = [
        torch.autograd.grad(sum(v.sum() for v in values(op, x, mean, projection, implementation=name)), x)[0]
        for name in ("products", "reference")
    ]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("op", BOTH)
def test_all_derivatives(op):
    args = tensors((2,), 2, 2, 2)
    assert torch.autograd.gradcheck(lambda *a: op(*a, implementation="products"), args, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda *a: op(*a, implementation="products"), args, check_fwd_over_rev=True)


def test_laplacian_is_the_trace_of_the_hessian():
    x, mean, projection = tensors((), 3, 4, 2, requires_grad=False)
    hessian = torch.func.hessian(lambda x: ops.bumps(x, mean, projection, implementation="products"))(x)
    found = ops.bumps_laplacian(x, mean, projection, implementation="products")[1]
    torch.testing.assert_close(found, hessian.diagonal(dim1=-2, dim2=-1).sum(-1))


@pytest.mark.parametrize("op", BOTH)
def test_vmap_and_compile(op):
    x, mean, projection = tensors((4,), 2, 3, 2, requires_grad=False)
    plain = values(op, x, mean, projection, implementation="reference")
    for found in (
        torch.func.vmap(lambda x: values(op, x, mean, projection, implementation="products"))(x),
        torch.compile(lambda *a: values(op, *a), fullgraph=True)(x, mean, projection),
    ):
        for got, expected in zip(found, plain):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_extremes_are_finite(scale, dtype):
    x, mean, projection = tensors((9,), 2, 5, 2, dtype)
    found = values(ops.bumps_laplacian, x, mean, (projection * scale), implementation="products")
    grads = torch.autograd.grad(sum(v.sum() for v in found), (x, mean, projection))
    assert all(t.isfinite().all() for t in (*found, *grads))


@pytest.mark.parametrize("width", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_float32_is_as_accurate_as_the_reference(width, shift):
    x, mean, projection = tensors((500,), 2, 20, 2, torch.float32, requires_grad=False)
    exact = [t.double().requires_grad_() for t in (x + shift, mean + shift, projection / width)]
    single = [t.detach().float().requires_grad_() for t in exact]
    weights = [torch.randn(500, 20), torch.randn(500, 20) * width**2]

    def grads(args, name):
        found = values(ops.bumps_laplacian, *args, implementation=name)
        return torch.autograd.grad(found, args, [w.to(args[0].dtype) for w in weights])

    truth = grads(exact, "reference")
    for fast, plain, right in zip(grads(single, "products"), grads(single, "reference"), truth):
        assert (fast - right).norm() <= 8 * (plain - right).norm() + 1e-6 * right.norm()


def test_module_from_bumps():
    x, mean, projection = tensors((6,), 2, 3, 2, requires_grad=False)
    weight, bias = torch.randn(3, 4, dtype=x.dtype), torch.randn(4, dtype=x.dtype)
    f, laplacian = ops.bumps_laplacian(x, mean, projection)
    torch.testing.assert_close(f @ weight + bias, gmnm.gmnm(x, mean, projection, weight, bias))
    torch.testing.assert_close(laplacian @ weight, gmnm.laplacian(x, mean, projection, weight))


@pytest.mark.parametrize(("d", "m", "p"), [(0, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_empty_sums(d, m, p):
    args = tensors((4,), d, m, p)
    f, laplacian = ops.bumps_laplacian(*args)
    torch.testing.assert_close(f, torch.ones_like(f) if min(d, p) == 0 else f)
    assert f.shape == laplacian.shape == ops.bumps(*args).shape == (4, m)
    torch.autograd.grad((f.sum(), laplacian.sum()), args, allow_unused=True)


def test_refusals_give_reasons():
    x, mean, projection = tensors((4,), 2, 3, 2, requires_grad=False)
    with pytest.raises(ValueError, match=r"got x \(4, 1\), mean \(3, 2\), projection \(3, 2, 2\)"):
        ops.bumps(x[:, 1:], mean, projection)
    with (
        ops.use(bumps_laplacian="products"),
        pytest.raises(ValueError, match="there are no components, no projections or no features"),
    ):
        ops.bumps_laplacian(x, mean, projection[:, :0])
    torch.testing.assert_close(ops.bumps(x, mean, projection[:, :0]), torch.ones(4, 3, dtype=x.dtype))
    with pytest.raises(ValueError, match="did you mean 'products'"):
        ops.bumps(x, mean, projection, implementation="product")
    assert "products" in ops.explain("bumps", x, mean, projection)
    assert "different dtypes" in ops.explain("bumps_laplacian", x.float(), mean, projection)
