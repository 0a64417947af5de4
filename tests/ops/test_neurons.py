"""A whole layer as one operation: equal to its parts in value and every derivative, and as small as an MLP."""

import copy
import math

import pytest
import torch
from torch import nn

from gmlayers import GMFeedForward, GMLayer, ops
from gmlayers.functional import ACTIVATIONS
from gmlayers.ops import _neurons
from gmlayers.ops.gate.closed import CHUNK, FEW, Gelu, Relu

SIZES = [(5, 7, 4, 3), (1, 1, 1, 1), (0, 3, 2, 2), (67, 33, 100, 5), (700, 9, 130, 2)]  # the last takes two blocks


def made(activation, size, *, block):
    n, d, K, out = size
    x = torch.randn(n, d, requires_grad=True)
    module = (
        GMFeedForward(d, None, out, num_components=K, activation=activation)
        if block
        else GMLayer(d, out, K, activation=activation, learn_weights=True)
    )
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module, x


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("block", [False, True], ids=["layer", "block"])
def test_values_and_gradients_are_those_of_float64(activation, size, block):
    module, x = made(activation, size, block=block)
    assert _neurons.applies(module.activation, x)
    wide, wide_x = copy.deepcopy(module).double(), x.detach().double().requires_grad_()
    y, exact = module(x), wide(wide_x)
    assert (y - exact).norm() <= 3e-6 * exact.norm() + 1e-6
    weight = torch.randn_like(exact)
    found = torch.autograd.grad((y * weight.float()).sum(), [x, *module.parameters()])
    right = torch.autograd.grad((exact * weight).sum(), [wide_x, *wide.parameters()])
    for name, one, other in zip(["x", *dict(module.named_parameters())], found, right):
        assert (one - other).norm() <= 1e-5 * other.norm() + 1e-5, name


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_second_derivatives_are_those_of_float64(activation):
    module, x = made(activation, (6, 4, 3, 2), block=True)
    wide, wide_x = copy.deepcopy(module).double(), x.detach().double().requires_grad_()
    found = []
    for net, rows in ((module, x), (wide, wide_x)):
        (first,) = torch.autograd.grad(net(rows).square().sum(), rows, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [rows, *net.parameters()]))
    for one, other in zip(*found):
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-5


@pytest.mark.parametrize("only", range(9))
def test_a_gradient_alone(only):
    """Of one argument, the others being constants."""
    module, x = made("gelu", (5, 4, 3, 2), block=True)
    tensors = [x, *(p for _, p in module.named_parameters())]
    whole = torch.autograd.grad(module(x).square().sum(), tensors)
    for t in tensors:
        t.requires_grad_(False)
    tensors[only].requires_grad_()
    (found,) = torch.autograd.grad(module(x).square().sum(), [tensors[only]])
    torch.testing.assert_close(found, whole[only])


def test_what_is_forced_is_taken():
    module, x = made("relu", (5, 4, 3, 2), block=False)
    with ops.use(gate="reference"):
        assert not _neurons.applies(module.activation, x)
        y = module(x)
    torch.testing.assert_close(module(x), y)


def test_where_there_is_no_such_form():
    x = torch.randn(3, 4)
    assert not _neurons.applies(ACTIVATIONS["silu"], x)
    assert not _neurons.applies(ACTIVATIONS["relu"], x.double())
    assert not _neurons.applies(ACTIVATIONS["relu"], x, x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not _neurons.applies(ACTIVATIONS["relu"], x)


@pytest.mark.parametrize("large", ["a", "power", "std"])
def test_beyond_its_range_it_says_so(large):
    arguments = {
        "m": torch.rand(3, 5),
        "a": torch.rand(3, 5) + 1,
        "power": torch.rand(3, 1) + 1,
        "std": torch.rand(5),
        "factor_std": None,
        "output_mean": torch.rand(5, 2),
        "output_factor": torch.rand(5, 2),
        "output_bias": None,
        "activation": ACTIVATIONS["relu"],
    }
    assert _neurons.neurons(**arguments) is not None
    arguments[large] = arguments[large] * 1e20
    assert _neurons.neurons(**arguments) is None
    arguments[large] = arguments[large] * math.nan
    assert _neurons.neurons(**arguments) is None


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_operation_is_its_reference(activation, rest, scale):
    """Value and gradients, of all arguments."""
    tensors = [
        torch.randn(2, 3, 5),
        torch.randn(2, 3, 5),
        torch.rand(2, 3, 1),
        torch.rand(5),
        torch.rand(5) if rest else None,
        torch.randn(5, 4),
        torch.randn(5, 4),
        torch.randn(4) if rest else None,
    ]
    given = [t.requires_grad_() for t in tensors if t is not None]
    y = _neurons.neurons(*tensors, ACTIVATIONS[activation], scale)
    call = _neurons._Neurons(_neurons.KINDS[activation], ACTIVATIONS[activation], scale)
    (expected,) = call.reference(*tensors)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-6)
    weight = torch.randn_like(y)
    for found, right in zip(torch.autograd.grad(y, given, weight), torch.autograd.grad(expected, given, weight)):
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [Relu, Gelu])
@pytest.mark.parametrize("number", [FEW, FEW + 1, CHUNK + 1])
def test_what_is_made_anew_is_what_was_found(kind, number):
    m, var = 3 * torch.randn(number), 2 * torch.rand(number) + 0.01
    level, slope, density, again = (torch.empty_like(m) for _ in range(4))
    kind.fill(m, var, level, slope, density)
    activation = ACTIVATIONS[kind.__name__.lower()]
    second, third = kind.again(m, var, slope, density, again)
    exact = activation.higher(m.double(), var.double())
    torch.testing.assert_close(again, level, rtol=0, atol=3e-6)
    torch.testing.assert_close(level.double(), activation.mean(m.double(), var.double()), rtol=1e-5, atol=5e-7)
    torch.testing.assert_close(second.double(), exact[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(third.double(), exact[1], rtol=1e-4, atol=1e-3)


def test_a_block_keeps_no_more_for_its_backward_than_an_mlp():
    def kept(net, x):
        parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
        found = {}

        def pack(t):
            found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(x)
        return sum(size for place, size in found.items() if place not in parameters)

    x = torch.randn(512, 64)
    mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
    assert kept(GMFeedForward(64), x) <= 1.1 * kept(mlp, x)
