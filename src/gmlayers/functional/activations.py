r"""Activations with closed-form Gaussian expectations.

One row of the table is a function :math:`f` beside the two numbers that a Gaussian mixture layer needs of it,

.. math:: \mathbb E f(z) \quad\text{and}\quad \mathbb E f'(z), \qquad z \sim N(m, v).

Below :math:`s = \sqrt v`, :math:`t = m/s`, and :math:`\rho(t) = t\Phi(t) + \varphi(t)`. Variances must be
positive; :func:`gmlayers.functional.gm_layer` sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gmlayers._arguments import check_callable
from gmlayers._names import brief_value, look_up
from gmlayers.functional.normal import FAR, cdf, pdf, ramp

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]


@dataclass(frozen=True)
class Activation:
    r"""A scalar function and its Gaussian expectations; users may write their own.

    Args:
        f: the function itself, elementwise.
        mean: ``(m, var) -> E f(z)``, elementwise in two tensors of one shape, ``var > 0``.
        gate: ``(m, var) -> E f'(z)``, likewise. For a function with jumps the derivative is the
            distributional one, as in Stein's identity :math:`\mathbb E f' = \mathbb E[(z-m) f]/v`.
        name: how it shows in ``repr``.
        higher: ``(m, var) -> (E f''(z), E f'''(z))``, or None. By the heat equation these are all that gradients
            need, :math:`\partial_m \mathbb E f = \mathbb E f'` and
            :math:`\partial_v \mathbb E f = \tfrac12 \mathbb E f''`; without them autograd differentiates ``mean`` and
            ``gate``.
        slope: :math:`f'` itself, elementwise, or None; without it a block whose neurons do not vary takes ``gate`` at a
            variance of nearly 0.

    Example:
        A parabola that is off to one side:

        >>> import torch
        >>> shifted = Activation(
        ...     f=lambda z: (z - 1) ** 2,
        ...     mean=lambda m, var: (m - 1) ** 2 + var,
        ...     gate=lambda m, var: 2 * (m - 1),
        ...     name="shifted_square",
        ... )
        >>> shifted.mean(torch.tensor(1.0), torch.tensor(4.0))
        tensor(4.)
    """

    f: Callable[[Tensor], Tensor]
    mean: Callable[[Tensor, Tensor], Tensor]
    gate: Callable[[Tensor, Tensor], Tensor]
    name: str = "custom"
    higher: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    slope: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        for part in ("f", "mean", "gate"):
            check_callable(f"Activation: {part}", getattr(self, part))
        check_callable("Activation: higher", self.higher, optional=True)
        check_callable("Activation: slope", self.slope, optional=True)
        if not isinstance(self.name, str):
            raise TypeError(f"Activation: name must be a text, got {brief_value(self.name)}")

    def __repr__(self) -> str:
        return self.name

    @property
    def in_table(self) -> bool:
        """Whether it is the one of its name in :data:`ACTIVATIONS`; fast paths and files know no other."""
        return ACTIVATIONS.get(self.name) is self

    @property
    def argument(self) -> str:
        """What stands for it in a call: its name in quotes where that is enough, and without where it is your own."""
        return repr(self.name) if self.in_table else self.name

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle an activation of the table by its name: some are made of functions that have none."""
        if self.in_table:
            return get_activation, (self.name,)
        return Activation, (self.f, self.mean, self.gate, self.name, self.higher, self.slope)


def _cut(m: Tensor, s: Tensor) -> Tensor:
    """Return m, cut off where the density of m/s is 0: beyond, functions of m/s and their derivatives are constant."""
    most = FAR * s.detach()
    return torch.clamp(m, -most, most)


def standardised(m: Tensor, s: Tensor) -> Tensor:
    """Return m/s, cut off where its density is 0.

    The roots of variances are divided by, in place of products with ``rsqrt``, whose derivative has a third power.
    """
    return _cut(m, s) / s


def _reflected(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return -|t|, and where the sign was changed.

    Above 0 the expectations of the ramps are polynomials plus their own tails, reflected. Written like that their
    derivatives, which autograd takes term by term, do not cancel: the terms of d(sρ(m/s)) are t times as large as
    their sum. Every branch has all derivatives of the function, so that there are none of the absolute value in it.
    """
    above = t > 0
    return torch.where(above, -t, t), above


def _relu_mean(m: Tensor, var: Tensor) -> Tensor:
    """E max(z, 0) = s ρ(t), and for t > 0 also m + s ρ(-t)."""
    s = var.sqrt()
    u, above = _reflected(standardised(m, s))
    return s * ramp(u) + torch.where(above, m, 0.0)


def _relu_gate(m: Tensor, var: Tensor) -> Tensor:
    """E 1{z > 0} = Φ(t)."""
    return cdf(standardised(m, var.sqrt()))


def _relu_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """E δ(z) = φ(t)/s and E δ'(z) = -t φ(t)/v."""
    s = var.sqrt()
    t = standardised(m, s)
    density = pdf(t) / s
    return density, -density * t / s


LEAK = 0.01
"""``leaky_relu`` has this slope below 0, which is torch's default."""


def _leaky_relu(z: Tensor) -> Tensor:
    return torch.nn.functional.leaky_relu(z, LEAK)


def _leaky_relu_mean(m: Tensor, var: Tensor) -> Tensor:
    """E f = a m + (1 - a) E relu, because f(z) = a z + (1 - a) relu(z)."""
    return LEAK * m + (1 - LEAK) * _relu_mean(m, var)


def _leaky_relu_gate(m: Tensor, var: Tensor) -> Tensor:
    """E f' = a + (1 - a) Φ(t)."""
    return LEAK + (1 - LEAK) * _relu_gate(m, var)


def _leaky_relu_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - a) times those of relu."""
    second, third = _relu_higher(m, var)
    return (1 - LEAK) * second, (1 - LEAK) * third


def _abs_mean(m: Tensor, var: Tensor) -> Tensor:
    """E |z| = m erf(t/√2) + 2 s φ(t): two non-negative terms, nothing cancels."""
    s = var.sqrt()
    t = standardised(m, s)
    return m * torch.erf(t / math.sqrt(2)) + 2 * s * pdf(t)


def _abs_gate(m: Tensor, var: Tensor) -> Tensor:
    """E sign z = erf(t/√2)."""
    return torch.erf(standardised(m, var.sqrt()) / math.sqrt(2))


def _abs_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Twice those of relu."""
    second, third = _relu_higher(m, var)
    return 2 * second, 2 * third


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _step_gate(m: Tensor, var: Tensor) -> Tensor:
    """E δ(z) = φ(t)/s, the density of z at 0."""
    s = var.sqrt()
    return pdf(standardised(m, s)) / s


def _step_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """E δ'(z) = -t φ(t)/v and E δ''(z) = (t² - 1) φ(t)/s³."""
    density, slope = _relu_higher(m, var)
    s = var.sqrt()
    t = standardised(m, s)
    return slope, density * (t * t - 1) / s / s


def _erf_mean(m: Tensor, var: Tensor) -> Tensor:
    """E erf(z) = erf(m/√(1 + 2v))."""
    return torch.erf(standardised(m, (1 + 2 * var).sqrt()))


def _erf_gate(m: Tensor, var: Tensor) -> Tensor:
    """E erf'(z) = 2/√π · exp(-m²/(1 + 2v))/√(1 + 2v)."""
    c = (1 + 2 * var).sqrt()
    return (2 / math.sqrt(math.pi)) * torch.exp(-(standardised(m, c) ** 2)) / c


def _erf_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """With c² = ½ + v, E erf' = 2 N(m; 0, c²); its derivatives in m are -m/c² and m²/c⁴ - 1/c² times it."""
    c2, gate = 0.5 + var, _erf_gate(m, var)
    m = _cut(m, c2.sqrt())
    return -m / c2 * gate, (m * m / c2 - 1) / c2 * gate


def _gelu_mean(m: Tensor, var: Tensor) -> Tensor:
    """E zΦ(z) = mΦ(τ) + (v/c)φ(τ) with c = √(1 + v), τ = m/c.

    For τ ≪ 0 and a large variance the two terms cancel; there it is cρ(τ) - φ(τ)/c, which cancels near 0.
    """
    c = (1 + var).sqrt()
    tau = standardised(m, c)
    return torch.where(tau < -1, c * ramp(tau) - pdf(tau) / c, m * cdf(tau) + var / c * pdf(tau))


def _gelu_gate(m: Tensor, var: Tensor) -> Tensor:
    """E f' = Φ(τ) + τφ(τ)/c²."""
    c2 = 1 + var
    tau = standardised(m, c2.sqrt())
    return cdf(tau) + tau * pdf(tau) / c2


def _gelu_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives in m of the gate Φ(τ) + τφ(τ)/c²."""
    c2 = 1 + var
    c = c2.sqrt()
    tau = standardised(m, c)
    t2, density = tau * tau, pdf(tau) / c
    return density * (1 + (1 - t2) / c2), density / c * tau * ((t2 - 3) / c2 - 1)


def _sin_mean(m: Tensor, var: Tensor) -> Tensor:
    """E sin z = e^{-v/2} sin m."""
    return torch.exp(-0.5 * var) * torch.sin(m)


def _sin_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """-E sin z and -E cos z."""
    return -_sin_mean(m, var), -_cos_mean(m, var)


def _cos_mean(m: Tensor, var: Tensor) -> Tensor:
    """E cos z = e^{-v/2} cos m."""
    return torch.exp(-0.5 * var) * torch.cos(m)


def _cos_gate(m: Tensor, var: Tensor) -> Tensor:
    """E cos' = -E sin z."""
    return -_sin_mean(m, var)


def _cos_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """-E cos z and E sin z."""
    return -_cos_mean(m, var), _sin_mean(m, var)


def _square_mean(m: Tensor, var: Tensor) -> Tensor:
    """E z² = m² + v."""
    return m * m + var


def _square_gate(m: Tensor, var: Tensor) -> Tensor:  # noqa: ARG001  (the gate does not depend on the variance)
    """E 2z = 2m."""
    return 2 * m


def _square_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """2 and 0."""
    return torch.full_like(m, 2), torch.zeros_like(m)


def _twice(z: Tensor) -> Tensor:
    return 2 * z


def _relu_squared(z: Tensor) -> Tensor:
    return torch.relu(z) ** 2


def _twice_relu(z: Tensor) -> Tensor:
    return 2 * torch.relu(z)


def _relu_squared_mean(m: Tensor, var: Tensor) -> Tensor:
    """E relu(z)² = v (tρ(t) + Φ(t)) = vS(t), and for t > 0 also m² + v - vS(-t).

    For t ≪ 0 the two terms cancel, up to a factor t² of rounding error. With the Mills ratio M = Φ/φ the density is a
    common factor, so that its own error is none of the difference, nor of its derivative 2ρ.
    """
    u, above = _reflected(standardised(m, var.sqrt()))
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(u * (-1 / math.sqrt(2)))
    tail = var * pdf(u) * ((u * mills + 1) * u + mills)
    return torch.where(above, m * m + var - tail, tail)


def _relu_squared_gate(m: Tensor, var: Tensor) -> Tensor:
    """E 2 relu(z) = 2 s ρ(t)."""
    return 2 * _relu_mean(m, var)


def _relu_squared_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """2 Φ(t) and 2 φ(t)/s."""
    return 2 * _relu_gate(m, var), 2 * _step_gate(m, var)


def _gaussian(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z)


def _gaussian_mean(m: Tensor, var: Tensor) -> Tensor:
    """E e^{-z²/2} = exp(-m²/(2(1 + v)))/√(1 + v)."""
    c = (1 + var).sqrt()
    return torch.exp(-0.5 * standardised(m, c) ** 2) / c


def _gaussian_gate(m: Tensor, var: Tensor) -> Tensor:
    """E f' = -m/(1 + v) · E f, the derivative of E f in m."""
    c2 = 1 + var
    return -_cut(m, c2.sqrt()) / c2 * _gaussian_mean(m, var)


def _gaussian_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """With c² = 1 + v, m²/c⁴ - 1/c² and 3m/c⁴ - m³/c⁶ times E f."""
    c2, mean = 1 + var, _gaussian_mean(m, var)
    m = _cut(m, c2.sqrt())
    t2 = m * m / c2
    return (t2 - 1) / c2 * mean, (3 - t2) * (m / c2) / c2 * mean


def _identity(z: Tensor) -> Tensor:
    return z


def _identity_mean(m: Tensor, var: Tensor) -> Tensor:  # noqa: ARG001
    """E z = m."""
    return m


def _identity_gate(m: Tensor, var: Tensor) -> Tensor:  # noqa: ARG001
    """E 1 = 1."""
    return torch.ones_like(m)


def _identity_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """0 and 0."""
    return torch.zeros_like(m), torch.zeros_like(m)


LOGISTIC = (
    (0.00128230586759995, 0.236496542185277),
    (0.0254320494543916, 0.305930830723936),
    (0.122852528422451, 0.391492019212067),
    (0.264619592986399, 0.50072658739901),
    (0.316282722483801, 0.640085586079504),
    (0.206517462476055, 0.816557298984375),
    (0.0589053423636414, 1.04182626569287),
    (0.00410799594565998, 1.3449277259595),
)
r"""These weights a and scales b make :math:`1/(1 + e^{-z}) = \sum_j a_j \Phi(b_j z)` up to 5e-9.

The logistic distribution is a scale mixture of normal ones, and a few are enough (Monahan and Stefanski, *Normal scale
mixture approximations to F\*(z) and computation of the logistic-normal integral*, 1992). These are fitted by us.
"""


def _cdf_mean(m: Tensor, var: Tensor) -> Tensor:
    """E Φ(z) = Φ(τ) with c = √(1 + v), τ = m/c."""
    return _relu_gate(m, 1 + var)


def _cdf_gate(m: Tensor, var: Tensor) -> Tensor:
    """E φ(z) = φ(τ)/c."""
    return _step_gate(m, 1 + var)


def _cdf_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """-τφ(τ)/c² and (τ² - 1) φ(τ)/c³."""
    return _step_higher(m, 1 + var)


def _ramp_mean(m: Tensor, var: Tensor) -> Tensor:
    """E ρ(z) = c ρ(τ) with c = √(1 + v), τ = m/c: a ramp that is smoothed once more."""
    return _relu_mean(m, 1 + var)


def _ramp_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """φ(τ)/c and -τ φ(τ)/c²."""
    return _relu_higher(m, 1 + var)


def _scaled(
    base: Activation,
    name: str,
    power: int,
    stretch: float = 1.0,
    slope: Callable[[Tensor], Tensor] | None = None,
) -> Activation:
    """Return Σ a_j b_j^-power base(b_j z), each b_j multiplied with the stretch.

    If base has Φ where the activation has the logistic function, the power makes the sum what is meant: 0 for the
    logistic function itself, 1 where it is multiplied with z or integrated once, 2 for both.
    """
    terms = [(a, stretch * b) for a, b in LOGISTIC]

    def summed(z: Tensor, term: Callable[[float], Tensor], shift: int) -> Tensor:
        return sum((a * b ** (shift - power) * term(b) for a, b in terms), torch.zeros_like(z))

    def f(z: Tensor) -> Tensor:
        return summed(z, lambda b: base.f(b * z), 0)

    def mean(m: Tensor, var: Tensor) -> Tensor:
        return summed(m, lambda b: base.mean(b * m, b * b * var), 0)

    def gate(m: Tensor, var: Tensor) -> Tensor:
        return summed(m, lambda b: base.gate(b * m, b * b * var), 1)

    def higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        second, third = torch.zeros_like(m), torch.zeros_like(m)
        for a, b in terms:
            assert base.higher is not None
            of_base = base.higher(b * m, b * b * var)
            second, third = second + a * b ** (2 - power) * of_base[0], third + a * b ** (3 - power) * of_base[1]
        return second, third

    return Activation(f, mean, gate, name, higher, slope)


def _gelu_integral(z: Tensor) -> Tensor:
    return _gelu_integral_mean(z, torch.zeros_like(z))


def _gelu_integral_mean(m: Tensor, var: Tensor) -> Tensor:
    """E ∫GELU = ½[(m² - 1 + v) Φ(τ) + c m φ(τ)] = ½ E relu(z')² - Φ(τ) for z' ~ N(m, c²).

    In this form nothing cancels in the tail, where the second term alone is left.
    """
    return 0.5 * _relu_squared_mean(m, 1 + var) - _cdf_mean(m, var)


def _gelu_integral_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """E GELU' and E GELU''."""
    return _gelu_gate(m, var), _gelu_higher(m, var)[0]


WIGGLE_SCALE = 1.1625
WIGGLE = (
    0.00111959668705778,
    0.00591513300635445,
    0.00778567581672004,
    0.00397087757730562,
    0.00100332380739108,
    0.000172865365397924,
    5.13263248010593e-05,
    2.27117201333741e-05,
)
r"""GELU's tanh form is :math:`z\Phi(z) + z \sum_j d_j\, \mathrm{He}_{2j+1}(bz)\varphi(bz)` up to 6e-9.

Its scale b is :data:`WIGGLE_SCALE`; the coefficients d, fitted by us, are those of Hermite polynomials that are divided
by the root of the factorial of their degree. The expectation of such a term is one of its kind, by the heat equation:
:math:`\mathbb E\,\mathrm{He}_n(bz)\varphi(bz) = c^{-n-1}\,\mathrm{He}_n(\tau)\varphi(\tau)` with
:math:`c^2 = 1 + b^2 v` and :math:`\tau = bm/c`.
"""


def _wiggle(m: Tensor, var: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return Σ_n coefficients_n E He_n(bz)φ(bz), by the recursion of the polynomials."""
    b = WIGGLE_SCALE
    c2 = 1 + b * b * var
    c = c2.sqrt()
    tau = standardised(b * m, c)
    before, term, step = torch.zeros_like(tau), pdf(tau) / c, tau / c
    total = coefficients[0] * term
    for n, coefficient in enumerate(coefficients[1:]):
        before, term = term, step * term - n / c2 * before
        if coefficient:
            total = total + coefficient * term
    return total


def _wiggle_slope(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """Return the coefficients of the derivative: that of He_n(bz)φ(bz) is -b He_{n+1}(bz)φ(bz)."""
    return (0.0, *(-WIGGLE_SCALE * coefficient for coefficient in coefficients))


def _wiggle_times_z(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """Return the coefficients of the product with z: bz He_n = He_{n+1} + n He_{n-1}."""
    found = [0.0] * (len(coefficients) + 1)
    for n, coefficient in enumerate(coefficients):
        found[n + 1] += coefficient / WIGGLE_SCALE
        if n:
            found[n - 1] += n * coefficient / WIGGLE_SCALE
    return tuple(found)


_D = [0.0] * (2 * len(WIGGLE))
_D[1::2] = [d / math.sqrt(math.factorial(2 * j + 1)) for j, d in enumerate(WIGGLE)]
_DIFFERENCE = _wiggle_times_z(tuple(_D))
"""GELU's tanh form has this more than GELU; below are its first, second and third derivatives."""
_DIFFERENCE_1 = _wiggle_slope(_DIFFERENCE)
_DIFFERENCE_2 = _wiggle_slope(_DIFFERENCE_1)
_DIFFERENCE_3 = _wiggle_slope(_DIFFERENCE_2)
_DIFFERENCE_INTEGRAL = tuple(-coefficient / WIGGLE_SCALE for coefficient in _DIFFERENCE[1:])


def _gelu_tanh(z: Tensor) -> Tensor:
    return torch.nn.functional.gelu(z) + _wiggle(z, torch.zeros_like(z), _DIFFERENCE)


def _gelu_tanh_mean(m: Tensor, var: Tensor) -> Tensor:
    return _gelu_mean(m, var) + _wiggle(m, var, _DIFFERENCE)


def _gelu_tanh_gate(m: Tensor, var: Tensor) -> Tensor:
    return _gelu_gate(m, var) + _wiggle(m, var, _DIFFERENCE_1)


def _gelu_tanh_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    second, third = _gelu_higher(m, var)
    return second + _wiggle(m, var, _DIFFERENCE_2), third + _wiggle(m, var, _DIFFERENCE_3)


def _gelu_tanh_integral(z: Tensor) -> Tensor:
    return _gelu_tanh_integral_mean(z, torch.zeros_like(z))


def _gelu_tanh_integral_mean(m: Tensor, var: Tensor) -> Tensor:
    """The integral of a term is the term before it; that of the first, φ(bz), is Φ(bz)/b."""
    b = WIGGLE_SCALE
    rest = _wiggle(m, var, _DIFFERENCE_INTEGRAL) + _DIFFERENCE[0] / b * _cdf_mean(b * m, b * b * var)
    return _gelu_integral_mean(m, var) + rest


def _gelu_tanh_integral_higher(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """E f' and E f'' of the tanh form."""
    return _gelu_tanh_gate(m, var), _gelu_tanh_higher(m, var)[0]


_ERF = Activation(torch.erf, _erf_mean, _erf_gate, "erf", _erf_higher)
_GELU = Activation(torch.nn.functional.gelu, _gelu_mean, _gelu_gate, "gelu", _gelu_higher)
_GELU_INTEGRAL = Activation(
    *(_gelu_integral, _gelu_integral_mean, _gelu_mean, "gelu_integral", _gelu_integral_higher),
    slope=torch.nn.functional.gelu,
)
_CDF = Activation(cdf, _cdf_mean, _cdf_gate, "normal_cdf", _cdf_higher)
_RAMP = Activation(ramp, _ramp_mean, _cdf_mean, "ramp", _ramp_higher)

ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation(torch.relu, _relu_mean, _relu_gate, "relu", _relu_higher, _step),
        Activation(_leaky_relu, _leaky_relu_mean, _leaky_relu_gate, "leaky_relu", _leaky_relu_higher),
        Activation(torch.abs, _abs_mean, _abs_gate, "abs", _abs_higher),
        Activation(_step, _relu_gate, _step_gate, "step", _step_higher),
        _ERF,
        _GELU,
        Activation(torch.sin, _sin_mean, _cos_mean, "sin", _sin_higher),
        Activation(torch.cos, _cos_mean, _cos_gate, "cos", _cos_higher),
        Activation(torch.square, _square_mean, _square_gate, "square", _square_higher, _twice),
        Activation(
            *(_relu_squared, _relu_squared_mean, _relu_squared_gate, "relu_squared", _relu_squared_higher), _twice_relu
        ),
        Activation(_gaussian, _gaussian_mean, _gaussian_gate, "gaussian", _gaussian_higher),
        Activation(_identity, _identity_mean, _identity_gate, "identity", _identity_higher),
        _scaled(_RAMP, "softplus", 1, slope=torch.sigmoid),
        _scaled(_GELU, "silu", 1),
        _scaled(_CDF, "sigmoid", 0),
        _scaled(_ERF, "tanh", 0, math.sqrt(2)),
        _scaled(_GELU, "quick_gelu", 1, 1.702),
        Activation(_gelu_tanh, _gelu_tanh_mean, _gelu_tanh_gate, "gelu_tanh", _gelu_tanh_higher),
        _GELU_INTEGRAL,
        _scaled(_GELU_INTEGRAL, "silu_integral", 2, slope=torch.nn.functional.silu),
        Activation(
            _gelu_tanh_integral,
            _gelu_tanh_integral_mean,
            _gelu_tanh_mean,
            "gelu_tanh_integral",
            _gelu_tanh_integral_higher,
            partial(torch.nn.functional.gelu, approximate="tanh"),
        ),
    )
}
"""The table has a row for every activation, by name.

Some are no closed forms of what they are named for, which have none, but of functions that differ from them by at most
so much anywhere, and so does E f: sigmoid 5e-9, softplus 7e-9, tanh 1e-8, quick_gelu 1.7e-8, silu 3e-8 and
silu_integral 2.2e-7 by :data:`LOGISTIC`, gelu_tanh 6e-9 by :data:`WIGGLE`. Their slopes, and so E f', differ by up to
1.1e-7. The former cost eight times as much as ``gelu``, the latter three times. What ends in ``_integral`` is for gated
blocks, whose gate is its slope: see :func:`gmlayers.convert.glu_to_gm`.
"""


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation of that name; an :class:`Activation` is returned as it is.

    Raises:
        ValueError: for a name that is not in :data:`ACTIVATIONS`, with the nearest one suggested.

    Example:
        >>> get_activation("gelu")
        gelu
    """
    return activation if isinstance(activation, Activation) else look_up("activation", activation, ACTIVATIONS)
