r"""Gaussian expectations :math:`e_j = \mathbb E f^{(j)}(z)`, z ~ N(m, v), in one pass over the elements.

The forward writes :math:`e_0` and :math:`e_1`, the latter multiplied with what is to be gated. The backward needs no
other function: by the heat equation

.. math:: \frac{\partial e_j}{\partial m} = e_{j+1}, \qquad \frac{\partial e_j}{\partial v} = \tfrac12 e_{j+2}.

Everything is float32, and the tails keep their relative accuracy: see :mod:`gmlayers.ops._mills`.
"""

# ruff: noqa: ANN001, ANN202  (kernels have pointers and tiles for arguments)

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gmlayers.functional.activations import LEAK
from gmlayers.functional.normal import FAR
from gmlayers.ops._mills import SECOND_COEFFICIENTS, SECOND_SHIFT

_SHIFT = tl.constexpr(1 / SECOND_SHIFT)
_DEGREE = tl.constexpr(len(SECOND_COEFFICIENTS) - 1)
_COEFFICIENTS = tl.constexpr(SECOND_COEFFICIENTS)
_LEAK = tl.constexpr(LEAK)
_FAR = tl.constexpr(FAR)
_DENSITY = tl.constexpr(1 / math.sqrt(2 * math.pi))
_ROOT_HALF = tl.constexpr(math.sqrt(0.5))

ELEMENTS = 1024
"""A program holds this many elements of (rows, r) at a time."""


def forward(m: Tensor, var: Tensor, reading: Tensor | None, activation: str) -> tuple[Tensor, Tensor]:
    """Return E f(z), and E f'(z) times the reading.

    Args:
        m: means of z, float32 (N, K), contiguous.
        var: variances of z, likewise, positive.
        reading: what the gate multiplies, (N, K, r), contiguous; None for the gate itself.
        activation: f, a name of :data:`~gmlayers.functional.activations.ACTIVATIONS`.

    Returns:
        level: E f(z), float32 (N, K).
        gated: E f'(z) · reading, (N, K, r) in the dtype of the reading, or E f'(z), float32 (N, K).
    """
    level = torch.empty_like(m)
    gated = torch.empty_like(m if reading is None else reading)
    width = 1 if reading is None else reading.shape[-1]
    constants = _constants(activation, width)
    if m.numel():
        with torch.cuda.device_of(m):
            _forward_kernel[(triton.cdiv(m.numel(), constants["BLOCK"]),)](
                m, var, reading, level, gated, m.numel(), width, **constants
            )
    return level, gated


def backward(
    m: Tensor, var: Tensor, reading: Tensor | None, activation: str, grad_level: Tensor, grad_gated: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of m, var and the reading.

    Args:
        m: what :func:`forward` was given, like var, reading and activation.
        var: variances.
        reading: what is gated.
        activation: its name.
        grad_level: gradient of level, float32 (N, K), contiguous.
        grad_gated: gradient of gated, of its shape, contiguous.

    Returns:
        The gradients of m and var, float32 (N, K), and that of the reading, like it, or None where there is none.
    """
    grad_m, grad_var = torch.empty_like(m), torch.empty_like(var)
    grad_reading = None if reading is None else torch.empty_like(reading)
    width = 1 if reading is None else reading.shape[-1]
    constants = _constants(activation, width)
    if m.numel():
        with torch.cuda.device_of(m):
            _backward_kernel[(triton.cdiv(m.numel(), constants["BLOCK"]),)](
                m, var, reading, grad_level, grad_gated, grad_m, grad_var, grad_reading, m.numel(), width, **constants
            )
    return grad_m, grad_var, grad_reading


def _constants(activation: str, width: int) -> dict[str, Any]:
    """Return what a kernel is compiled for; it holds BLOCK rows of TILE readings at a time."""
    tile = min(128, triton.next_power_of_2(max(1, width)))
    return {"ACTIVATION": activation, "BLOCK": ELEMENTS // tile, "TILE": tile}


@triton.jit
def _forward_kernel(
    m, var, reading, level, gated, count, width, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = row < count
    e0, e1, _, _ = _expectations(tl.load(m + row, there, other=0.0), tl.load(var + row, there, other=1.0), ACTIVATION)
    tl.store(level + row, e0, there)
    if reading is None:
        tl.store(gated + row, e1, there)
    else:
        for start in range(0, width, TILE):
            column = start + tl.arange(0, TILE)
            place = row[:, None] * width + column[None, :]
            inside = there[:, None] & (column < width)[None, :]
            value = tl.load(reading + place, inside, other=0.0).to(tl.float32)
            tl.store(gated + place, (e1[:, None] * value).to(gated.dtype.element_ty), inside)


@triton.jit
def _backward_kernel(
    m,
    var,
    reading,
    grad_level,
    grad_gated,
    grad_m,
    grad_var,
    grad_reading,
    count,
    width,
    ACTIVATION: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = row < count
    _, e1, e2, e3 = _expectations(tl.load(m + row, there, other=0.0), tl.load(var + row, there, other=1.0), ACTIVATION)
    if reading is None:
        grad_e1 = tl.load(grad_gated + row, there, other=0.0)
    else:
        grad_e1 = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, width, TILE):
            column = start + tl.arange(0, TILE)
            place = row[:, None] * width + column[None, :]
            inside = there[:, None] & (column < width)[None, :]
            value = tl.load(reading + place, inside, other=0.0).to(tl.float32)
            grad = tl.load(grad_gated + place, inside, other=0.0).to(tl.float32)
            grad_e1 += tl.sum(grad * value, 1)
            tl.store(grad_reading + place, (grad * e1[:, None]).to(grad_reading.dtype.element_ty), inside)
    grad_e0 = tl.load(grad_level + row, there, other=0.0)
    tl.store(grad_m + row, grad_e0 * e1 + grad_e1 * e2, there)
    tl.store(grad_var + row, 0.5 * (grad_e0 * e2 + grad_e1 * e3), there)


@triton.jit
def _standardised(m, s):
    """Return m/s, cut off where its density is 0; NaN stays NaN."""
    t = tl.div_rn(m, s)
    return tl.where(t < -_FAR, -_FAR, tl.where(t > _FAR, _FAR, t))


@triton.jit
def _density(t):
    """Return φ(t)."""
    return _DENSITY * tl.exp(-0.5 * t * t)


@triton.jit
def _tail(u):
    """Return P(Z > u), E (Z - u)₊ and E (Z - u)₊², each over φ(u), for u ≥ 0: M, R and S of `_mills`."""
    y = 1.0 / (1.0 + u * _SHIFT)
    p = y * 0.0 + _COEFFICIENTS[_DEGREE]
    for j in tl.static_range(_DEGREE):  # type: ignore[reportGeneralTypeIssues]
        p = p * y + _COEFFICIENTS[_DEGREE - 1 - j]
    s = y * y * y * p
    scale = 1.0 / (1.0 + u * u)
    return (u + s) * scale, (1.0 - u * s) * scale, s


@triton.jit
def _cdf(t, density, mills):
    """Return Φ(t), given φ(t) and M(|t|)."""
    return tl.where(t < 0, density * mills, 1.0 - density * mills)


@triton.jit
def _expectations(m, v, ACTIVATION: tl.constexpr):
    """Return e_0 to e_3; the compiler drops those that a kernel does not use.

    Below, s = √v, t = m/s, φ and Φ are taken at t, and M, R and S at |t|. Divisions and roots are rounded correctly,
    because φ multiplies a relative error of t by t².
    """
    if ACTIVATION == "identity":
        e0, e1, e2, e3 = m, m * 0.0 + 1.0, m * 0.0, m * 0.0
    elif ACTIVATION == "square":
        e0, e1, e2, e3 = m * m + v, 2.0 * m, m * 0.0 + 2.0, m * 0.0
    elif ACTIVATION == "sin" or ACTIVATION == "cos":
        damping = tl.exp(-0.5 * v)
        sin, cos = damping * tl.sin(m), damping * tl.cos(m)
        if ACTIVATION == "sin":
            e0, e1, e2, e3 = sin, cos, -sin, -cos
        else:
            e0, e1, e2, e3 = cos, -sin, -cos, sin
    elif ACTIVATION == "gaussian":
        # e_j = (-r)^j He_j(w) e_0 with r = 1/√(1+v), w = rm
        c = tl.sqrt_rn(1.0 + v)
        r, w = 1.0 / c, _standardised(m, c)
        e0 = r * tl.exp(-0.5 * w * w)
        e1 = -r * w * e0
        e2 = r * r * (w * w - 1.0) * e0
        e3 = r * r * r * w * (3.0 - w * w) * e0
    elif ACTIVATION == "erf":
        # erf(z) = 2Φ(√2 z) - 1, hence e_1 is the density of N(0, ½ + v) at m, twice
        c = tl.sqrt_rn(0.5 + v)
        r, w = 1.0 / c, _standardised(m, c)
        e0 = tl.erf(w * _ROOT_HALF)
        e1 = 2.0 * r * _density(w)
        e2 = -r * w * e1
        e3 = r * r * (w * w - 1.0) * e1
    elif ACTIVATION == "gelu":
        # with c² = 1 + v, τ = m/c, and M, R at |τ|: e_0 = mΦ(τ) + (v/c)φ(τ), on both sides of 0 without cancellation
        c2 = 1.0 + v
        c = tl.sqrt_rn(c2)
        tau = _standardised(m, c)
        density, u = _density(tau), tl.abs(tau)
        mills, mean, _ = _tail(u)
        e0 = tl.maximum(m, 0.0) + density * (v * mean - u * mills) / c
        e1 = _cdf(tau, density, mills) + tau * density / c2
        # f'' = (2 - z²)φ and f''' = (z³ - 4z)φ; φ times the density of z is that of N(0, c²) at m, times N(μ, ν)
        mu, nu, height = _standardised(m, c2), v / c2, density / c
        e2 = height * (2.0 - mu * mu - nu)
        e3 = height * mu * (mu * mu + 3.0 * nu - 4.0)
    else:
        s = tl.sqrt_rn(v)
        r, t = 1.0 / s, _standardised(m, s)
        density, u = _density(t), tl.abs(t)
        mills, mean, second = _tail(u)
        # the first four expectations of relu, and the one after them
        r0 = tl.maximum(m, 0.0) + s * density * mean
        r1 = _cdf(t, density, mills)
        r2 = density * r
        r3 = -t * r * r2
        if ACTIVATION == "relu":
            e0, e1, e2, e3 = r0, r1, r2, r3
        elif ACTIVATION == "step":
            e0, e1, e2, e3 = r1, r2, r3, r * r * (t * t - 1.0) * r2
        elif ACTIVATION == "relu_squared":
            tail = v * density * second  # E relu(-|z|)²
            e0, e1, e2, e3 = tl.where(m < 0, tail, m * m + v - tail), 2.0 * r0, 2.0 * r1, 2.0 * r2
        elif ACTIVATION == "abs":
            e0 = tl.abs(m) + 2.0 * s * density * mean
            e1, e2, e3 = tl.erf(t * _ROOT_HALF), 2.0 * r2, 2.0 * r3
        else:
            tl.static_assert(ACTIVATION == "leaky_relu", "an activation without a kernel")
            e0 = _LEAK * m + (1.0 - _LEAK) * r0
            e1 = _LEAK + (1.0 - _LEAK) * r1
            e2, e3 = (1.0 - _LEAK) * r2, (1.0 - _LEAK) * r3
    return e0, e1, e2, e3
