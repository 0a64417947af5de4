import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gmlayers import GMFeedForward, GMNMFeedForward, convert, parameter_groups
from gmlayers.functional import ACTIVATIONS, VARIANCE_FLOOR

KINDS = [
    {},
    {"rank": 2},
    {"level": False, "activation": "gelu_integral"},
    {"level": False, "activation": "sin"},
    {"gate": False},
    {"bias": False},
    {"spread": False},
    {"spread": False, "rank": 2, "activation": "relu_squared"},
    {"spread": False, "level": False, "activation": "silu_integral"},
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=str)


def shaken(block):
    """Outputs start at 0, where nothing could be wrong."""
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return block


def by_loops(block, x):
    """The formula of the docstring, number by number."""
    f = block.activation
    d, K, r = block.in_features, block.num_components, block.rank
    y = torch.zeros(len(x), block.out_features, dtype=x.dtype)
    for n, row in enumerate(x):
        for k in range(K):
            m = sum(block.mean[k, i] * row[i] for i in range(d)) + (0 if block.bias is None else block.bias[k])
            var = torch.tensor(VARIANCE_FLOOR, dtype=x.dtype)
            if block.spread:
                var = var + block.std[k] ** 2 / d * sum(row[i] ** 2 for i in range(d))
            a = []
            if block.gate:
                a = [sum(block.factor[k, j, i] * row[i] for i in range(d)) for j in range(r)]
                var = var + (block.factor_std[k] ** 2 * sum(one**2 for one in a) if block.spread else 0)
            if block.level:
                y[n] += f.mean(m, var) * block.output_mean[k]
            for j, one in enumerate(a):
                y[n] += f.gate(m, var) * one * block.output_factor[k, j]
        if block.output_bias is not None:
            y[n] += block.output_bias
    return y


@kinds
@pytest.mark.parametrize("sizes", [(5, 3, 2), (1, 1, 1), (3, 2, 4)])
def test_the_formula(kind, sizes, dtype):
    d, K, out = sizes
    block = shaken(GMFeedForward(d, None, out, num_components=K, dtype=dtype, **kind))
    x = torch.randn(4, d, dtype=dtype)
    with torch.no_grad():
        expected = by_loops(block, x)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        if not block.spread:  # no variance instead of 1e-12, and SiLU itself instead of the sum for it
            tolerance = max(tolerance, 1e-7)
        torch.testing.assert_close(block(x), expected, rtol=tolerance, atol=tolerance)


@kinds
def test_derivatives(kind):
    block = shaken(GMFeedForward(3, None, 2, num_components=2, dtype=torch.float64, **kind))
    names, values = zip(*block.named_parameters())
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


@kinds
@pytest.mark.parametrize(("sizes", "hidden"), [((64, 64), 256), ((48, 32), 100), ((7, 3), 50)])
def test_it_is_as_large_as_the_mlp(kind, sizes, hidden):
    d, out = sizes
    block = GMFeedForward(d, hidden, out, **kind)
    bias = kind.get("bias", True)
    mlp = nn.Sequential(nn.Linear(d, hidden, bias=bias), nn.GELU(), nn.Linear(hidden, out, bias=bias))
    count, wanted = (sum(p.numel() for p in net.parameters()) for net in (block, mlp))
    assert abs(count - wanted) <= (count - out * bias) / block.num_components / 2 + 1
    assert GMFeedForward(d).num_components == GMFeedForward(d, 4 * d, d).num_components


def test_the_start():
    block = GMFeedForward(400, 1600)
    assert {name: float(p.detach().std()) for name, p in block.named_parameters() if name in ("mean", "factor")} == {
        "mean": pytest.approx(1 / 20, rel=0.01),
        "factor": pytest.approx(1 / 20, rel=0.01),
    }
    for name, p in block.named_parameters():
        if name not in ("mean", "factor"):
            assert (p == (0.3 if name in ("std", "factor_std") else 0)).all()
    assert (block(torch.randn(2, 400)) == 0).all()
    again = copy.deepcopy(block)
    again.reset_parameters(torch.Generator().manual_seed(1))
    block.reset_parameters(torch.Generator().manual_seed(1))
    assert torch.equal(again.mean, block.mean)


def test_without_variance_a_level_is_an_mlp():
    block = shaken(GMFeedForward(6, None, 3, gate=False, num_components=5))
    with torch.no_grad():
        block.std.zero_()
    x = torch.randn(7, 6)
    expected = F.gelu(F.linear(x, block.mean, block.bias)) @ block.output_mean + block.output_bias
    torch.testing.assert_close(block(x), expected)


def test_without_variance_level_and_gate_are_a_neuron_and_its_tangent():
    """ω f(m) + C a f'(m)."""
    block = shaken(GMFeedForward(6, None, 3, num_components=5, activation="sin"))
    with torch.no_grad():
        block.std.zero_()
        block.factor_std.zero_()
    x = torch.randn(7, 6)
    m, a = F.linear(x, block.mean, block.bias), F.linear(x, block.factor[:, 0])
    expected = m.sin() @ block.output_mean + (m.cos() * a) @ block.output_factor[:, 0] + block.output_bias
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("kind", [{}, {"rank": 3}, {"gate": False}, {"bias": False}, {"level": False}], ids=str)
def test_it_is_a_gm_layer(kind):
    block = shaken(GMFeedForward(6, None, 3, num_components=5, dtype=torch.float64, **kind))
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(convert.to_layer(block)(x), block(x), rtol=1e-12, atol=1e-12)


def test_what_is_no_layer():
    block = GMFeedForward(6, 3, drop=0.5)
    with pytest.raises(ValueError, match="to_layer: the block has dropout"):
        convert.to_layer(block)
    with torch.no_grad():
        block.factor_std[0] = 0
    with pytest.raises(ValueError, match="does not vary with its factor, which is a limit of mixtures"):
        convert.to_layer(block.eval())


@pytest.mark.parametrize("make", [GMFeedForward, GMNMFeedForward])
def test_dropout_is_that_of_an_mlp(make):
    """It is of mean 1 in training, and not there in evaluation."""
    block = shaken(make(6, None, 3, num_components=4, drop=0.4))
    x = torch.randn(1, 6)
    exact = block.eval()(x)
    assert torch.equal(block(x), exact)
    found = block.train()(x.expand(40_000, 6))
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact[0]).abs() <= 5 * error).all()
    assert (found.std(0) > 0).all()


def test_stds_have_a_rate_and_no_decay():
    groups = parameter_groups(GMFeedForward(6, 12), 1e-3, 1e-2, weight_decay=0.1)
    sizes = [(group["lr"], group["weight_decay"], sorted(p.ndim for p in group["params"])) for group in groups]
    assert sizes == [(1e-3, 0.1, [2, 2, 3, 3]), (1e-3, 0.0, [1, 1]), (1e-2, 0.0, [1, 1])]


def test_extreme_inputs(dtype):
    block = shaken(GMFeedForward(6, 12, dtype=dtype))
    x = torch.randn(5, 6, dtype=dtype) * torch.tensor([0.0, 1e-12, 1.0, 1e6, 1e12], dtype=dtype)[:, None]
    x.requires_grad_()
    y = block(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *block.parameters()))


@pytest.mark.parametrize(
    "kind", [{}, {"activation": "silu"}, {"rank": 2}, {"level": False, "activation": "relu"}], ids=str
)
def test_numbers_without_squares_are_counted_in_float64(kind):
    block = shaken(GMFeedForward(6, 12, **kind))
    x = torch.randn(3, 6) * 1e20
    exact = copy.deepcopy(block).double()(x.double())
    assert ((block(x).double() - exact).norm() / exact.norm()).item() <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"in_features": 0}, "in_features must be at least 1, got 0"),
        ({"in_features": 3, "hidden_features": 0}, "hidden_features must be at least 1, got 0"),
        ({"in_features": 3, "out_features": 0}, "out_features must be at least 1, got 0"),
        ({"in_features": 3, "rank": 0}, "rank must be at least 1, got 0"),
        ({"in_features": 3, "num_components": 0}, "num_components must be at least 1, got 0"),
        ({"in_features": 3, "hidden_features": 4, "num_components": 2}, "both set the size; give one of them"),
        ({"in_features": 3, "drop": 1.0}, r"drop must lie in \[0, 1\), got 1"),
        ({"in_features": 3, "drop": -0.1}, "drop must"),
    ],
)
@pytest.mark.parametrize("make", [GMFeedForward, GMNMFeedForward])
def test_refusals(make, arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_refusals_of_one_alone():
    with pytest.raises(ValueError, match="level and gate are both False, so that nothing is left; set one of them"):
        GMFeedForward(3, level=False, gate=False)
    with pytest.raises(ValueError, match="unknown activation 'glu'; did you mean 'gelu'"):
        GMFeedForward(3, activation="glu")
    with pytest.raises(ValueError, match=r"GMFeedForward: expected an input of shape \(..., 3\), got \(2, 4\)"):
        GMFeedForward(3)(torch.randn(2, 4))
    with pytest.raises(ValueError, match="GMFeedForward: expected torch.float32, the dtype of the parameters"):
        GMFeedForward(3)(torch.randn(2, 3).double())


# --- bumps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"rank": 3}, {"bias": False}], ids=str)
def test_the_formula_of_bumps(kind, dtype):
    block = shaken(GMNMFeedForward(5, None, 2, num_components=4, dtype=dtype, **kind))
    x = torch.randn(3, 5, dtype=dtype)
    y = torch.zeros(3, 2, dtype=dtype)
    with torch.no_grad():
        for n, row in enumerate(x):
            for k in range(4):
                q = sum((block.projection[k, j] @ row - block.offset[k, j]) ** 2 for j in range(block.rank))
                y[n] += torch.exp(-q / 2) * block.weight[k]
            y[n] += 0 if block.bias is None else block.bias
        torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize("kind", [{}, {"rank": 2}, {"bias": False}], ids=str)
def test_derivatives_of_bumps(kind):
    block = shaken(GMNMFeedForward(3, None, 2, num_components=2, dtype=torch.float64, **kind))
    names, values = zip(*block.named_parameters())
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


@pytest.mark.parametrize(("kind", "hidden"), [({}, 256), ({"rank": 4}, 100), ({"bias": False}, 50)], ids=str)
def test_bumps_are_as_large_as_the_mlp(kind, hidden):
    block = GMNMFeedForward(32, hidden, 48, **kind)
    bias = kind.get("bias", True)
    mlp = nn.Sequential(nn.Linear(32, hidden, bias=bias), nn.Linear(hidden, 48, bias=bias))
    count, wanted = (sum(p.numel() for p in net.parameters()) for net in (block, mlp))
    assert abs(count - wanted) <= count / block.num_components


def test_bumps_answer_where_they_start():
    """Inputs of variance 1: the mean of a bump is 1/√3 for one projection of variance 2, with its offset."""
    block = GMNMFeedForward(64)
    x = torch.randn(2000, 64)
    bumps = torch.exp(-0.5 * F.linear(x, block.projection[:, 0], -block.offset[:, 0]).square())
    assert float(bumps.detach().mean()) == pytest.approx(1 / math.sqrt(3), rel=0.03)
    assert (block(x) == 0).all()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(name):
    block = shaken(GMFeedForward(5, 10, activation=name))
    x = torch.randn(4, 5)
    exact = copy.deepcopy(block).double()(x.double())
    assert (block(x) - exact).norm() <= 2e-5 * exact.norm()
