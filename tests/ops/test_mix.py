import importlib

import pytest
import torch

from gmlayers import ops
from gmlayers.ops.mix import MIX, Arguments

products = importlib.import_module("gmlayers.ops.mix.products")  # `gmlayers.ops.mix` is the operation

PRODUCTS = ["one_gemm", "blocked", "gated_input", "by_rows"]


def tensors(rows, K, out, features, dtype=torch.float64, requires_grad=True):
    shapes = (*rows, K), (K, out, features), (*rows, features), (K, features)
    return [torch.randn(shape, dtype=dtype, requires_grad=requires_grad) for shape in shapes]


def loops(gate, weight, x, scale):
    y = torch.zeros(len(x), weight.shape[1], dtype=x.dtype)
    for b in range(len(x)):
        for k in range(len(weight)):
            for o in range(weight.shape[1]):
                for i in range(weight.shape[2]):
                    y[b, o] += gate[b, k] * weight[k, o, i] * scale[k, i] * x[b, i]
    return y


@pytest.mark.parametrize("implementation", ["reference", "one_gemm", "gated_input", "by_rows"])
def test_formula(implementation, dtype):
    gate, weight, x, scale = tensors((5,), 3, 2, 4, dtype, requires_grad=False)
    expected = loops(gate, weight, x, scale)
    torch.testing.assert_close(ops.mix(gate, weight, x, scale=scale, implementation=implementation), expected)


@pytest.mark.parametrize("implementation", PRODUCTS)
@pytest.mark.parametrize("rows", [(), (0,), (1,), (63,), (2, 3)])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("needs_x", [True, False])
@pytest.mark.parametrize("K", [1, 3, 20])
def test_equals_reference(implementation, rows, scaled, needs_x, K, dtype):
    out, features = (600, 7) if implementation == "blocked" else (5, 7)
    if implementation == "blocked" and K == 1:
        pytest.skip("one component is one block")
    gate, weight, x, scale = tensors(rows, K, out, features, dtype)
    x.requires_grad_(needs_x)
    inputs = [t for t in (gate, weight, x, scale if scaled else None) if t is not None and t.requires_grad]
    results = []
    for name in (implementation, "reference"):
        y = ops.mix(gate, weight, x, scale=scale if scaled else None, implementation=name)
        results.append([y, *torch.autograd.grad(y, inputs, torch.ones_like(y).cumsum(-1))])
    bound = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    for got, expected in zip(*results):
        assert (got - expected).abs().max().item() <= bound * expected.abs().max().item() if got.numel() else True


@pytest.mark.parametrize("implementation", ["one_gemm", "blocked"])
@pytest.mark.parametrize("few", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_of_a_few_components_at_a_time(implementation, few, wanted, dtype, monkeypatch):
    out, features = (200, 7) if implementation == "blocked" else (5, 7)
    monkeypatch.setattr(products, "CACHED", few * out * features + 1)
    gate, weight, x, scale = tensors((9,), 17, out, features, dtype, requires_grad=False)
    inputs = [t.requires_grad_() for t, want in zip((weight, scale), wanted) if want]
    results = []
    for name in (implementation, "reference"):
        y = ops.mix(gate, weight, x, scale=scale, implementation=name)
        results.append(torch.autograd.grad(y, inputs, torch.ones_like(y).cumsum(-1)))
    for got, expected in zip(*results):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("implementation", ["one_gemm", "gated_input", "by_rows", "blocked"])
def test_all_derivatives(implementation):
    out = 513 if implementation == "blocked" else 2
    gate, weight, x, scale = tensors((2,), 2, out, 2)

    def f(gate, weight, x, scale):
        y = ops.mix(gate, weight, x, scale=scale, implementation=implementation)
        return y[:, :1] + y[:, -1:]

    args = gate, weight[:, :2].detach().requires_grad_() if out == 2 else weight, x, scale
    if out == 2:
        assert torch.autograd.gradcheck(f, args, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(f, args, check_fwd_over_rev=True)
    else:  # the weight is large: the gradients of the rest
        assert torch.autograd.gradcheck(lambda g, x, s: f(g, weight, x, s), (gate, x, scale), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(lambda g, x, s: f(g, weight, x, s), (gate, x, scale))


def test_transforms():
    gate, weight, x, scale = tensors((4,), 3, 2, 5, requires_grad=False)

    def value(implementation):
        return lambda x: ops.mix(gate, weight, x, scale=scale, implementation=implementation).pow(3).sum()

    for transform in (torch.func.grad, torch.func.hessian):
        torch.testing.assert_close(transform(value("one_gemm"))(x), transform(value("reference"))(x))
    per_row = torch.func.vmap(lambda g, x: ops.mix(g, weight, x, implementation="one_gemm"))(gate, x)
    torch.testing.assert_close(per_row, ops.mix(gate, weight, x))


def test_backward_twice_gives_the_same():
    gate, weight, x, scale = tensors((4,), 3, 2, 5)
    y = ops.mix(gate, weight, x, scale=scale).sum()
    first, second = (torch.autograd.grad(y, (gate, weight, x, scale), retain_graph=True) for _ in range(2))
    for a, b in zip(first, second):
        assert torch.equal(a, b)


@pytest.mark.parametrize("implementation", PRODUCTS)
def test_weights_of_any_layout(implementation):
    rows, K, out, features = (6, 30, 40, 784) if implementation == "blocked" else (6, 30, 10, 784)
    gate, _, x, _ = tensors((rows,), K, out, features)
    weight = torch.randn(K, features, out, dtype=torch.float64).requires_grad_()
    results = []
    for name in (implementation, "reference"):
        y = ops.mix(gate, weight.mT, x, implementation=name)
        results.append([y, *torch.autograd.grad(y.pow(2).sum(), (gate, weight, x))])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(("K", "out", "features"), [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_sums(K, out, features):
    args = tensors((4,), K, out, features)
    y = ops.mix(*args[:3], scale=args[3])
    assert torch.equal(y, torch.zeros(4, out, dtype=y.dtype))
    for got, arg in zip(torch.autograd.grad(y.sum(), args), args):
        assert torch.equal(got, torch.zeros_like(arg))


def test_a_scale_of_another_dtype_takes_no_fast_path():
    gate, weight, x, scale = tensors((4,), 3, 2, 5, torch.float32)
    text = ops.explain("mix", gate, weight, x, scale.double())
    assert text.count("gate, weight, x and scale are of different dtypes") == 3  # beside blocked, and the kernels
    assert "it takes weight, x and scale of one dtype" in text


def test_compiles():
    gate, weight, x, scale = tensors((4,), 3, 2, 5, requires_grad=False)
    compiled = torch.compile(lambda g, w, x: ops.mix(g, w, x, scale=scale), fullgraph=True)
    torch.testing.assert_close(compiled(gate, weight, x), ops.mix(gate, weight, x, scale=scale))


@pytest.mark.parametrize(
    ("sizes", "needs_x", "expected"),
    [
        ((64, 20, 10, 784), False, "one_gemm"),
        ((1024, 8, 512, 512), True, "blocked"),
        ((64, 20, 784, 8), False, "gated_input"),
        ((128, 400, 10, 16), True, "by_rows"),
    ],
)
def test_choice(sizes, needs_x, expected):
    rows, K, out, features = sizes
    arguments = Arguments(rows, K, out, features, True, needs_x, (torch.float32,) * 4, "cpu", False)
    assert MIX.choose(arguments).name == expected


def test_refusals_give_reasons():
    gate, weight, x, _ = tensors((4,), 3, 2, 5, requires_grad=False)
    with pytest.raises(ValueError, match="'blocked' cannot be used here: one block holds all components"):
        ops.mix(gate, weight, x, implementation="blocked")
    with ops.use(mix="blocked"), pytest.raises(ValueError, match="cannot be used here"):
        ops.mix(gate, weight, x)
    with pytest.raises(ValueError, match="unknown implementation of mix 'one_gem'; did you mean 'one_gemm'"):
        ops.mix(gate, weight, x, implementation="one_gem")
    with pytest.raises(ValueError, match=r"got gate \(4, 3\), weight \(3, 2, 5\), x \(4, 4\)"):
        ops.mix(gate, weight, x[:, 1:])
    assert "different dtypes" in ops.explain("mix", gate.float(), weight, x)


def test_no_tensor_of_batch_components_outputs_where_x_needs_a_gradient():
    rows, K, out, features = 256, 8, 1024, 16
    gate, weight, x, _ = tensors((rows,), K, out, features, torch.float32)
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            value = func(*args, **(kwargs or {}))
            if isinstance(value, torch.Tensor):
                largest = max(largest, value.untyped_storage().nbytes() // value.element_size())
            return value

    with Largest():
        y = ops.mix(gate, weight, x, implementation="blocked")
        torch.autograd.grad(y, (gate, weight, x), torch.ones_like(y))
    assert largest == max(rows * out, K * out * features) < rows * K * out
