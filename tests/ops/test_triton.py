"""The Triton kernels against plain formulas in float64: on a GPU where there is one, in Triton's interpreter elsewhere.

The interpreter is chosen by an environment variable that triton reads when it is imported, so it is set here, before.
"""

# ruff: noqa: E402  (imports wait for the variable)

import os

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="triton is not installed")

from gmlayers.functional.activations import ACTIVATIONS
from gmlayers.ops import _triton
from gmlayers.ops.bumps import triton as bumps
from gmlayers.ops.gate import triton as gate
from gmlayers.ops.gate._op import WITHOUT_KERNEL
from gmlayers.ops.mix import triton as mix

pytestmark = [
    pytest.mark.skipif(
        DEVICE == "cpu" and not _triton.INTERPRETED.value,
        reason="triton was imported without TRITON_INTERPRET=1, by another module, and there is no GPU",
    ),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning"),  # of triton 3.9, when it compiles
]

EPS = torch.finfo(torch.float32).eps
# Largest relative error of a rounding. The interpreter cuts bfloat16 off where hardware rounds it, twice the error.
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2**-7, torch.float16: 2**-11}
DTYPES = pytest.mark.parametrize("dtype", list(ROUNDING), ids=lambda dtype: str(dtype).removeprefix("torch."))


@pytest.fixture(autouse=True)
def _nothing_left_unwritten(monkeypatch):
    """Uninitialised memory starts as NaN, so that an element that no kernel writes is found."""
    empty, empty_like = torch.empty, torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: empty(*args, **kwargs).fill_(torch.nan))
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: empty_like(*args, **kwargs).fill_(torch.nan))


@pytest.fixture(params=[1, 3], ids=["one_share", "three_shares"])
def shares(request, monkeypatch):
    """Sums done by one program each, or by three."""
    monkeypatch.setattr(_triton, "shares", lambda programs, steps, device: min(request.param, max(1, steps)))
    return request.param


def randn(*shape, dtype=torch.float32):
    return torch.randn(shape).to(DEVICE, dtype)


def gradients(function, tensors, *grads):
    """Return the values and gradients of a function in float64."""
    leaves = [t.double().requires_grad_() for t in tensors]
    values = function(*leaves)
    values = values if isinstance(values, tuple) else (values,)
    scalar = sum((value * grad.double()).sum() for value, grad in zip(values, grads))
    found = torch.autograd.grad(scalar, leaves, allow_unused=True, materialize_grads=True)
    return [value.detach() for value in values], found


def assert_near(value, true, bound):
    """Every element's error is at most its bound, a tensor like it or a number."""
    assert value.shape == true.shape
    error = (value.double() - true).abs()
    assert (error <= bound).all(), f"error up to {(error / bound).max():.3g} times the bound"  # False for NaN too


def largest(true):
    return true.abs().max() if true.numel() else 0.0


# Gate


def expectations(activation, with_reading):
    row = ACTIVATIONS[activation]

    def function(m, var, reading=None):
        value = row.gate(m, var)
        return row.mean(m, var), value if reading is None else value[..., None] * reading

    return function


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in WITHOUT_KERNEL])
@pytest.mark.parametrize(("N", "K", "r"), [(63, 3, None), (100, 20, None), (1, 1, 1), (63, 3, 5), (7, 3, 257)])
def test_gate(activation, N, K, r):
    m, var = 2 * randn(N, K), randn(N, K).exp()
    reading = None if r is None else randn(N, K, r)
    grad_level, grad_gated = randn(N, K), randn(N, K) if r is None else randn(N, K, r)
    tensors = (m, var) if reading is None else (m, var, reading)

    (level, gated), grads = gradients(expectations(activation, r), tensors, grad_level, grad_gated)
    found = gate.forward(m, var, reading, activation)
    found_grads = gate.backward(m, var, reading, activation, grad_level, grad_gated)

    assert (found_grads[2] is None) == (reading is None)
    # 16 roundings of the largest element; 40 for the sum over 257 readings
    for value, true in zip([*found, *found_grads], [level, gated, *grads]):
        assert_near(value, true, (16 if r != 257 else 40) * EPS * largest(true) + 1e-30)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of NumPy, in the interpreter
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in WITHOUT_KERNEL])
def test_gate_is_finite_where_the_exact_one_is(activation):
    sizes = [sign * 0.6 * s for s in (1e-30, 1e-15, 1.0, 1e15, 1e30) for sign in (1, -1)]
    m, var = torch.cartesian_prod(torch.tensor([0.0, *sizes]), torch.tensor([1e-24, 1e-15, 1.0, 1e15, 1e30])).T
    m, var = m.contiguous()[:, None].to(DEVICE), var.contiguous()[:, None].to(DEVICE)
    found = list(gate.forward(m, var, None, activation))
    true = [getattr(ACTIVATIONS[activation], name)(m.double(), var.double()) for name in ("mean", "gate")]
    for of_level, of_gate in ((1.0, 0.0), (0.0, 1.0)):
        grads = torch.full_like(m, of_level), torch.full_like(m, of_gate)
        found += gate.backward(m, var, None, activation, *grads)[:2]
        true += gradients(expectations(activation, with_reading=False), (m, var), *grads)[1]
    for value, exact in zip(found, true):
        assert not (~value.isfinite() & exact.float().isfinite()).any()


def test_bumps_far_out_have_finite_gradients():
    x, mean, projection = 1e15 * randn(5, 3), randn(4, 3), 1e15 * randn(4, 2, 3)
    offset = torch.einsum("mpd,md->mp", projection, mean)
    f = bumps.forward(x, projection, offset)
    grads = bumps.backward(x, projection, offset, f, torch.ones_like(f), (True, True, True))
    assert all(not t.any() for t in (f, *grads))


@DTYPES
def test_gate_with_a_reading_of_lower_precision(dtype):
    m, var, reading = randn(63, 3), randn(63, 3).exp(), randn(63, 3, 5, dtype=dtype)
    grad_level, grad_gated = randn(63, 3), randn(63, 3, 5, dtype=dtype)
    (level, gated), grads = gradients(expectations("gelu", 5), (m, var, reading), grad_level, grad_gated)
    found = gate.forward(m, var, reading, "gelu")
    found_grads = gate.backward(m, var, reading, "gelu", grad_level, grad_gated)
    assert found[1].dtype == found_grads[2].dtype == dtype
    assert all(t.dtype == torch.float32 for t in (found[0], *found_grads[:2]))
    for value, true in zip([*found, *found_grads], [level, gated, *grads]):
        rounding = 0.0 if value.dtype == torch.float32 else ROUNDING[dtype]
        assert_near(value, true, 16 * EPS * largest(true) + rounding * true.abs())


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_tails_of_the_gate_keep_their_relative_accuracy(scale):
    """A unit of rounding in t is t² in φ(t), which every tail has for a factor; nothing else is lost."""
    t = torch.linspace(-12, 0, 1201, dtype=torch.float64)[:, None]
    var = torch.full_like(t, scale).square().float().to(DEVICE)
    m = (t * scale).float().to(DEVICE)
    t = m.double() / var.double().sqrt()
    bound = EPS * (8 + t.square())
    one = torch.ones_like(m)

    for activation in ("relu", "relu_squared", "step"):
        (level, gated), (grad_m, grad_var) = gradients(expectations(activation, None), (m, var), one, 0 * one)
        if activation == "relu_squared":  # the table's own formula cancels
            mills = (torch.pi / 2) ** 0.5 * torch.special.erfcx(-t / 2**0.5)
            ratio = torch.where(t > -3, (1 + t * t) * mills + t, second_excess(-t))
            level = var.double() * ratio * torch.exp(-t * t / 2) / (2 * torch.pi) ** 0.5
        found = gate.forward(m, var, None, activation)
        found_grads = gate.backward(m, var, None, activation, one, 0 * one)
        for value, true in zip([*found, *found_grads[:2]], [level, gated, grad_m, grad_var]):
            assert_near(value, true, bound * true.abs() + torch.finfo(torch.float32).smallest_normal)


def second_excess(u):
    """Return S of `_mills`, from the continued fraction of the ratios of the repeated integrals of the tail, u ≥ 3."""
    value = u
    for k in range(200, 2, -1):
        value = u + k / value
    first = u
    for k in range(200, 1, -1):
        first = u + k / first
    mills = (torch.pi / 2) ** 0.5 * torch.special.erfcx(u / 2**0.5)
    return mills * (1 / first) * (2 / value)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in WITHOUT_KERNEL])
def test_gate_at_the_floor_of_the_variance(activation):
    m = torch.tensor([[-10.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 10.0]], device=DEVICE)
    var = torch.full_like(m, 1e-12)
    ones = torch.ones_like(m)
    for value in (*gate.forward(m, var, None, activation), *gate.backward(m, var, None, activation, ones, ones)[:2]):
        assert value.isfinite().all()


# Mix


def mixture(g, weight, x):
    return torch.einsum("nk,koi,ni->no", g, weight, x)


MIXES = [
    (1, 1, 1, 1),
    (1, 3, 100, 63),
    (63, 20, 63, 1),
    (63, 3, 1, 100),
    (100, 3, 100, 63),
    (257, 3, 63, 257),
]


def mix_inputs(N, K, out, features, dtype):
    weight = randn(K, out, features, dtype=dtype)
    return randn(N, K), weight, randn(N, features, dtype=dtype), randn(N, out, dtype=dtype)


def mix_bounds(g, weight, x, grad, dtype):
    """Return values and gradients in float64, each with its bound.

    A sum is accurate to a few roundings of the sum of the absolute values of its terms. A result is rounded to its
    dtype; in the weight's gradient the gated gradient is too, before the product. Near 0 a rounding is an absolute one,
    which in float16 shows.
    """
    info = torch.finfo(dtype)
    spacing = info.smallest_normal * info.eps
    (y,), grads = gradients(mixture, (g, weight, x), grad)
    (y_size,), sizes = gradients(mixture, (g.abs(), weight.abs(), x.abs()), grad.abs())
    rounding, trues = ROUNDING[dtype], [y, *grads]
    operand, result = [0.0, 0.0, rounding, 0.0], [rounding, 0.0, rounding, rounding]
    bounds = [
        (8 * EPS + before) * size + 1.01 * after * true.abs() + spacing * (1 + x.double().abs().sum())
        for true, size, before, after in zip(trues, [y_size, *sizes], operand, result)
    ]
    return trues, bounds


@DTYPES
@pytest.mark.parametrize("sizes", MIXES, ids=str)
def test_mix(sizes, dtype):
    g, weight, x, grad = mix_inputs(*sizes, dtype)
    trues, bounds = mix_bounds(g, weight, x, grad, dtype)
    y = mix.forward(g, weight, x)
    grads = mix.backward(g, weight, x, grad, (True, True, True))
    assert [t.dtype for t in (y, *grads)] == [dtype, torch.float32, dtype, dtype]
    for value, true, bound in zip((y, *grads), trues, bounds):
        assert_near(value, true, bound)


def test_mix_shares(shares):
    g, weight, x, grad = mix_inputs(100, 20, 70, 63, torch.float32)
    trues, bounds = mix_bounds(g, weight, x, grad, torch.float32)
    found = [mix.forward(g, weight, x), *mix.backward(g, weight, x, grad, (True, True, True))]
    for value, true, bound in zip(found, trues, bounds):
        assert value.is_contiguous()
        assert_near(value, true, bound)


@pytest.mark.parametrize("needs", [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)])
def test_mix_gives_what_is_needed(needs):
    g, weight, x, grad = mix_inputs(63, 3, 100, 63, torch.float32)
    trues, bounds = mix_bounds(g, weight, x, grad, torch.float32)
    grads = mix.backward(g, weight, x, grad, needs)
    assert tuple(found is not None for found in grads) == needs
    for value, true, bound in zip(grads, trues[1:], bounds[1:]):
        if value is not None:
            assert_near(value, true, bound)


# Bumps


def bump(x, projection, offset):
    return torch.exp(-0.5 * (torch.einsum("mpd,nd->nmp", projection, x) - offset).square().sum(-1))


BUMPS = [(1, 1, 1, 1), (63, 3, 2, 100), (100, 100, 1, 63), (1, 20, 3, 63), (63, 1, 20, 1), (257, 3, 2, 130)]


def bump_inputs(N, m, p, d, dtype):
    """Arguments of order one, so that no bump vanishes and all gradients are of one size."""
    projection = (randn(m, p, d) / (2 * (p * d) ** 0.5)).to(dtype)
    return randn(N, d, dtype=dtype), projection, randn(m, p) / (2 * p**0.5), randn(N, m)


@DTYPES
@pytest.mark.parametrize("sizes", BUMPS, ids=str)
def test_bumps(sizes, dtype):
    x, projection, offset, grad = bump_inputs(*sizes, dtype)
    (true,), grads = gradients(bump, (x, projection, offset), grad)
    f = bumps.forward(x, projection, offset)
    found = bumps.backward(x, projection, offset, f, grad, (True, True, True))
    assert [t.dtype for t in (f, *found)] == [torch.float32, dtype, dtype, torch.float32]
    # 16 roundings; where a product has δv for an operand, it is rounded to the dtype, and so is the result
    for value, exact, rounding in zip((f, *found), [true, *grads], [0, 2, 2, 0]):
        assert_near(value, exact, (16 * EPS + rounding * ROUNDING[dtype]) * largest(exact))


def test_bumps_far_away_vanish():
    x = torch.full((3, 2), 1e4, device=DEVICE)
    projection, offset = torch.ones(5, 1, 2, device=DEVICE), torch.zeros(5, 1, device=DEVICE)
    f = bumps.forward(x, projection, offset)
    assert (f == 0).all()
    for grad in bumps.backward(x, projection, offset, f, torch.ones_like(f), (True, True, True)):
        assert (grad == 0).all()


def test_bumps_shares(shares):
    x, projection, offset, grad = bump_inputs(200, 70, 3, 70, torch.float32)
    _, grads = gradients(bump, (x, projection, offset), grad)
    found = bumps.backward(x, projection, offset, bumps.forward(x, projection, offset), grad, (True, True, True))
    for value, exact in zip(found, grads):
        assert_near(value, exact, 16 * EPS * largest(exact))


@pytest.mark.parametrize("needs", [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)])
def test_bumps_give_what_is_needed(needs):
    x, projection, offset, grad = bump_inputs(63, 3, 2, 100, torch.float32)
    _, grads = gradients(bump, (x, projection, offset), grad)
    found = bumps.backward(x, projection, offset, bumps.forward(x, projection, offset), grad, needs)
    assert tuple(value is not None for value in found) == needs
    for value, exact in zip(found, grads):
        if value is not None:
            assert_near(value, exact, 16 * EPS * largest(exact))


# Nothing to do


def test_empty_batches():
    m, weight, x = randn(0, 3), randn(3, 5, 4), randn(0, 4)
    assert [t.shape for t in gate.forward(m, m, None, "relu")] == [m.shape, m.shape]
    reading = randn(0, 3, 2)
    assert gate.forward(m, m, reading, "relu")[1].shape == reading.shape
    assert gate.backward(m, m, reading, "relu", m, reading)[2].shape == reading.shape

    y = mix.forward(m, weight, x)
    assert y.shape == (0, 5)
    grads = mix.backward(m, weight, x, y, (True, True, True))
    assert [t.shape for t in grads] == [m.shape, weight.shape, x.shape]
    assert (grads[1] == 0).all()

    offset = randn(3, 5)
    f = bumps.forward(x, weight, offset)
    assert f.shape == (0, 3)
    grads = bumps.backward(x, weight, offset, f, f, (True, True, True))
    assert [t.shape for t in grads] == [x.shape, weight.shape, offset.shape]
    assert all((t == 0).all() for t in grads)


def test_empty_sums():
    """No readings, no components, no inputs: sums of nothing are zero."""
    m, var = randn(5, 3), randn(5, 3).exp()
    level, gated = gate.forward(m, var, randn(5, 3, 0), "relu")
    assert level.isfinite().all()
    assert gated.shape == (5, 3, 0)

    for K, out, features in ((0, 4, 2), (3, 4, 0), (3, 0, 2)):
        g, weight, x, grad = mix_inputs(5, K, out, features, torch.float32)
        y = mix.forward(g, weight, x)
        assert torch.equal(y, torch.zeros(5, out, device=DEVICE))
        for tensor, found in zip((g, weight, x), mix.backward(g, weight, x, grad, (True, True, True))):
            assert torch.equal(found, torch.zeros_like(tensor))
        assert torch.equal(mix.backward(g, weight, x, grad, (True, False, False))[0], torch.zeros_like(g))

    x, offset, grad = randn(5, 0), randn(3, 2), randn(5, 3)
    f = bumps.forward(x, randn(3, 2, 0), offset)
    assert_near(f, torch.exp(-0.5 * offset.double().square().sum(1)).expand(5, 3), 8 * EPS)
    found = bumps.backward(x, randn(3, 2, 0), offset, f, grad, (True, True, True))
    assert_near(found[2], -(grad * f).double().sum(0)[:, None] * offset.double(), 8 * EPS * largest(found[2]))
