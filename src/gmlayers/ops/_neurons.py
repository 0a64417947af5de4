r"""Neurons that vary along one factor each, from what they read to the output: one node of autograd, in blocks.

.. math:: y = \sum_k \mathbb E f(z_k)\,\bar\omega_k + \mathbb E f'(z_k)\,a_k C_k + c, \qquad
    z_k \sim N(\langle\mu_k, x\rangle + b_k,\ \sigma_k^2\|x\|^2 + \varepsilon_k^2 a_k^2), \quad a_k = F_k x

That is a low-rank layer of rank 1 on an isotropic base, dense or a convolution, and a feed-forward block. Its backward
keeps four numbers for each neuron and row: m, a, the slope and a density; the rest is made from them anew in a few
cheap passes, by blocks that stay in the cache. It keeps no more than Linear - GELU - Linear of as many parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers._arguments import autocast_on
from gmlayers.functional import VARIANCE_FLOOR, Activation
from gmlayers.ops._dispatch import forced
from gmlayers.ops._fused import Tensors, readable, recorded, run
from gmlayers.ops.gate import reference
from gmlayers.ops.gate.closed import CHUNK, Blocked, Gelu, Relu

LARGE = 1e9
"""Squares of numbers up to this one may be formed apart in float32.

What is lost of the other factor, whose square is 0 below 1e-23, is then less than 1e-13 of a standard deviation, whose
floor is 1e-6: see :data:`gmlayers.functional.VARIANCE_FLOOR`.
"""

LARGEST_VARIANCE = 1e30
"""Up to this variance the third power of a standard deviation, of which second derivatives are made, is in range."""

KINDS: dict[str, type[Blocked]] = {"relu": Relu, "gelu": Gelu}
"""There is a fused form for these activations."""


def applies(activation: Activation, *tensors: Tensor | None) -> bool:
    """Return whether there is a fused form: float32 on a CPU, in eager mode, of an activation that has one."""
    if recorded() or not activation.in_table or activation.name not in KINDS:
        return False
    if forced("gate") or autocast_on("cpu"):
        return False
    return all(t is None or (t.dtype == torch.float32 and readable(t)) for t in tensors)


def neurons(
    m: Tensor,
    a: Tensor,
    power: Tensor,
    std: Tensor,
    factor_std: Tensor | None,
    output_mean: Tensor,
    output_factor: Tensor,
    output_bias: Tensor | None,
    activation: Activation,
    scale: float = 1.0,
) -> Tensor | None:
    """Return the output, or None if numbers are so large that float32 cannot hold their squares.

    Args:
        m: means of z, (..., K).
        a: what the factors read, (..., K).
        power: ‖x‖², (..., 1).
        std: σ, (K,).
        factor_std: ε, (K,), or None for ones.
        output_mean: ω̄, (K, out).
        output_factor: C, (K, out).
        output_bias: c, (out,), or None.
        activation: f.
        scale: a factor of the sums over k.
    """
    call = _Neurons(KINDS[activation.name], activation, scale)
    K = m.shape[-1]
    rows = (m.reshape(-1, K), a.reshape(-1, K), power.reshape(-1, 1))
    (y,) = run(call, *rows, std, factor_std, output_mean, output_factor, output_bias)
    if not call.fits:
        return None
    return y if m.ndim == 2 else y.reshape(*m.shape[:-1], y.shape[-1])  # a view where there must be one


class _Neurons:
    """One call; see :class:`gmlayers.ops._fused.Call`."""

    outputs = 1
    finds_values = False
    elementwise = False

    def __init__(self, kind: type[Blocked], activation: Activation, scale: float) -> None:
        self.kind, self.activation, self.scale = kind, activation, scale
        self.fits = True

    def reference(
        self,
        m: Tensor,
        a: Tensor,
        power: Tensor,
        std: Tensor,
        factor_std: Tensor | None,
        output_mean: Tensor,
        output_factor: Tensor,
        output_bias: Tensor | None,
    ) -> tuple[Tensor]:
        spread = a if factor_std is None else a * factor_std
        var = power * std.square() + spread.square() + VARIANCE_FLOOR
        level, slope = reference.gate(self.activation, m, var, None)
        y = self.scale * (level @ output_mean + (slope * a) @ output_factor)
        return (y if output_bias is None else y + output_bias,)

    def forward(
        self,
        m: Tensor,
        a: Tensor,
        power: Tensor,
        std: Tensor,
        factor_std: Tensor | None,
        output_mean: Tensor,
        output_factor: Tensor,
        output_bias: Tensor | None,
    ) -> tuple[tuple[Tensor], tuple[Tensor, ...]]:
        level, slope, density, gated = (torch.empty_like(m, memory_format=torch.contiguous_format) for _ in range(4))
        squares = std.square()
        small = float(torch.linalg.vector_norm(std)) <= LARGE if len(m) else True
        for rows in _blocks(m):
            var = _variance(power[rows], squares, a[rows], factor_std)
            small = small and float(var.amax()) <= LARGEST_VARIANCE and float(power[rows].amax()) <= LARGE**2
            self.kind.fill(m[rows], var, level[rows], slope[rows], density[rows])
            torch.mul(slope[rows], a[rows], out=gated[rows])
        self.fits = small
        y = torch.addmm(
            output_mean.new_zeros(()) if output_bias is None else output_bias,
            *(level, output_mean),
            beta=int(output_bias is not None),
            alpha=self.scale,
        )
        return (y.addmm_(gated, output_factor, alpha=self.scale),), (slope, density)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        m, a, power, std, factor_std, output_mean, output_factor, _ = tensors
        slope, density = kept
        (grad,) = grads
        assert m is not None and a is not None and power is not None and std is not None  # noqa: PT018
        assert output_mean is not None and output_factor is not None  # noqa: PT018
        onto_m, onto_a = grad @ (self.scale * output_mean).mT, grad @ (self.scale * output_factor).mT
        level, gated = torch.empty_like(slope), slope * a
        squares, spread = std.square(), None if factor_std is None else factor_std.square()
        onto_squares, onto_spread = torch.zeros_like(std), torch.zeros_like(std)
        onto_power = torch.empty(len(m), 1, dtype=m.dtype)
        for rows in _blocks(m):
            var = _variance(power[rows], squares, a[rows], factor_std)
            second, third = self.kind.again(m[rows], var, slope[rows], density[rows], level[rows])
            onto_slope = onto_a[rows] * a[rows]
            onto_var = third.mul_(onto_slope).addcmul_(onto_m[rows], second).mul_(0.5)
            onto_m[rows].mul_(slope[rows]).addcmul_(onto_slope, second)
            onto_squares.addmv_(onto_var.mT, power[rows, 0])
            if needs[2]:
                torch.mv(onto_var, squares, out=onto_power[rows, 0])
            onto_var.mul_(a[rows])
            if spread is not None:
                onto_spread.add_((onto_var * a[rows]).sum(0))
                onto_var.mul_(spread)
            onto_a[rows].mul_(slope[rows]).add_(onto_var, alpha=2)
        return (
            onto_m,
            onto_a,
            onto_power if needs[2] else None,
            2 * std * onto_squares,
            None if factor_std is None else 2 * factor_std * onto_spread,
            (level.mT @ grad).mul_(self.scale) if needs[5] else None,
            (gated.mT @ grad).mul_(self.scale) if needs[6] else None,
            grad.sum(0) if needs[7] else None,
        )


def _blocks(m: Tensor) -> list[slice]:
    """Return slices of rows that hold so many elements that they stay in the cache."""
    rows = max(1, CHUNK // max(1, m.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(m), rows)]


def _variance(power: Tensor, squares: Tensor, a: Tensor, factor_std: Tensor | None) -> Tensor:
    var = (power * squares).add_(VARIANCE_FLOOR)
    return var.addcmul_(a, a) if factor_std is None else var.add_((a * factor_std).square_())
