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


AXES = [(), (0,), (1,), (0, 0), (1, 0), (0, 0, 0), (2, 0, 1), (1, 1, 0), (0, 0, 0, 0), (2, 1, 2, 0), (1, 1, 1, 1, 1)]


def pairings(axes):
    """All ways to put some of the axes into pairs: the pairs, and what is left alone."""
    if not axes:
        yield (), ()
        return
    first, rest = axes[0], axes[1:]
    for pairs, alone in pairings(rest):
        yield pairs, (first, *alone)
    for j, other in enumerate(rest):
        for pairs, alone in pairings(rest[:j] + rest[j + 1 :]):
            yield ((first, other), *pairs), alone


def derivative_in_loops(x, mean, projection, axes):
    """Hermite polynomials as the sum over all pairings: each pair gives -G, each axis alone a slope; no recurrence."""
    A, z = projection.tolist(), [a - b for a, b in zip(x.tolist(), mean.tolist())]
    v = [sum(a * b for a, b in zip(line, z)) for line in A]
    slope = [sum(line[i] * w for line, w in zip(A, v)) for i in range(len(z))]
    gram = [[sum(line[i] * line[j] for line in A) for j in range(len(z))] for i in range(len(z))]
    total = sum(
        math.prod(-gram[i][j] for i, j in pairs) * math.prod(slope[i] for i in alone) for pairs, alone in pairings(axes)
    )
    return (-1) ** len(axes) * total * math.exp(-sum(w * w for w in v) / 2)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("p", [1, 2, 4])
def test_derivatives_of_a_bump_are_the_formula(axes, p, dtype):
    x, mean, projection = arguments((4,), 3, 5, p, 1, dtype)[:3]
    found = gmnm.derivative(x, mean, projection, axes)
    want = [[derivative_in_loops(row, m, A, axes) for m, A in zip(mean, projection)] for row in x]
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    size = torch.tensor(want, dtype=dtype).abs().amax().clamp(min=1e-30)
    torch.testing.assert_close(found / size, torch.tensor(want, dtype=dtype) / size, **tolerance)


@pytest.mark.parametrize("n", range(8))
def test_derivatives_in_one_dimension_are_hermite_polynomials(n):
    """The coefficients of He_n, as in table 22.12 of Abramowitz and Stegun, from the recurrence of their integers."""
    he = [[1], [0, 1]]
    for k in range(1, n):
        he.append([a - k * b for a, b in zip([0, *he[k]], [*he[k - 1], 0, 0])])
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None]
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    want = (-1) ** n * sum(c * x**k for k, c in enumerate(he[n])) * torch.exp(-x.square() / 2)
    torch.testing.assert_close(gmnm.derivative(x, 0 * one[0], one, (0,) * n), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("p", [1, 2, 4])
def test_derivatives_of_a_bump_equal_autograd(axes, p):
    x, mean, projection = arguments((6,), 3, 5, p, 1)[:3]
    want = []
    for k in range(5):
        point = x.clone().requires_grad_()
        value = gmnm.bumps(point, mean[k : k + 1], projection[k : k + 1])[:, 0]
        for axis in axes:
            (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
            value = slope[:, axis]
        want.append(value.detach())
    found = gmnm.derivative(x, mean, projection, axes)
    torch.testing.assert_close(found, torch.stack(want, 1), rtol=1e-9, atol=1e-10)


def test_derivatives_of_a_bump_add_up_to_gradient_hessian_and_laplacian(dtype):
    x, mean, projection, weight, _ = arguments((6,), 3, 5, 2, 4, dtype)

    def sums(*axes):
        return gmnm.derivative(x, mean, projection, axes) @ weight

    args = x, mean, projection, weight
    assert torch.equal(sums(), gmnm.bumps(x, mean, projection) @ weight)
    torch.testing.assert_close(torch.stack([sums(i) for i in range(3)], -1), gmnm.gradient(*args))
    hessian = torch.stack([torch.stack([sums(i, j) for j in range(3)], -1) for i in range(3)], -2)
    torch.testing.assert_close(hessian, gmnm.hessian(*args))
    torch.testing.assert_close(sum(sums(i, i) for i in range(3)), gmnm.laplacian(*args))


@given(st.integers(0, 10_000), st.lists(st.integers(0, 2), max_size=4))
def test_derivatives_of_a_bump_do_not_depend_on_their_order_and_are_products_along_axes(seed, axes):
    torch.manual_seed(seed)
    x, mean, projection = arguments((4,), 3, 2, 2, 1)[:3]
    found = gmnm.derivative(x, mean, projection, axes)
    torch.testing.assert_close(gmnm.derivative(x, mean, projection, axes[::-1]), found)
    diagonal = torch.diag_embed(torch.rand(2, 3, dtype=torch.float64) + 0.5)
    factors = [
        gmnm.derivative(x[:, i : i + 1], mean[:, i : i + 1], diagonal[:, i : i + 1, i : i + 1], (0,) * axes.count(i))
        for i in range(3)
    ]
    torch.testing.assert_close(
        gmnm.derivative(x, mean, diagonal, axes), factors[0] * factors[1] * factors[2], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("axes", [(), (1,), (0, 1), (0, 0, 1)])
def test_derivatives_of_a_bump_have_gradients(axes):
    args = [a.requires_grad_() for a in arguments((3,), 2, 2, 2, 1)[:3]]
    assert torch.autograd.gradcheck(lambda *a: gmnm.derivative(*a, axes), args)
    assert torch.autograd.gradgradcheck(lambda *a: gmnm.derivative(*a, axes), args)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e18])
@pytest.mark.parametrize("axes", [(), (0,), (0, 1), (0, 0, 1, 2), (1,) * 6])
def test_derivatives_of_a_bump_are_0_far_away(far, axes, dtype):
    x, mean, projection = arguments((4,), 3, 5, 3, 1, dtype)[:3]
    projection = projection + 2 * torch.eye(3, dtype=dtype)
    args = [a.requires_grad_() for a in (far * torch.nn.functional.normalize(x, dim=-1), mean, projection)]
    value = gmnm.derivative(*args, axes)
    assert torch.equal(value, torch.zeros_like(value))
    if 100 * (4 * far) ** (len(axes) + 1) < torch.finfo(dtype).max:  # backwards powers of the slope meet before f does
        assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), args))


def test_axes_that_there_are_not():
    x, mean, projection = arguments((4,), 3, 5, 2, 1)[:3]
    for axes in ((3,), (0, -1)):
        with pytest.raises(ValueError, match=re.escape(f"gmnm: expected axes from 0 to 2, got {tuple(sorted(axes))}")):
            gmnm.derivative(x, mean, projection, axes)
    with pytest.raises(TypeError, match=r"gmnm: an axis must be a whole number, got 0\.5"):
        gmnm.derivative(x, mean, projection, (0.5,))
    with pytest.raises(ValueError, match=r"got x \(4, 2\), mean \(5, 3\)"):
        gmnm.derivative(x[:, 1:], mean, projection, (0,))


@pytest.mark.parametrize("rows", [(), (0,), (4,), (2, 3)])
def test_batch_shapes(rows, dtype):
    x, mean, projection, weight, bias = arguments(rows, 2, 3, 2, 4, dtype)
    assert gmnm.gmnm(x, mean, projection, weight, bias).shape == (*rows, 4)
    assert gmnm.gradient(x, mean, projection, weight).shape == (*rows, 4, 2)
    assert gmnm.laplacian(x, mean, projection, weight).shape == (*rows, 4)
    assert gmnm.hessian(x, mean, projection, weight).shape == (*rows, 4, 2, 2)
    assert gmnm.derivative(x, mean, projection, (0, 1, 1)).shape == (*rows, 3)


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
