import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special
from torch.nn import functional as F

from gmlayers.functional import ACTIVATIONS, Activation, get_activation, quadrature

ALL = pytest.mark.parametrize("name", sorted(ACTIVATIONS))
SMOOTH = [
    *("erf", "gelu", "sin", "cos", "square", "gaussian", "identity", "softplus", "silu", "gelu_tanh"),
    *("gelu_integral", "silu_integral", "gelu_tanh_integral", "sigmoid", "quick_gelu"),
]
JUMPS = {"step"}
MOMENTS = [(m, s**2) for m in (-2.5, -0.6, 0.0, 0.3, 3.0) for s in (0.05, 0.5, 1.3)]


def grid():
    m, var = torch.tensor(MOMENTS, dtype=torch.float64).unbind(1)
    return m, var


def test_the_table_has_every_name_of_the_design():
    assert set(ACTIVATIONS) == {
        "relu",
        "leaky_relu",
        "abs",
        "step",
        "erf",
        "gelu",
        "sin",
        "cos",
        "square",
        "relu_squared",
        "gaussian",
        "identity",
        "softplus",
        "silu",
        "sigmoid",
        "tanh",
        "quick_gelu",
        "gelu_tanh",
        "gelu_integral",
        "silu_integral",
        "gelu_tanh_integral",
    }


def silu_integral(z):
    """z log(1 + e^z) + Li₂(-e^z), with the function of Spence for the dilogarithm."""
    return z * F.softplus(z) + torch.from_numpy(special.spence(1 + z.exp().numpy()))


APPROXIMATE = {
    "softplus": (F.softplus, 7e-9),
    "silu": (F.silu, 3e-8),
    "sigmoid": (torch.sigmoid, 5e-9),
    "tanh": (torch.tanh, 1e-8),
    "quick_gelu": (lambda z: z * torch.sigmoid(1.702 * z), 1.7e-8),
    "gelu_tanh": (lambda z: F.gelu(z, approximate="tanh"), 6e-9),
    "silu_integral": (silu_integral, 2.2e-7),
}


@pytest.mark.parametrize("name", APPROXIMATE)
def test_the_bound_of_what_is_approximate(name):
    """Between nodes the difference is at most h²/8 times its second derivative beyond that at the nodes.

    The second derivatives of all these functions, and of their sums of Gaussians, are below 2. At ±30 what is left of
    their limits is rounding.
    """
    exact, bound = APPROXIMATE[name]
    z = torch.linspace(-30, 30, 6_000_001, dtype=torch.float64)
    step = float(z[1] - z[0])
    apart = (ACTIVATIONS[name].f(z) - exact(z)).abs().max()
    assert bound / 2 < apart
    assert apart + step**2 / 8 * 4 <= bound


@pytest.mark.parametrize("name", APPROXIMATE)
def test_the_bound_of_the_slopes(name):
    z = torch.linspace(-30, 30, 600_001, dtype=torch.float64, requires_grad=True)
    if name == "silu_integral":
        slope = F.silu(z.detach())
    else:
        (slope,) = torch.autograd.grad(APPROXIMATE[name][0](z).sum(), z)
    found = ACTIVATIONS[name].gate(z.detach(), torch.full_like(z, 1e-16).detach())
    assert (found - slope).abs().max() <= 1.1e-7


@pytest.mark.parametrize("name", ["softplus", "silu", "quick_gelu", "gelu_tanh"])
def test_ramps_tend_to_relu(name):
    large = torch.tensor([-1e30, 1e30])
    torch.testing.assert_close(ACTIVATIONS[name].f(large), large.relu(), rtol=2e-7, atol=0)


@pytest.mark.parametrize(
    ("name", "slope"), [("gelu_integral", "gelu"), ("silu_integral", "silu"), ("gelu_tanh_integral", "gelu_tanh")]
)
def test_an_integral_has_the_slope_that_it_is_named_for(name, slope):
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64, requires_grad=True)
    act, below = ACTIVATIONS[name], ACTIVATIONS[slope]
    (found,) = torch.autograd.grad(act.f(z).sum(), z)
    torch.testing.assert_close(found, below.f(z.detach()), rtol=1e-12, atol=1e-12)
    var = torch.full_like(z, 0.7).detach()
    assert torch.equal(act.gate(z, var), below.mean(z, var))
    assert act.f(torch.tensor(-40.0, dtype=torch.float64)).abs() < 1e-12  # it begins at -∞


def test_the_integral_of_gelu_as_it_is_written():
    """½[(m² - 1 + v) Φ(τ) + c m φ(τ)] with c² = 1 + v, τ = m/c."""
    m, var = grid()
    c = (1 + var).sqrt()
    tau = m / c
    density = torch.exp(-0.5 * tau**2) / math.sqrt(2 * math.pi)
    expected = 0.5 * ((m**2 - 1 + var) * torch.special.ndtr(tau) + c * m * density)
    torch.testing.assert_close(ACTIVATIONS["gelu_integral"].mean(m, var), expected, rtol=1e-13, atol=1e-14)


@ALL
def test_higher_derivatives_are_those_of_the_gate(name):
    act, (m, var) = ACTIVATIONS[name], grid()
    if act.higher is None or name in JUMPS:
        pytest.skip("there is nothing to compare")
    m.requires_grad_()
    (second,) = torch.autograd.grad(act.gate(m, var).sum() + 0 * m.sum(), m, create_graph=True)
    third = torch.zeros_like(second)
    if second.requires_grad:
        (third,) = torch.autograd.grad(second.sum(), m)
    found = act.higher(m.detach(), var)
    torch.testing.assert_close(found[0], second.detach(), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found[1], third, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_equal_gauss_hermite_quadrature(name):
    act, (m, var) = ACTIVATIONS[name], grid()
    torch.testing.assert_close(act.mean(m, var), quadrature.mean(act.f, m, var, order=200), rtol=0, atol=1e-12)
    torch.testing.assert_close(act.gate(m, var), quadrature.gate(act.f, m, var, order=200), rtol=0, atol=1e-12)


@ALL
def test_all_activations_equal_adaptive_integration_split_at_the_kink(name):
    act = ACTIVATIONS[name]
    for m, var in MOMENTS:
        s = math.sqrt(var)

        def integrand(z, power, m=m, s=s):
            u = (z - m) / s
            f = act.f(torch.tensor(z, dtype=torch.float64)).item()
            return f * (u / s) ** power * math.exp(-u * u / 2) / (s * math.sqrt(2 * math.pi))

        for power, closed in ((0, act.mean), (1, act.gate)):
            low, high = m - 12 * s, m + 12 * s
            cut = min(max(0.0, low), high)
            value = sum(
                integrate.quad(integrand, a, b, args=(power,), epsabs=1e-12, limit=200)[0]
                for a, b in ((low, cut), (cut, high))
            )
            result = closed(torch.tensor(m, dtype=torch.float64), torch.tensor(var, dtype=torch.float64)).item()
            assert result == pytest.approx(value, rel=1e-10, abs=1e-11)


@ALL
def test_all_activations_agree_with_monte_carlo(name):
    act, (m, var) = ACTIVATIONS[name], grid()
    seen = m.square() <= 6 * var  # farther out no sample crosses 0, and the standard error would be 0 as well
    m, var = m[seen], var[seen]
    noise = torch.randn(400_000, 1, dtype=torch.float64)
    values = act.f(m + var.sqrt() * noise)
    for sample, closed in ((values, act.mean(m, var)), (values * noise / var.sqrt(), act.gate(m, var))):
        error = sample.std(0) / math.sqrt(len(sample))
        assert ((sample.mean(0) - closed).abs() <= 5 * error + 1e-12).all()


@ALL
def test_gate_is_the_derivative_of_the_mean(name):
    act, (m, var) = ACTIVATIONS[name], grid()
    m.requires_grad_()
    (slope,) = torch.autograd.grad(act.mean(m, var).sum(), m)
    torch.testing.assert_close(slope, act.gate(m, var), rtol=1e-11, atol=1e-12)


@ALL
def test_the_variance_acts_as_heat(name):
    """∂E f/∂v = ½ ∂²E f/∂m² = ½ ∂(E f')/∂m, for every f."""
    act, (m, var) = ACTIVATIONS[name], grid()
    m.requires_grad_()
    var.requires_grad_()
    (heat,) = torch.autograd.grad(act.mean(m, var).sum() + 0 * var.sum(), var)
    (bend,) = torch.autograd.grad(act.gate(m, var).sum() + 0 * m.sum(), m)
    torch.testing.assert_close(heat, bend / 2, rtol=1e-10, atol=1e-11)


@ALL
def test_gradcheck_and_gradgradcheck(name):
    act = ACTIVATIONS[name]
    m = torch.tensor([-2.0, -0.1, 0.0, 1.2], dtype=torch.float64, requires_grad=True)
    var = torch.tensor([0.3, 1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    for function in (act.mean, act.gate):
        if function(m, var).requires_grad:
            assert torch.autograd.gradcheck(function, (m, var))
            assert torch.autograd.gradgradcheck(function, (m, var))


@ALL
def test_no_variance_gives_back_the_function(name):
    m = torch.tensor([-2.0, -0.5, 0.5, 3.0], dtype=torch.float64)
    act = ACTIVATIONS[name]
    torch.testing.assert_close(act.mean(m, torch.full_like(m, 1e-14)), act.f(m), rtol=1e-12, atol=1e-12)


@ALL
@given(m=st.floats(-1e6, 1e6), log_var=st.floats(-27, 27))
def test_finite_at_extremes(name, m, log_var):
    """|m|/s up to 1e6/1e-6 and beyond, in float32, with gradients."""
    act = ACTIVATIONS[name]
    m = torch.tensor(m, dtype=torch.float32, requires_grad=True)
    var = torch.tensor(math.exp(log_var), dtype=torch.float32, requires_grad=True)
    for function in (act.mean, act.gate):
        y = function(m, var)
        assert y.isfinite()
        if y.requires_grad:
            assert all(
                g.isfinite() for g in torch.autograd.grad(y, (m, var), materialize_grads=True, allow_unused=True)
            )


@pytest.mark.parametrize(("name", "t"), [("relu", -8.0), ("relu", -12.0), ("abs", 12.0), ("step", -10.0)])
def test_float32_keeps_relative_accuracy_in_the_tail(name, t):
    act = ACTIVATIONS[name]
    m, var = torch.full((67,), t), torch.ones(67)  # torch has other algorithms for vectors than for scalars
    for function in (act.mean, act.gate):
        torch.testing.assert_close(function(m, var).double(), function(m.double(), var.double()), rtol=3e-5, atol=0)


def test_names_and_own_activations():
    assert get_activation("relu") is ACTIVATIONS["relu"]
    own = Activation(torch.sin, ACTIVATIONS["sin"].mean, ACTIVATIONS["sin"].gate)
    assert get_activation(own) is own
    assert repr(own) == "custom"
    with pytest.raises(ValueError, match=r"^unknown activation 'r{79}\.\.\.; known: abs, cos"):
        get_activation("r" * 10_000)
    with pytest.raises(ValueError, match=r"unknown activation 'rellu'; did you mean 'relu'\? known: abs, cos"):
        get_activation("rellu")
