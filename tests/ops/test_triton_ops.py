"""The operations with their Triton implementation forced; the kernels themselves are tested in test_triton.py."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gmlayers import ops

kernels = pytest.importorskip("gmlayers.ops.mix.triton", reason="triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BOTH = "triton", "reference"


def results(value, inputs):
    values = value if isinstance(value, tuple) else (value,)
    return [*values, *torch.autograd.grad(sum((v * (i + 1)).sum() for i, v in enumerate(values)), inputs)]


@pytest.mark.parametrize("rows", [(7,), (2, 3), ()])
def test_mix(rows):
    gate, weight, x = (
        torch.randn(shape, device=DEVICE, requires_grad=True) for shape in [(*rows, 3), (3, 5, 4), (*rows, 4)]
    )
    fast, plain = (
        results(ops.mix(gate, weight, x, implementation=name), (gate, weight, x)) for name in ("triton", "reference")
    )
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("needs", [(True, True), (False, True), (True, False)])
def test_mix_with_a_scale(needs):
    shapes = [(7, 3), (3, 5, 4), (7, 4), (3, 4)]
    gate, weight, x, scale = (torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes)
    weight.requires_grad_(needs[0])
    scale.requires_grad_(needs[1])
    inputs = [t for t in (gate, weight, x, scale) if t.requires_grad]
    fast, plain = (results(ops.mix(gate, weight, x, scale=scale, implementation=name), inputs) for name in BOTH)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_mix_with_a_gate_of_lower_precision():
    gate, weight, x = (torch.randn(shape, device=DEVICE) for shape in [(7, 3), (3, 5, 4), (7, 4)])
    low = [t.bfloat16().requires_grad_() for t in (gate, weight, x)]
    found = results(ops.mix(*low, implementation="triton"), low)
    assert all(f.dtype == torch.bfloat16 for f in found)
    wide = [t.detach().float().requires_grad_() for t in low]
    exact = results(ops.mix(*wide, implementation="reference"), wide)
    torch.testing.assert_close([f.float() for f in found], exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("rows", [(7,), (2, 3), ()])
@pytest.mark.parametrize("columns", [0, 2])
def test_gate(rows, columns):
    m = torch.randn(*rows, 5, device=DEVICE, requires_grad=True)
    var = (torch.rand(*rows, 5, device=DEVICE) + 0.5).requires_grad_()
    reading = torch.randn(*rows, 5, columns, device=DEVICE, requires_grad=True) if columns else None
    inputs = [t for t in (m, var, reading) if t is not None]
    fast, plain = (
        results(ops.gate(m, var, "gelu", reading=reading, implementation=name), inputs)
        for name in ("triton", "reference")
    )
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_the_reference_s():
    gate, weight = torch.randn(4, 3, device=DEVICE), torch.randn(3, 2, 5, device=DEVICE)
    x = torch.randn(4, 5, device=DEVICE)
    fast, plain = (
        torch.func.hessian(lambda x: ops.mix(gate, weight, x, implementation=name).pow(3).sum())(x)  # noqa: B023
        for name in ("triton", "reference")
    )
    torch.testing.assert_close(fast, plain)


def test_interpreter_is_never_chosen():
    if DEVICE == "cuda":
        pytest.skip("on a GPU the kernels are compiled")
    assert "triton      no" in ops.explain("mix", torch.rand(4, 3).double(), torch.rand(3, 2, 5), torch.rand(4, 5))
    assert "triton" not in ops.explain("gate", torch.rand(4), torch.ones(4)).split("<- chosen")[0].splitlines()[-1]


def test_refusals():
    gate, weight, x = torch.rand(4, 3), torch.rand(3, 2, 5), torch.rand(4, 5)
    with pytest.raises(ValueError, match="it takes weight, x and scale of one dtype of at most float32"):
        ops.mix(gate, weight, x, scale=torch.rand(3, 5).double(), implementation="triton")
    with pytest.raises(ValueError, match="it takes a gate of float32 or of the dtype of x"):
        ops.mix(gate.half(), weight, x, implementation="triton")
    with pytest.raises(ValueError, match="it computes in float32"):
        ops.gate(gate.double(), gate.double() + 1, implementation="triton")


@pytest.mark.parametrize("needs", [(True, True, True), (False, True, True), (False, True, False), (True, False, False)])
def test_bumps(needs):
    shapes = [(2, 3, 4), (5, 4), (5, 2, 4)]
    args = [torch.randn(shape, device=DEVICE).requires_grad_(need) for shape, need in zip(shapes, needs)]
    inputs = [a for a in args if a.requires_grad]
    fast, plain = (results(ops.bumps(*args, implementation=name), inputs) for name in ("triton", "reference"))
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_bumps_in_lower_precision():
    x, mean, projection = (torch.randn(shape, device=DEVICE) for shape in [(6, 4), (5, 4), (5, 2, 4)])
    low = [t.bfloat16() for t in (x, projection)]
    found = ops.bumps(low[0], mean, low[1], implementation="triton")
    torch.testing.assert_close(found, ops.bumps(low[0].float(), mean, low[1].float()), rtol=1e-4, atol=1e-4)


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("needs_x", [True, False])
def test_operations_of_mix_are_counted(needs_x):
    shapes = [(7, 3), (3, 5, 4), (7, 4)]
    inputs = [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes]
    inputs[2].requires_grad_(needs_x)

    def step(name):
        return lambda: ops.mix(*inputs, implementation=name).sum().backward()

    expected = (2 + needs_x) * 2 * 7 * 3 * 5 * 4
    # the backward has W_kᵀδ, which is the gradient of x and gives that of the gate; without x, W_k x once more
    assert counted(step("triton")) == 3 * 2 * 7 * 3 * 5 * 4 >= expected
    if DEVICE == "cpu":  # torch's own products, and the gate's small ones besides
        assert expected <= counted(step("one_gemm")) <= 1.5 * expected


def test_operations_of_bumps_are_counted():
    x, mean, projection = (torch.randn(shape, device=DEVICE) for shape in [(7, 4), (5, 4), (5, 2, 4)])
    product = 2 * 7 * 5 * 2 * 4
    offsets = 2 * 5 * 2 * 4
    found = counted(lambda: ops.bumps(x, mean, projection, implementation="triton"))
    assert found == product + offsets
    projection.requires_grad_()
    found = counted(lambda: ops.bumps(x, mean, projection, implementation="triton").sum().backward())
    assert found == 3 * product + 2 * offsets
