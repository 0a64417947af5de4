import copy
import math

import pytest
import torch
from torch import nn

from gmlayers import GMNM, ops, solve

F64 = torch.float64


def data(n=800, seed=0):
    x = torch.rand(n, 2, dtype=F64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return x, torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:].square())


def module(m=60, out=1, dtype=F64, **options):
    return GMNM(2, out, m, domain=(-1, 1), dtype=dtype, **options)


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_module_is_then_the_best_one(form, bias):
    net, (x, y) = module(form=form, bias=bias, out=2), data()
    y = torch.cat([y, 3 - y.square()], 1)
    result = solve.fit(net, x, y)
    left = net(x) - y
    torch.testing.assert_close(result.residual, left.square().mean(0).sqrt(), rtol=1e-6, atol=1e-12)
    columns = torch.autograd.grad(left.square().sum(), [net.weight, *([net.bias] if bias else [])])
    assert all(g.abs().max() <= 1e-8 * y.square().sum() for g in columns)
    assert result.weight.shape == (60 + bias, 2)
    assert result.max_weight == result.weight.abs().max()
    spread = y - y.mean(0) if bias else y
    torch.testing.assert_close(result.relative, left.norm(dim=0) / spread.norm(dim=0), rtol=1e-6, atol=1e-12)
    assert torch.equal(net.weight, result.weight[:60])


def test_only_the_weights_change():
    net, (x, y) = module(), data()
    before = copy.deepcopy(net.state_dict())
    solve.fit(net, x, y)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in ("weight", "bias")), name


def test_many_blocks(monkeypatch):
    net, (x, y) = module(), data()
    once = solve.fit(net, x, y, row_weight=torch.rand(800))
    monkeypatch.setattr("gmlayers.solve._fit.BLOCK", 1000)
    torch.manual_seed(0)
    module()  # the draws that the first took
    streamed = solve.fit(net, x, y, row_weight=torch.rand(800))
    torch.testing.assert_close(streamed.weight, once.weight, rtol=1e-6, atol=1e-8)


def test_row_weights():
    net, (x, y) = module(m=10), data()
    here = (x[:, 0] < 0).double()
    solve.fit(net, x, y, row_weight=here)
    weighted = net.weight.clone()
    solve.fit(net, x[here > 0], y[here > 0])
    torch.testing.assert_close(weighted, net.weight, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("regularisation", [0.0, 1e-2, "gcv"])
def test_rows_of_weight_0_say_nothing(regularisation):
    """One of them is an outlier."""
    (x, y), net, other = data(), module(m=10), module(m=10)
    other.load_state_dict(net.state_dict())
    want = solve.fit(net, x[1:], y[1:], regularisation=regularisation)
    here = torch.ones(800)
    here[0], y[0] = 0, 1e6
    found = solve.fit(other, x, y, row_weight=here, regularisation=regularisation)
    torch.testing.assert_close(found.weight, want.weight, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found.relative, want.relative, rtol=1e-7, atol=0)


def test_counts_are_repetitions():
    (x, y), net, other = data(), module(m=10), module(m=10)
    other.load_state_dict(net.state_dict())
    counts = torch.arange(800) % 3
    found = solve.fit(net, x, y, row_weight=counts, regularisation=0.1)
    want = solve.fit(other, x.repeat_interleave(counts, 0), y.repeat_interleave(counts, 0), regularisation=0.1)
    torch.testing.assert_close(found.weight, want.weight, rtol=1e-7, atol=1e-7)
    found = solve.fit(net, x, y, row_weight=counts > 0)
    torch.testing.assert_close(found.weight, solve.fit(net, x[counts > 0], y[counts > 0]).weight, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("regularisation", [10.0, "gcv"])
def test_regularisation_leaves_the_level_alone(regularisation):
    (x, y), net, other = data(), module(), module()
    other.load_state_dict(net.state_dict())
    solve.fit(net, x, y, regularisation=regularisation)
    solve.fit(other, x, y + 1e6, regularisation=regularisation)
    torch.testing.assert_close(other(x) - 1e6, net(x), rtol=1e-6, atol=1e-6)


def test_float32_modules_are_fitted_in_float64():
    (x, y), net = data(), module(dtype=torch.float32)
    wide = copy.deepcopy(net).double()
    want = solve.fit(wide, x, y)
    with pytest.warns(UserWarning, match="fit: sums of bumps in float32 may be off by .*, with weights as large as"):
        result = solve.fit(net, x.float(), y.float(), float32_tolerance=1e-12)
    assert result.residual.item() == pytest.approx(want.residual.item(), rel=1e-2)
    assert net.weight.dtype == torch.float32
    torch.testing.assert_close(net.weight, result.weight[:60].float())


def test_what_float32_loses_is_reported():
    """Wide bumps: a good fit in float64 of which float32 keeps little."""
    (x, y), net = data(), module(m=100)
    with torch.no_grad():
        net.projection.copy_(torch.eye(2, dtype=F64) / 0.5)
    result = solve.fit(net, x, y)
    assert result.residual < 1e-2
    error = (copy.deepcopy(net).float()(x.float()).double() - net(x)).square().mean().sqrt()
    assert result.float32_error / 5 < error < 5 * result.float32_error
    assert result.float32_error > 10 * result.residual
    with pytest.warns(UserWarning, match="stay in float64, or regularise, or take narrower bumps"):
        solve.fit(net.float(), x, y)
    solve.fit(net, x, y, float32_tolerance=math.inf)  # without a warning


def test_what_float32_loses_of_the_bias_is_reported():
    (x, y), net = data(), module(m=20)
    with pytest.warns(
        UserWarning, match="fit: sums of bumps in float32 may be off by 0.12, with weights as large as 1e.06"
    ) as caught:
        result = solve.fit(net, x, y + 1e6, float32_tolerance=1e-3)
    assert caught[0].filename == __file__
    error = (copy.deepcopy(net).float()(x.float()).double() - net(x)).square().mean().sqrt()
    assert result.float32_error / 5 < error < 5 * result.float32_error


@pytest.mark.parametrize("offset", [1e3, 1.7e9])
def test_far_from_0_the_fit_is_that_of_the_module(offset):
    """As good as with differences first; a bump's place in such numbers is another than near 0."""
    t = torch.linspace(0, 1, 500, dtype=F64)[:, None]
    x = offset + 60 * t
    t = (x - offset) / 60
    y = torch.sin(6 * t) + t.square()
    net = GMNM.from_data(x, 1, 40, generator=torch.Generator().manual_seed(0))
    solve.widen(net, x, y)
    result = solve.fit(net, x, y)
    assert result.residual < 1e-10
    torch.testing.assert_close((net(x) - y).square().mean(0).sqrt(), result.residual, rtol=0.5, atol=1e-12)
    gone = solve.variable_projection(net, x, y, iterations=3)
    assert gone.history[-1].residual <= gone.history[0].residual < 1e-7


def test_weights_that_the_dtype_cannot_hold_are_refused():
    (x, y), net = data(), module(m=5, dtype=torch.float16)
    before = copy.deepcopy(net.state_dict())
    for function in (solve.fit, solve.widen, solve.variable_projection):
        with pytest.raises(ValueError, match=r"assign: weights up to .* are too large for torch.float16"):
            function(net, x, 1e6 * y)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_rows_of_a_differential_operator():
    """Δu = f on the square, u = sin πx sin πy² (KAN paper, section 3.4): 400 bumps, one solve."""

    def u(x):
        return torch.sin(math.pi * x[:, :1]) * torch.sin(math.pi * x[:, 1:].square())

    def f(x):
        s, square = torch.sin(math.pi * x[:, :1]), math.pi * x[:, 1:].square()
        curved = math.pi * (1 + 4 * x[:, 1:].square())
        return -math.pi * curved * s * square.sin() + 2 * math.pi * s * square.cos()

    line, grid = torch.linspace(-1, 1, 100, dtype=F64), torch.linspace(-1.2, 1.2, 20, dtype=F64)
    edge = torch.ones_like(line)
    boundary = torch.cat([torch.stack(p, 1) for p in ((line, edge), (line, -edge), (edge, line), (-edge, line))])
    inner = torch.rand(3000, 2, dtype=F64) * 2 - 1
    net = GMNM(2, 1, 400, domain=(-1, 1), bias=False, dtype=F64)
    with torch.no_grad():
        net.mean.copy_(torch.cartesian_prod(grid, grid))
        net.projection.copy_(torch.eye(2, dtype=F64) / 0.4)

    def blocks():
        for x in inner.split(1000):
            yield ops.bumps_laplacian(x, net.mean, net.projection_matrix())[1], f(x)
        yield solve.Rows(ops.bumps(boundary, net.mean, net.projection_matrix()), u(boundary), 1e3 * torch.ones(400))

    solve.assign(net, solve.least_squares(blocks()).weight)
    x = torch.rand(1000, 2, dtype=F64) * 2 - 1
    assert (net(x) - u(x)).square().mean() < 1e-10
    torch.testing.assert_close(net.laplacian(x), f(x), rtol=0, atol=1e-2)


def test_bad_arguments():
    net, (x, y) = module(), data()
    with pytest.raises(
        ValueError, match=r"fit: expected x \(n, 2\) and y \(n, 1\), n > 0, got \(800, 1\) and \(800, 1\)"
    ):
        solve.fit(net, x[:, :1], y)
    with pytest.raises(ValueError, match=r"got \(800,\) and \(800, 1\)"):
        solve.fit(net, x[:, 0], y)
    with pytest.raises(ValueError, match=r"fit: expected a row_weight \(800,\), .* got \(5,\)"):
        solve.fit(net, x, y, row_weight=torch.ones(5))
    with pytest.raises(ValueError, match=r"n > 0, got \(0, 2\) and \(0, 1\)"):
        solve.fit(net, x[:0], y[:0])
    with pytest.raises(ValueError, match="not negative and somewhere positive"):
        solve.fit(net, x, y, row_weight=torch.zeros(800))
    with pytest.raises(ValueError, match="fit: y has numbers that are not finite"):
        solve.fit(net, x, math.nan * y)
    with pytest.raises(TypeError, match="fit: y must be an array of real numbers, got ndarray .* of <U"):
        solve.fit(net, x, y.numpy().astype(str))
    with pytest.raises(TypeError, match="fit: y must be .* floating-point or whole numbers, got .*torch.complex128"):
        solve.fit(net, x, y.to(torch.complex128))
    for function in (solve.fit, solve.widen, solve.variable_projection):
        with pytest.raises(ValueError, match="x is on cpu and the module on meta; move one to the other"):
            function(GMNM(2, 1, 5, device="meta"), x, y)
    for tolerance in ("a", True):
        with pytest.raises(TypeError, match="fit: float32_tolerance must be a number, got"):
            solve.fit(net, x, y, float32_tolerance=tolerance)
    with pytest.raises(ValueError, match="fit: float32_tolerance must not be negative, got nan"):
        solve.fit(net, x, y, float32_tolerance=math.nan)
    with pytest.raises(TypeError, match="fit: expected a GMNM, got Linear; give the module itself"):
        solve.fit(nn.Linear(2, 1), x, y)
    with pytest.raises(TypeError, match="assign: expected a GMNM, got Linear"):
        solve.assign(nn.Linear(2, 1), x)
    with pytest.raises(
        TypeError, match=r"assign: weight\[0\] must be a tensor, an array or a list of numbers, got '1'"
    ):
        solve.assign(net, ["1"])
    with pytest.raises(ValueError, match=r"assign: expected a weight \(61, 1\), got \(60, 1\)"):
        solve.assign(net, torch.ones(60, 1))
    nn.utils.parametrize.register_parametrization(net, "weight", nn.Softplus())
    with pytest.raises(RuntimeError, match="fit: remove the parametrizations of the module first"):
        solve.fit(net, x, y)
    with pytest.raises(RuntimeError, match="assign: remove the parametrizations"):
        solve.assign(net, torch.ones(61, 1))
