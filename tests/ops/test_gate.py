import pytest
import torch

from gmlayers import ops
from gmlayers.functional import ACTIVATIONS, Activation
from gmlayers.ops.gate import compiled, reference

SHAPES = [(), (0,), (1,), (63,), (2, 3, 5)]


def tensors(shape, columns, dtype):
    m = torch.randn(shape, dtype=dtype, requires_grad=True)
    var = (2 * torch.rand(shape, dtype=dtype) + 0.1).requires_grad_()
    return m, var, torch.randn(*shape, columns, dtype=dtype, requires_grad=True) if columns else None


def values(m, var, activation, reading, implementation):
    level, gated = ops.gate(m, var, activation, reading=reading, implementation=implementation)
    inputs = [t for t in (m, var, reading) if t is not None]
    total = 0.7 * level.sum() - 1.3 * gated.sum()
    grads = torch.autograd.grad(total, inputs, materialize_grads=True)
    return level, gated, *grads


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_closed_equals_reference(name, shape, columns, dtype):
    m, var, reading = tensors(shape, columns, dtype)
    bound = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    for got, expected in zip(values(m, var, name, reading, "closed"), values(m, var, name, reading, "reference")):
        torch.testing.assert_close(got, expected, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [*SHAPES, (257, 600)])
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_blocked_equals_reference(name, shape, columns):
    m, var, reading = tensors(shape, columns, torch.float32)
    exact = [t if t is None else t.detach().double().requires_grad_() for t in (m, var, reading)]
    for got, expected in zip(values(m, var, name, reading, name), values(*exact[:2], name, exact[2], "reference")):
        torch.testing.assert_close(got, expected.float(), rtol=4e-6, atol=2e-6)


def test_relu_tails():
    t = torch.linspace(-13, 13, 2001)
    level, slope = ops.gate(t, torch.ones_like(t), implementation="relu")
    exact_level, exact_slope = ops.gate(t.double(), torch.ones_like(t).double(), implementation="reference")
    assert (level / exact_level - 1).abs().max() < 5e-5
    assert (slope / exact_slope - 1).abs().max() < 2e-5


@pytest.mark.parametrize("var", [1e-12, 0.3, 10.0])
def test_gelu_tails(var):
    m = torch.linspace(-13, 13, 2001) * (1 + var) ** 0.5
    var = torch.full_like(m, var)
    level, slope = ops.gate(m, var, "gelu", implementation="gelu")
    exact_level, exact_slope = ops.gate(m.double(), var.double(), "gelu", implementation="reference")
    density = torch.exp(-0.5 * m.double().square() / (1 + var.double()))
    # both pass through 0: the error is beside the size of their terms, |m| Φ and Φ
    assert ((level - exact_level).abs() / (exact_level.abs() + density)).max() < 2e-5
    assert ((slope - exact_slope).abs() / (exact_slope.abs() + density)).max() < 2e-5


@pytest.mark.parametrize("name", ["relu", "gelu"])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_blocked_extremes(name, scale):
    m = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], requires_grad=True)
    var = torch.full((5,), scale, requires_grad=True)
    assert all(value.isfinite().all() for value in values(m, var, name, None, name))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_derivatives(name):
    m, var, reading = tensors((3, 2), 2, torch.float64)

    def f(m, var, reading):
        return ops.gate(m, var, name, reading=reading, implementation="closed")

    assert torch.autograd.gradcheck(f, (m, var, reading), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (m, var, reading))


def test_transforms():
    m, var, _ = tensors((4, 3), 0, torch.float64)

    def total(implementation):
        return lambda m: (ops.gate(m, var, "gelu", implementation=implementation)[0] ** 2).sum()

    for transform in (torch.func.grad, torch.func.hessian):
        torch.testing.assert_close(transform(total("closed"))(m), transform(total("reference"))(m))
    rows = torch.func.vmap(lambda m, v: ops.gate(m, v, "gelu")[1])(m, var)
    torch.testing.assert_close(rows, ops.gate(m, var, "gelu")[1])


@pytest.mark.parametrize(("name", "dtype"), [("relu", torch.float32), ("gelu", torch.float64)])
@pytest.mark.parametrize("columns", [0, 1, 2])
def test_vmap_is_one_call(name, dtype, columns, monkeypatch):
    """With arguments that are mapped over along another axis than the first, or not at all."""
    monkeypatch.setattr(reference, "gate", None)
    m, var, reading = tensors((4, 3, 2), columns, dtype)
    shared = var[:, 0]

    def total(m, var, reading):
        return sum(value.square().sum() for value in ops.gate(m, var, name, reading=reading))

    mapped = torch.func.vmap(total, in_dims=(1, None, None if reading is None else 1))(m, shared, reading)
    looped = torch.stack([total(m[:, j], shared, None if reading is None else reading[:, j]) for j in range(3)])
    torch.testing.assert_close(mapped, looped)
    wanted = [t for t in (m, var, reading) if t is not None]
    pairs = zip(torch.autograd.grad(mapped.sum(), wanted), torch.autograd.grad(looped.sum(), wanted))
    for got, expected in pairs:
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("derivative", [torch.func.grad, torch.func.hessian, torch.func.jacfwd])
def test_derivatives_of_every_row(derivative):
    m, var, reading = (t.detach() for t in tensors((4, 3), 2, torch.float64))

    def total(m, var, reading):
        return sum(value.square().sum() for value in ops.gate(m, var, "gelu", reading=reading))

    looped = torch.stack([derivative(total)(*row) for row in zip(m, var, reading)])
    torch.testing.assert_close(torch.func.vmap(derivative(total))(m, var, reading), looped)
    looped = torch.stack([derivative(total)(row, var[0], reading[0]) for row in m])
    torch.testing.assert_close(torch.func.vmap(derivative(total), (0, None, None))(m, var[0], reading[0]), looped)


def test_large_transposed_arguments():
    m = torch.randn(400, 300)
    var = torch.rand(400, 300) + 0.5
    for got, expected in zip(ops.gate(m.T, var.T, implementation="relu"), ops.gate(m, var, implementation="relu")):
        torch.testing.assert_close(got, expected.T)


def test_own_activations_fall_back_to_autograd():
    own = Activation(torch.sin, ACTIVATIONS["sin"].mean, ACTIVATIONS["sin"].gate)
    m, var, _ = tensors((4, 3), 0, torch.float64)
    for got, expected in zip(values(m, var, own, None, None), values(m, var, "sin", None, "closed")):
        torch.testing.assert_close(got, expected)
    with pytest.raises(ValueError, match="no closed form of E f''"):
        ops.gate(m, var, own, implementation="closed")


def test_refusals():
    m, var, reading = tensors((4, 3), 2, torch.float64)
    with pytest.raises(ValueError, match="accurate to float32"):
        ops.gate(m, var, implementation="relu")
    with pytest.raises(ValueError, match=r"got m \(4, 3\)"):
        ops.gate(m, var[:2])
    with pytest.raises(ValueError, match=r"reading \(3, 2\)"):
        ops.gate(m, var, reading=reading[0])
    assert "relu" in ops.explain("gate", m, var)
    with pytest.raises(ValueError, match="expected float32 or float64, got torch.float16"):
        ops.gate(m.half(), var.half())


def test_form_for_compilers():
    t = torch.linspace(-12, 12, 2401)
    var = torch.rand(2401) + 0.5
    single = [(t * var.sqrt()).requires_grad_(), var.requires_grad_()]
    exact = [a.detach().double().requires_grad_() for a in single]
    found, truth = compiled.relu(*single), ops.gate(*exact, implementation="reference")
    for got, expected in zip(found, truth):
        assert ((got - expected).abs() / expected).max() < 1e-4  # the lower tail too
    for create_graph in (True, False):  # first and second derivatives
        found = torch.autograd.grad([f.sum() for f in found], single, create_graph=create_graph)
        truth = torch.autograd.grad([f.sum() for f in truth], exact, create_graph=create_graph)
        for got, expected in zip(found, truth):
            torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("transform", [torch.func.grad, lambda f: torch.func.jacfwd(torch.func.grad(f))])
def test_compiled_transforms(transform):
    m, var = torch.randn(5), torch.rand(5) + 0.5

    def value(m):
        return sum(v.pow(2).sum() for v in ops.gate(m, var))

    torch.testing.assert_close(torch.compile(transform(value), fullgraph=True)(m), transform(value)(m))
