"""What holds for every operation, because it enters autograd through one door."""

import sys
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from gmlayers import ops
from gmlayers.ops import _fused

OPS = {
    "gate": lambda t, name: torch.cat(ops.gate(t, t.square() + 1, implementation=name)),
    "gate gelu": lambda t, name: torch.cat(ops.gate(t, t.square() + 1, "gelu", implementation=name)),
    "gate with a reading": lambda t, name: ops.gate(t, t.square() + 1, reading=t[..., None], implementation=name)[1],
    "mix": lambda t, name: ops.mix(t, t[:, None, :], t, implementation=name),
    "bumps": lambda t, name: ops.bumps(t, t, t[:, None, :], implementation=name),
    "bumps_laplacian": lambda t, name: torch.cat(ops.bumps_laplacian(t, t, t[:, None, :], implementation=name)),
}
FAST = {"gate": "closed", "mix": "one_gemm", "bumps": "products", "bumps_laplacian": "products"}


@pytest.fixture(params=OPS)
def pair(request):
    """An operation by its fast path, and by its reference, as functions of one (3, 3) tensor."""
    op, fast = OPS[request.param], FAST[request.param.split()[0]]
    return lambda t: op(t, fast), lambda t: op(t, "reference")


def entry(requires_grad=False):
    return torch.rand(3, 3, dtype=torch.float64, requires_grad=requires_grad)


def test_a_graph_that_is_dropped_is_freed(pair, monkeypatch):
    calls = []

    def run(call, *tensors):
        calls.append(weakref.ref(call))
        return original(call, *tensors)

    original = _fused.run
    for op in (ops.gate, ops.mix, ops.bumps):
        monkeypatch.setattr(sys.modules[op.__module__], "run", run)
    pair[0](entry(requires_grad=True))
    assert calls
    assert calls[0]() is None  # held by the node, which nothing may hold but the values


@pytest.mark.parametrize("outer", [torch.func.jacfwd, torch.func.jacrev])
@pytest.mark.parametrize("inner", [torch.func.jacfwd, torch.func.jacrev])
def test_modes_of_differentiation_nest(pair, outer, inner):
    t = entry()
    found, expected = (outer(inner(f))(t) for f in pair)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected)


def test_forward_mode(pair):
    t, direction = entry(requires_grad=True), entry()
    results = []
    for f in pair:
        with torch.no_grad(), torch.autograd.forward_ad.dual_level():
            y = f(torch.autograd.forward_ad.make_dual(t.detach(), direction))
            results.append([*torch.autograd.forward_ad.unpack_dual(y)])
        with torch.autograd.forward_ad.dual_level():  # over reverse, without a graph of the gradient
            dual = torch.autograd.forward_ad.make_dual(t, direction)
            (grad,) = torch.autograd.grad(f(dual).pow(2).sum(), t)
            results[-1] += [*torch.autograd.forward_ad.unpack_dual(grad)]
    torch.testing.assert_close(*results)


def test_many_gradients_at_once(pair):
    results = []
    for f in pair:
        t = entry(requires_grad=True) if not results else t  # noqa: F821
        y = f(t)
        given = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
        (jacobian,) = torch.autograd.grad(y, t, given, is_grads_batched=True)
        results.append([jacobian, torch.autograd.functional.jacobian(f, t, vectorize=True)])
    torch.testing.assert_close(*results)
    torch.testing.assert_close(results[0][0].flatten(), results[0][1].flatten())


def test_gradcheck_in_batches(pair):
    assert torch.autograd.gradcheck(pair[0], entry(requires_grad=True), check_batched_grad=True)


def test_checkpoints(pair):
    t = entry(requires_grad=True)
    found, expected = (
        torch.autograd.grad(y.pow(2).sum(), t) for y in (checkpoint(pair[0], t, use_reentrant=False), pair[1](t))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("traced", [lambda f, t: make_fx(f)(t), torch.jit.trace], ids=["make_fx", "jit"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of the checks of shapes
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_tracing(pair, traced):
    graph = traced(pair[0], entry())
    t = entry()
    torch.testing.assert_close(graph(t), pair[1](t))


def test_fake_tensors(pair):
    expected = pair[1](entry())
    with FakeTensorMode():
        y = pair[0](entry(requires_grad=True))
        y.sum().backward()
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("op", ["gate", "bumps"])
def test_values_that_the_backward_needs_may_not_be_changed(op):
    t = entry(requires_grad=True)
    value = OPS[op](t, FAST[op]) if op == "bumps" else ops.gate(t, t.square() + 1)[1]
    loss = value.sum()
    value.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_values_are_tensors_of_their_own():
    m = torch.rand(3)
    for grad_mode in (torch.no_grad(), torch.enable_grad()):
        with grad_mode:
            level, _ = ops.gate(m, torch.ones(3), "identity", implementation="closed")
        assert torch.equal(level, m)
        assert level.data_ptr() != m.data_ptr()


def test_explain_checks_as_the_operation_does():
    t = torch.rand(4, 3)
    cases = {
        "gate": (t, torch.ones(3)),
        "mix": (t, torch.rand(3, 2, 5), torch.rand(4, 4)),
        "bumps": (t, torch.rand(2, 3), torch.rand(2, 3)),
        "bumps_laplacian": (t, torch.rand(2, 3), torch.rand(2, 1, 4)),
    }
    for name, args in cases.items():
        with pytest.raises(ValueError, match="expected") as of_op:
            getattr(ops, name)(*args)
        with pytest.raises(ValueError, match="expected") as of_explain:
            ops.explain(name, *args)
        assert str(of_op.value) == str(of_explain.value)


def test_use_knows_its_names_at_once():
    message = "unknown implementation of gate 'close'; did you mean 'closed'"
    with pytest.raises(ValueError, match=message), ops.use(gate="close"):
        pass
