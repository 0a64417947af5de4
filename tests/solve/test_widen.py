import copy
import math

import pytest
import torch
from torch import nn

from gmlayers import GMNM, solve
from gmlayers.functional import gmnm

F64 = torch.float64


def data(n=60, out=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, dtype=F64, generator=g) * 2 - 1
    y = torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:].square())
    return x, torch.cat([y, y.sin()], 1)[:, :out]


def module(m=8, out=1, **options):
    torch.manual_seed(0)
    return GMNM(2, out, m, domain=(-1, 1), **{"dtype": F64, **options})


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_errors_are_those_of_rows_that_are_left_out(form, bias, weighted):
    """Leave each row out, fit the others, predict it."""
    net, (x, y) = module(5, 2, form=form, bias=bias), data(25, 2)
    counts = torch.rand(25, dtype=F64) if weighted else None
    root = (torch.ones(25, dtype=F64) if counts is None else counts).sqrt()[:, None]
    pull = 0.1 * root.square().sum().sqrt() * torch.eye(5, 6 if bias else 5, dtype=F64)

    def fitted(columns, keep):
        rows = torch.cat([(root * columns)[keep], pull])
        targets = torch.cat([(root * y)[keep], torch.zeros(5, 2, dtype=F64)])
        return torch.linalg.lstsq(rows, targets, driver="gelsd").solution

    factors, errors, weights = (0.5, 1.0, 3.0), [], []
    for factor in factors:
        wider = {name: value.detach() / factor for name, value in net.form_parameters().items()}
        columns = gmnm.bumps(x, net.mean.detach(), net.form.projection(wider))
        if bias:
            columns = torch.cat([columns, torch.ones(25, 1, dtype=F64)], 1)
        total = 0.0
        for i in range(25):
            keep = torch.arange(25) != i
            left = root[i] * (y[i] - columns[i] @ fitted(columns, keep))
            total += left.square().sum()
        errors.append(math.sqrt(total / root.square().sum()))
        weights.append(fitted(columns, torch.ones(25, dtype=torch.bool)))
    start = copy.deepcopy(net)
    found = solve.widen(net, x, y, row_weight=counts, factors=factors, regularisation=0.1)
    torch.testing.assert_close(found.errors, torch.tensor(errors, dtype=F64))
    best = errors.index(min(errors))
    assert found.factor == factors[best]
    for name, value in net.form_parameters().items():
        torch.testing.assert_close(value, start.form_parameters()[name] / factors[best])
    torch.testing.assert_close(net.mean, start.mean, rtol=0, atol=0)
    own = net.weight if net.bias is None else torch.cat([net.weight, net.bias[None]])
    torch.testing.assert_close(own.detach(), weights[best])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_wide_bumps_are_found_and_serve_variable_projection(dtype):
    x, y = data(500)
    net = GMNM.from_data(x.to(dtype), 1, 150, generator=torch.Generator().manual_seed(0))
    found = solve.widen(net, x, y)
    assert net.mean.dtype == dtype
    assert found.factor > 1
    assert found.errors.min() < found.errors[0] / 10
    other_x, other_y = data(500, seed=1)
    error = (net(other_x.to(dtype)) - other_y).square().mean().sqrt()
    assert 0.3 < error / found.errors.min() < 3  # what is left out is like what is new
    result = solve.variable_projection(net, x, y, iterations=2)
    assert result.history[-1].residual < found.errors.min() / 2


def test_rows_that_are_there_twice_and_bumps_that_coincide():
    x, y = data(40)
    net = module(6)
    with torch.no_grad():
        net.mean[1], net.projection[1] = net.mean[0], net.projection[0]
    found = solve.widen(net, x.repeat(2, 1), y.repeat(2, 1))
    assert found.errors.isfinite().all()
    assert net.weight.isfinite().all()


def test_factors_whose_bumps_are_not_finite_are_passed_over():
    x, y = data()
    found = solve.widen(module(), x, y, factors=(1e-320, 1.0))
    assert found.factor == 1.0
    assert found.errors[0] == math.inf


def test_too_few_rows_are_refused_and_nothing_is_written():
    x, y = data(4)
    net = module(8)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="with 8 bumps and 4 rows no error on rows that are left out is finite"):
        solve.widen(net, x, y, factors=(0.01,), regularisation=1e-14)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": ()}, "widen: expected at least one factor, like .*, got none"),
        ({"factors": (1, -2)}, "widen: a factor must be positive and finite, got -2"),
        ({"regularisation": 0.0}, "widen: regularisation must be positive and finite, got 0.0"),
        ({"row_weight": torch.zeros(60)}, "widen: expected a row_weight"),
    ],
)
def test_what_is_refused(options, message):
    x, y = data()
    with pytest.raises(ValueError, match=message):
        solve.widen(module(), x, y, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": 2.0}, r"widen: factors must be a sequence of numbers, like .*, got 2.0"),
        ({"factors": torch.ones(2)}, "widen: factors must be a sequence"),
        ({"factors": ("a",)}, "widen: a factor must be a number, got 'a'"),
        ({"regularisation": None}, "widen: regularisation must be a number, got None"),
    ],
)
def test_what_is_no_number_is_refused(options, message):
    x, y = data()
    with pytest.raises(TypeError, match=message):
        solve.widen(module(), x, y, **options)


def test_data_of_another_shape_and_parametrized_modules_are_refused():
    x, y = data()
    with pytest.raises(ValueError, match="widen: expected x"):
        solve.widen(module(), x[:, :1], y)
    net = module()
    nn.utils.parametrizations.orthogonal(net, "weight")
    with pytest.raises(RuntimeError, match="widen"):
        solve.widen(net, x, y)
