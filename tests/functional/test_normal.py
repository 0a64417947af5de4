import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.functional import normal

TAIL = [-37.0, -30.0, -20.0, -12.0, -8.0, -5.0, -3.0, -1.0, -0.5, -1e-3, 0.0, 1e-3, 0.5, 1.0, 3.0, 8.0, 30.0]


def exact_ramp(t):
    with mpmath.workdps(60):
        t = mpmath.mpf(t)
        return float(t * mpmath.ncdf(t) + mpmath.npdf(t))


def on_a_vector(function, t, dtype):
    """f(t) by the path for vectors, which in torch may be another algorithm than the one for scalars."""
    result = function(torch.full((67,), t, dtype=dtype))
    assert (result == result[0]).all()
    return result[0].item()


@pytest.mark.parametrize("t", TAIL)
def test_ramp_is_accurate_in_relative_terms_to_the_end_of_the_tail(t):
    assert on_a_vector(normal.ramp, t, torch.float64) == pytest.approx(exact_ramp(t), rel=1e-12)


@pytest.mark.parametrize("t", [t for t in TAIL if t >= -12])
def test_ramp_in_float32(t):
    single = torch.tensor(t, dtype=torch.float32).item()
    assert on_a_vector(normal.ramp, single, torch.float32) == pytest.approx(exact_ramp(single), rel=2e-5)


def test_the_stated_error_of_ramp_holds_on_a_grid():
    for dtype, low, bound in ((torch.float32, -13, 4e-5), (torch.float64, -37, 1e-12)):
        t = torch.linspace(low, 10, 1500, dtype=dtype)
        exact = torch.tensor([exact_ramp(v) for v in t.tolist()], dtype=torch.float64)
        assert (normal.ramp(t).double() / exact - 1).abs().max().item() <= bound


def test_textbook_formula_would_fail_the_float32_test():
    t = torch.tensor(-12.0)
    textbook = t * normal.cdf(t) + normal.pdf(t)
    assert abs(textbook.item() / exact_ramp(-12.0) - 1) > 2e-4


@pytest.mark.parametrize(
    ("t", "dtype", "rel"),
    [(t, torch.float64, 1e-12) for t in TAIL] + [(t, torch.float32, 3e-5) for t in TAIL if t >= -12],
)
def test_cdf_is_accurate_in_relative_terms(t, dtype, rel):
    single = torch.tensor(t, dtype=dtype).item()
    with mpmath.workdps(60):
        exact = float(mpmath.ncdf(single))
    assert on_a_vector(normal.cdf, single, dtype) == pytest.approx(exact, rel=rel)


@pytest.mark.parametrize("t", TAIL)
def test_ramp_has_the_derivatives_of_the_mathematics(t):
    """ρ' = Φ and ρ'' = φ, at 0 too, where the expression for the value has a kink."""
    t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(normal.ramp(t), t, create_graph=True)
    (second,) = torch.autograd.grad(first, t)
    rel = 4 * torch.finfo(t.dtype).eps * (1 + t.item() ** 2) + 1e-13
    assert first.item() == pytest.approx(normal.cdf(t).item(), rel=rel)
    assert second.item() == pytest.approx(normal.pdf(t).item(), rel=rel)


def test_gradcheck():
    t = torch.tensor([-3.0, -0.5, 0.0, 0.7, 4.0], dtype=torch.float64, requires_grad=True)
    for function in (normal.pdf, normal.cdf, normal.ramp):
        assert torch.autograd.gradcheck(function, t)
        assert torch.autograd.gradgradcheck(function, t)


@given(st.floats(-1e30, 1e30))
def test_values_and_gradients_are_finite_everywhere(t):
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor(t, dtype=dtype, requires_grad=True)
        for function in (normal.cdf, normal.ramp):
            y = function(x)
            y.backward()
            assert math.isfinite(y.item())
            assert x.grad is not None
            assert math.isfinite(x.grad.item())
            assert y.item() >= 0


@given(st.floats(-30, 30))
def test_reflection(t):
    """ρ(t) - ρ(-t) = t."""
    x = torch.tensor(t, dtype=torch.float64)
    assert (normal.ramp(x) - normal.ramp(-x)).item() == pytest.approx(t, rel=1e-14, abs=1e-15)
