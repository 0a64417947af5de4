"""Attacks on derivatives of `gmlayers.ops.gate`: one answer both ways, and right, however far out."""

import math

import pytest
import torch

from gmlayers import ops
from gmlayers.functional import ACTIVATIONS

FAR = [0.0, *(sign * t for t in (1e-3, 0.5, 1.2, 2, 3, 5, 7, 10, 12, 30, 150, 1e4, 1e6, 1e8, 1e10) for sign in (1, -1))]
"""Means in units of the standard deviation; at none of them is a derivative 0 that is not 0 all along."""

SUMS = {"gelu_tanh", "gelu_integral", "silu_integral", "gelu_tanh_integral"}
"""These are sums of terms of size 1 that cancel where the function, or its slope, passes through 0: what is promised of
them there is an error of rounding of such terms, not of the result."""

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
