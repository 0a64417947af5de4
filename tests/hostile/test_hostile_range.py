"""Attacks on the range of numbers: what float64 finds and float32 can hold, float32 finds too.

Every input is scaled on its own. A value or gradient is wrong if it is not finite where that of float64, rounded, is
finite, or if it is off by more than rounding. The suite takes scales from 1e-15 to 1e15. ``python`` with the path of
this file counts on all activations, families and functions, and with the argument ``wide`` from 1e-30 to 1e30.
"""

import itertools
import math
import sys
from functools import partial

import pytest
import torch

from gmlayers import GMNM, GMLayer, LowRank, convert, functional, ops
from gmlayers.functional import ACTIVATIONS, bures, gmnm, normal, quadrature
from gmlayers.ops.gate import compiled

SCALES = (1e-15, 1.0, 1e15)
ALL_SCALES = (1e-30, 1e-15, 1.0, 1e15, 1e30)

TINY = torch.finfo(torch.float32).tiny


def not_finite(found, exact):
    """Return where a number is not finite although the exact one, in that dtype, is."""
    return ~found.isfinite() & exact.to(found.dtype).isfinite()


def off(found, exact, share):
    """Return where a number is off by more than a share of the largest beside it; subnormal ones count as 0."""
    largest = exact.abs().amax() if exact.numel() else 0.0
    seen = found.double()
    return found.isfinite() & ((seen - exact).abs() > share * largest + 4 * TINY)


# the expectations

M = (0.0, *(0.6 * s for s in (*ALL_SCALES, 1e-8, 1e8)))
"""At 0.6 standard deviations no derivative of an activation passes through 0."""
GATES = [
    *((name, way) for name in ACTIVATIONS for way in ("reference", "closed")),
    ("relu", "relu"),
    ("gelu", "gelu"),
    ("relu", "compiled"),
]


SUMS = {"gelu_tanh", "gelu_integral", "silu_integral", "gelu_tanh_integral"}
"""These are sums of terms of size 1 that cancel where the function, or its slope, passes through 0: what is promised of
them there is an error of rounding of such terms, not of the result."""


def gate(m, var, name, way):
    return compiled.relu(m, var) if way == "compiled" else ops.gate(m, var, name, implementation=way)


def standardised_points(dtype):
    pairs = [(sign * m, v) for m in M for sign in (1, -1) for v in ALL_SCALES]
    m, var = torch.tensor(pairs, dtype=torch.float32).to(dtype).T.contiguous()
    return m.requires_grad_(), var.requires_grad_()


def expectations(name, way, dtype):
    """Return both expectations and all of their first derivatives, which a graph must not change, at all scales."""
    m, var = standardised_points(dtype)
    values = gate(m, var, name, way)
    found = [v.detach() for v in values]
    for value, graph in itertools.product(values, (False, True)):
        loss = value.sum() + 0 * m.sum()
        grads = torch.autograd.grad(loss, (m, var), retain_graph=True, create_graph=graph, materialize_grads=True)
        found += [g.detach() for g in grads]
    return found


@pytest.mark.parametrize(("name", "way"), GATES)
def test_expectations_and_their_derivatives(name, way):
    exact = expectations(name, "reference", torch.float64)
    m, var = (p.detach().double() for p in standardised_points(torch.float32))
    argument = (m.square() / var).clamp(max=13**2)
    for found, right in zip(expectations(name, way, torch.float32), exact):
        assert not not_finite(found, right).any()
        # the density loses t² units of rounding, and what is left of its terms is 1/t² of them
        lost = torch.finfo(torch.float32).eps * (100 + 4 * argument.square())
        allowed = lost * right.abs() + 100 * torch.finfo(torch.float32).eps * (name in SUMS)
        wrong = ((found.double() - right).abs() > allowed) & (right.abs() > TINY) & right.float().isfinite()
        if name in ("sin", "cos"):  # of 1e8 and more: the float32 knows nothing of the phase
            wrong &= m.abs() < 1e3
        assert not wrong.any(), (m[wrong], var[wrong], found[wrong], right[wrong])


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("sin", "cos")])
@pytest.mark.parametrize("way", ["reference", "closed", None])
def test_means_at_infinity(name, way, dtype):
    m, var = torch.tensor([math.inf, -math.inf], dtype=dtype), torch.ones(2, dtype=dtype)
    found, far = (ops.gate(t, var, name, implementation=way) for t in (m, m.sign() * 1e30))
    for value, limit in zip(found, far):
        unbounded = limit.abs() > 1e20
        assert torch.equal(value, torch.where(unbounded, limit.sign() * math.inf, limit))


# layers

FAMILIES = {
    "low_rank": "low_rank",
    "low_rank of rank 0": LowRank(0),
    "low_rank with all": LowRank(2, "diagonal", coupling=True),
    "shared_factor": "shared_factor",
    "diagonal": "diagonal",
    "full": "full",
    "regression": "regression",
}
GROUPS = {
    "mean": "means",
    "bias": "means",
    "std": "spreads",
    "factor": "spreads",
    "factor_std": "spreads",
    "scale_tril": "spreads",
}
"""What is scaled together; everything else, which multiplies the output, is a group of its own, and so is the input."""


def layer_at(family, activation, scales, dtype):
    """Return a layer, and an input, of the given scales."""
    of: dict[str, float] = dict(zip(("input", "means", "spreads", "outputs"), scales))
    torch.manual_seed(0)
    layer = GMLayer(3, 2, 4, covariance=FAMILIES[family], activation=activation)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_((torch.randn_like(p) + p.sign()) * of[GROUPS.get(name, "outputs")])
    return layer.to(dtype), (torch.randn(5, 3) * of["input"]).to(dtype)


def answers(call, tensors):
    """Return the value of a function and the gradients of its sum."""
    y = call()
    values = y if isinstance(y, tuple) else (y,)
    loss = torch.stack([v.sum() for v in values]).sum()
    return [v.detach() for v in values] + list(torch.autograd.grad(loss, tensors, materialize_grads=True))


def compared(call, tensors, wide_call, wide_tensors, share):
    """Return how many values and gradients there are, are not finite and should be, and are off."""
    count = bad = wrong = 0
    for found, exact in zip(answers(call, tensors), answers(wide_call, wide_tensors)):
        count += found.numel()
        bad += int(not_finite(found, exact).sum())
        wrong += int(off(found, exact, share).sum()) if exact.to(found.dtype).isfinite().all() else 0
    return count, bad, wrong


def layer_compared(family, activation, scales, dtype):
    layer, x = layer_at(family, activation, scales, dtype)
    wide, wide_x = layer_at(family, activation, (1, 1, 1, 1), dtype)
    wide.load_state_dict(layer.state_dict())
    wide, wide_x = wide.double(), x.double()
    inputs = [t.requires_grad_() for t in (x, wide_x)]
    share = 0.05 if dtype == torch.float32 else 0.2
    return compared(
        lambda: layer(x), [inputs[0], *layer.parameters()], lambda: wide(wide_x), [inputs[1], *wide.parameters()], share
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", ["relu", "step"])
def test_layers(family, activation):
    for scales in itertools.product(SCALES, repeat=4):
        assert layer_compared(family, activation, scales, torch.float32)[1:] == (0, 0), scales


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_layers_in_bfloat16(activation):
    for family, scales in itertools.product(FAMILIES, itertools.product((1e-15, 1e15), repeat=4)):
        assert layer_compared(family, activation, scales, torch.bfloat16)[1:] == (0, 0), (family, scales)


@pytest.mark.parametrize("family", FAMILIES)
def test_large_inputs_of_small_spread(family):
    """The squares of neither are numbers of float32, that of their product is."""
    for scales in ((1e30, 1e-30, 1e-30, 1.0), (1e-30, 1e30, 1e30, 1.0)):
        assert layer_compared(family, "relu", scales, torch.float32)[1:] == (0, 0), scales


@pytest.mark.parametrize("family", ["low_rank", "shared_factor", "diagonal"])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_folded_layers(family, scale):
    layer, x = layer_at(family, "gelu", (scale, 1 / scale, scale, 1.0), torch.float32)
    exact = layer.double()(x.double()).float().detach()
    folded = convert.fold(layer.float())
    torch.testing.assert_close(folded(x), exact, rtol=1e-4, atol=1e-5 * float(exact.abs().max()))


def test_ordinary_layers_count_in_float32(monkeypatch):
    monkeypatch.setattr(GMLayer, "_in_float64", None)
    layer, x = layer_at("low_rank", "relu", (1e6, 1.0, 1.0, 1.0), torch.float32)
    assert layer(x).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_result_in_float64_has_the_dtype_of_others(dtype):
    layer, x = layer_at("diagonal", "relu", (1e15, 1.0, 1e15, 1.0), dtype)
    assert layer(x).dtype == dtype
    with torch.autocast("cpu"):
        y = layer.float()(x.float())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x.float()), rtol=1e-2, atol=0)


def test_nobody_looks_at_the_numbers_of_a_graph():
    layer, _ = layer_at("low_rank", "relu", (1.0, 1.0, 1.0, 1.0), torch.float32)
    batch = torch.export.Dim("batch", min=0)
    graph = torch.export.export(layer, (torch.zeros(5, 3),), dynamic_shapes={"x": {0: batch}}).module()
    for rows in (0, 1, 7):
        x = torch.randn(rows, 3)
        torch.testing.assert_close(graph(x), layer(x))


# bumps

FORMS = ("mahalanobis", "diagonal", "ridge")
METHODS = ("forward", "gradient", "laplacian", "hessian", "value_gradient_laplacian")
BUMP_GROUPS = {"mean": 1, "projection": 2, "scale": 2, "weight": 3, "bias": 3}


def bumps_compared(form, method, scales, dtype):
    torch.manual_seed(0)
    module = GMNM(3, 2, 4, form=form)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn_like(p) * scales[BUMP_GROUPS[name]])
    wide, module = GMNM(3, 2, 4, form=form, dtype=torch.float64), module.to(dtype)
    wide.load_state_dict(module.state_dict())
    x = (torch.randn(5, 3) * scales[0]).to(dtype)
    wide_x = x.double().requires_grad_()
    x.requires_grad_()
    return compared(
        lambda: getattr(module, method)(x),
        [x, *module.parameters()],
        lambda: getattr(wide, method)(wide_x),
        [wide_x, *wide.parameters()],
        0.05 if dtype == torch.float32 else 0.2,
    )


@pytest.mark.filterwarnings("ignore:GMNM. an input is of a root mean square")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "grid"), [(torch.float32, SCALES), (torch.bfloat16, (1e-15, 1e15))])
def test_bumps(form, method, dtype, grid):
    for scales in itertools.product(grid, repeat=4):
        assert bumps_compared(form, method, scales, dtype)[1:] == (0, 0), scales


# functions

X, MEAN, PROJECTION, WEIGHT = (5, 3), (4, 3), (4, 2, 3), (4, 2)


def spd(cov):
    """Return a well-conditioned covariance of the size of a matrix, which is differentiable in it."""
    size = cov.detach().abs().amax()
    unit = cov / size
    return size * (unit @ unit.mT + torch.eye(3, dtype=cov.dtype))


FUNCTIONS = {
    **{
        f"ops.{op.__name__} {way}": (partial(op, implementation=way), (X, MEAN, PROJECTION))
        for op in (ops.bumps, ops.bumps_laplacian)
        for way in ("products", "reference")
    },
    **{
        f"ops.mix {way}": (partial(ops.mix, implementation=way), ((5, 4), (4, 2, 3), X))
        for way in ("one_gemm", "gated_input", "by_rows", "reference")
    },
    "gmnm.gmnm": (gmnm.gmnm, (X, MEAN, PROJECTION, WEIGHT)),
    "gmnm.gradient": (gmnm.gradient, (X, MEAN, PROJECTION, WEIGHT)),
    "gm_layer": (functional.gm_layer, (X, (4, 3), (4, 3, 2), (4, 2), (4, 2, 2))),
    "normal.pdf": (normal.pdf, ((9,),)),
    "normal.cdf": (normal.cdf, ((9,),)),
    "normal.ramp": (normal.ramp, ((9,),)),
    "quadrature.mean": (lambda m, s: quadrature.mean(torch.erf, m, s.abs()), ((9,), (9,))),
    "quadrature.gate": (lambda m, s: quadrature.gate(torch.erf, m, s.abs()), ((9,), (9,))),
    "bures.sqrt": (lambda c: bures.sqrt(spd(c)), ((3, 3),)),
    "bures.transport_map": (lambda c, d: bures.transport_map(spd(c), spd(d)), ((3, 3), (3, 3))),
    "bures.log": (lambda c, d: bures.log(spd(c), spd(d)), ((3, 3), (3, 3))),
    "bures.distance": (lambda m, c, n, d: bures.distance(m, spd(c), n, spd(d)), ((3,), (3, 3)) * 2),
    "bures.distance_squared": (lambda m, c, n, d: bures.distance_squared(m, spd(c), n, spd(d)), ((3,), (3, 3)) * 2),
    "bures.geodesic": (lambda m, c, n, d: tuple(bures.geodesic(m, spd(c), n, spd(d), 0.3)), ((3,), (3, 3)) * 2),
    "bures.barycentre": (lambda m: bures.barycentre(m, torch.eye(3, dtype=m.dtype).expand(2, 3, 3))[0], ((2, 3),)),
}


def function_compared(name, scales):
    call, shapes = FUNCTIONS[name]
    torch.manual_seed(0)
    tensors = [torch.randn(shape) * scale for shape, scale in zip(shapes, scales)]
    wide = [t.double().requires_grad_() for t in tensors]
    tensors = [t.requires_grad_() for t in tensors]
    return compared(lambda: call(*tensors), tensors, lambda: call(*wide), wide, 0.05)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    for scales in itertools.product(SCALES, repeat=len(FUNCTIONS[name][1])):
        assert function_compared(name, scales)[1:] == (0, 0), scales


@pytest.mark.parametrize("ratio", [1e-15, 1e-8, 1.0, 1e8, 1e15])
@pytest.mark.parametrize("function", [bures.distance_squared, bures.geodesic])
def test_gradients_between_covariances_of_different_sizes(function, ratio):
    """A derivative that is 0, times the larger one squared, had swamped the gradient in the smaller one."""
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        one, other = (spd(torch.randn(3, 3)).to(dtype) for _ in range(2))
        one.requires_grad_()
        options = () if function is bures.distance_squared else (0.3,)
        y = function(torch.zeros(3, dtype=dtype), one, torch.zeros(3, dtype=dtype), ratio * other, *options)
        found.append(torch.autograd.grad((y if function is bures.distance_squared else y.cov).sum(), one)[0])
    assert (found[0].double() - found[1]).norm() < 1e-3 * found[1].norm()


def count(title, cases):
    """Print how many of the numbers of all cases are not finite and should be, and how many are off."""
    total = [sum(column) for column in zip(*cases)]
    sys.stdout.write(f"{title:60} {total[0]:9} numbers, {total[1]:6} not finite, {total[2]:6} off\n")


if __name__ == "__main__":
    grid = ALL_SCALES if "wide" in sys.argv else SCALES
    for dtype, family, activation in itertools.product((torch.float32, torch.bfloat16), FAMILIES, ACTIVATIONS):
        every = itertools.product(grid, repeat=4)
        count(f"{dtype} {family} {activation}", [layer_compared(family, activation, s, dtype) for s in every])
    for dtype, form, method in itertools.product((torch.float32, torch.bfloat16), FORMS, METHODS):
        every = itertools.product(grid, repeat=4)
        count(f"{dtype} {form} {method}", [bumps_compared(form, method, s, dtype) for s in every])
    for name, (_, shapes) in FUNCTIONS.items():
        every = itertools.product(grid, repeat=len(shapes))
        count(name, [function_compared(name, s) for s in every])


# --- derivatives of `gmlayers.ops.gate`: one answer both ways, and right, however far out -----------------------

FAR = [0.0, *(sign * t for t in (1e-3, 0.5, 1.2, 2, 3, 5, 7, 10, 12, 30, 150, 1e4, 1e6, 1e8, 1e10) for sign in (1, -1))]
"""Means in units of the standard deviation; at none of them is a derivative 0 that is not 0 all along."""

END = {torch.float32: 13, torch.float64: 37}
"""Beyond so many standard deviations the density is 0."""


def points(dtype):
    t, std = torch.tensor(FAR, dtype=dtype), torch.tensor([1e-2, 1.0, 1e2], dtype=dtype)
    m, std = (t * std[:, None]).flatten(), std[:, None].expand(3, len(FAR)).flatten()
    return m.requires_grad_(), std.square().requires_grad_()


def gradients(act, m, var, which, **options):
    return torch.autograd.grad(ops.gate(m, var, act)[which].sum(), (m, var), materialize_grads=True, **options)


@pytest.mark.parametrize("which", [0, 1], ids=["level", "slope"])
@pytest.mark.parametrize("dtype", END)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_first_derivatives_are_right_with_and_without_a_graph(name, dtype, which):
    act = ACTIVATIONS[name]
    m, var = points(dtype)
    wide = m.detach().double(), var.detach().double()
    moments = act.gate(*wide), *act.higher(*wide)
    want = moments[which], moments[which + 1] / 2
    for options in ({}, {"create_graph": True}):
        for found, exact in zip(gradients(act, m, var, which, **options), want):
            normal = exact.abs() >= torch.finfo(dtype).tiny
            # the density loses t² units of rounding, and what is left of its terms is 1/t² of them
            lost = torch.finfo(dtype).eps * (100 + 4 * (wide[0].square() / wide[1]).clamp(max=END[dtype] ** 2).square())
            rounding = 100 * torch.finfo(dtype).eps * (name in SUMS)
            wrong = (found.detach().double() - exact).abs() > lost * exact.abs() + rounding
            assert not (wrong & normal).any(), (
                options,
                m[wrong & normal],
                found[wrong & normal],
                exact[wrong & normal],
            )


def test_the_slope_of_relu_squared_in_the_variance_is_1_far_out():
    m, var = torch.tensor([1e4, 1e6], requires_grad=True), torch.ones(2, requires_grad=True)
    for options in ({}, {"create_graph": True}):
        assert gradients(ACTIVATIONS["relu_squared"], m, var, 0, **options)[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["relu", "relu_squared", "leaky_relu", "softplus"])
def test_both_sides_of_the_reflection_have_the_same_derivatives_up_to_the_fourth(name):
    """At 0 two formulas meet; every derivative must be that of either."""
    m = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64, requires_grad=True)
    var = torch.full((3,), 1.3, dtype=torch.float64, requires_grad=True)
    found = [ACTIVATIONS[name].mean(m, var)]
    for _ in range(4):
        found = [
            g for f in found for g in torch.autograd.grad(f.sum(), (m, var), create_graph=True, materialize_grads=True)
        ]
        for g in found:
            torch.testing.assert_close(g, g[1].expand(3), rtol=1e-7, atol=1e-7)


def test_nan_stays_nan():
    m, var = torch.tensor([math.nan, 1.0]), torch.tensor([1.0, math.nan])
    for act in ACTIVATIONS.values():
        assert act.mean(m, var)[0].isnan()
        if act.name not in ("identity",):
            assert act.mean(m, var)[1].isnan(), act
