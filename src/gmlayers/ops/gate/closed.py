r"""Hand-written gradients, from the heat equation.

With :math:`e_j(m, v) = \mathbb E f^{(j)}(z)`, :math:`z \sim N(m, v)`,

.. math:: \partial_m e_j = e_{j+1}, \qquad \partial_v e_j = \tfrac12 e_{j+2},

so the gradients of :math:`(e_0, e_1)` need :math:`e_1, e_2, e_3` and nothing else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers.functional import Activation
from gmlayers.functional.normal import FAR
from gmlayers.ops._fused import Tensors
from gmlayers.ops._mills import MILLS_COEFFICIENTS, MILLS_SHIFT
from gmlayers.ops.gate import reference

CHUNK = 2**16
"""A block has this many elements: few enough for the cache, and enough for torch to use two threads."""

FEW = 2**9
"""Up to so many elements ``erfcx``, which takes 20 ns for each, is quicker than a dozen operations of 1 µs."""

_COEFFICIENTS = tuple(torch.tensor(c * MILLS_SHIFT ** (j + 1)) for j, c in enumerate(MILLS_COEFFICIENTS))
"""These belong to powers of 1/(u + c) in place of y = c/(u + c), as tensors, which ``addcmul`` takes: that makes fewer
operations on small inputs, where starting one is all it costs."""

_LOG_DENSITY = torch.tensor(-0.5 * math.log(2 * math.pi))
"""This is the logarithm of φ(0)."""


class Closed:
    """Any activation that has :attr:`~gmlayers.functional.Activation.higher`."""

    outputs = 2
    finds_values = True
    elementwise = True

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def reference(self, m: Tensor, var: Tensor, reading: Tensor | None) -> tuple[Tensor, Tensor]:
        return reference.gate(self.activation, m, var, reading)

    def forward(
        self, m: Tensor, var: Tensor, reading: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        level, slope = self.activation.mean(m, var), self.activation.gate(m, var)
        if reading is None:
            return (level, slope), ()
        return (level, slope[..., None] * reading), (slope,)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        m, var, reading = tensors
        assert m is not None and var is not None and self.activation.higher is not None  # noqa: PT018
        slope, (grad_level, grad_gated) = kept[1 if reading is None else 2], grads
        second, third = self.activation.higher(m, var)
        grad_slope = _onto_slope(grad_gated, reading)
        grad_m = (grad_level * slope).addcmul_(grad_slope, second) if needs[0] else None
        grad_var = None
        if needs[1]:
            third = third.masked_fill_(grad_slope == 0, 0)  # where it is infinite, and not asked for
            grad_var = third.mul_(grad_slope).addcmul_(grad_level, second).mul_(0.5)
        grad_reading = grad_gated * slope[..., None] if needs[2] else None
        return grad_m, grad_var, grad_reading


class Blocked(Closed):
    r"""A closed form in float32, tail-safe without ``erfcx``, in blocks that stay in the cache.

    With u = \|t\| and the Mills ratio :math:`M(u) = \Phi(-u)/\varphi(u)` of :mod:`gmlayers.ops._mills`, one exponential
    gives everything: :math:`\Phi(-u) = \varphi M`, :math:`\rho(-u) = \varphi (1 - uM)`. A density is kept for the
    backward.
    """

    @staticmethod
    def fill(m: Tensor, var: Tensor, level: Tensor, slope: Tensor, density: Tensor) -> None:
        """Fill the last three, of the shape of the first two."""
        raise NotImplementedError

    @staticmethod
    def again(m: Tensor, var: Tensor, slope: Tensor, density: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        r"""Fill the level, from what :meth:`fill` has found beside it, and return :math:`e_2, e_3`.

        In the lower tail the level is as accurate as its terms, not as itself: it is for gradients.
        """
        raise NotImplementedError

    def forward(
        self, m: Tensor, var: Tensor, reading: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        m, var = m.contiguous(), var.contiguous()
        level, slope, density = torch.empty_like(m), torch.empty_like(m), torch.empty_like(m)
        tensors = m, var, level, slope, density
        if m.numel() <= CHUNK:
            self.fill(*tensors)
        else:
            for parts in zip(*(tensor.view(-1).split(CHUNK) for tensor in tensors)):
                self.fill(*parts)
        if reading is None:
            return (level, slope), (density,)
        return (level, slope.unsqueeze(-1) * reading), (slope, density)


class Relu(Blocked):
    r"""ReLU: its density is :math:`e_2 = \varphi(t)/s`, and :math:`e_3 = -e_2\, m/v`."""

    @staticmethod
    def fill(m: Tensor, var: Tensor, level: Tensor, slope: Tensor, density: Tensor) -> None:
        inverse = var.rsqrt()
        t = (m * inverse).clamp_(-FAR, FAR)
        tail = _tails(t, slope, density)
        torch.div(tail, inverse, out=level).add_(m.clamp(min=0))
        density.mul_(inverse)

    @staticmethod
    def again(m: Tensor, var: Tensor, slope: Tensor, density: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        torch.mul(m, slope, out=level).addcmul_(var, density)
        return density, torch.mul(m, density).div_(var).neg_()

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        m, var, reading = tensors
        assert m is not None and var is not None  # noqa: PT018
        slope, density = kept[1:] if reading is None else kept[2:]
        grad_level, grad_gated = grads
        grad_slope = _onto_slope(grad_gated, reading)
        grad_m = (grad_level * slope).addcmul_(grad_slope, density) if needs[0] else None
        grad_var = None
        if needs[1]:
            third = torch.mul(m, density).div_(var)  # in this order, because m/v may be infinite where the density is 0
            grad_var = third.mul_(grad_slope).addcmul_(grad_level, density, value=-1).mul_(-0.5)
        grad_reading = grad_gated * slope.unsqueeze(-1) if needs[2] else None
        return grad_m, grad_var, grad_reading


class Gelu(Blocked):
    r"""GELU, with :math:`c^2 = 1 + v`, :math:`\tau = m/c` and the density :math:`q = \varphi(\tau)/c`.

    .. math:: e_0 = m\Phi(\tau) + vq,\quad e_1 = \Phi(\tau) + \tau q/c,\quad
        e_2 = q\,(1 + (1 - \tau^2)/c^2),\quad e_3 = -q\,\frac{\tau}{c}\,(1 + (3 - \tau^2)/c^2).

    For :math:`\tau < -1` the value is :math:`c\rho(\tau) - q`, as in the reference.
    """

    @staticmethod
    def fill(m: Tensor, var: Tensor, level: Tensor, slope: Tensor, density: Tensor) -> None:
        inverse = (var + 1).rsqrt_()
        t = (m * inverse).clamp_(-FAR, FAR)
        tail = _tails(t, slope, density)
        density.mul_(inverse)
        far = tail.div_(inverse).add_(m.clamp(min=0)).sub_(density)
        near = (m * slope).addcmul_(var, density)
        torch.lerp(near, far, torch.lt(t, -1).to(t.dtype), out=level)
        slope.addcmul_(t.mul_(density), inverse)

    @staticmethod
    def again(m: Tensor, var: Tensor, slope: Tensor, density: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        inverse = (var + 1).rsqrt_()
        second, third, bend = _gelu_higher(m, inverse, density)
        torch.mul(m, bend.neg_().add_(slope), out=level).addcmul_(var, density)  # m Φ(τ) + v q
        return second, third

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        m, var, reading = tensors
        assert m is not None and var is not None  # noqa: PT018
        slope, density = kept[1:] if reading is None else kept[2:]
        grad_level, grad_gated = grads
        grad_slope = _onto_slope(grad_gated, reading)
        second, third = _gelu_higher(m, (var + 1).rsqrt_(), density)[:2]
        grad_m = (grad_level * slope).addcmul_(grad_slope, second) if needs[0] else None
        grad_var = None
        if needs[1]:
            grad_var = third.mul_(grad_slope).addcmul_(grad_level, second).mul_(0.5)
        grad_reading = grad_gated * slope.unsqueeze(-1) if needs[2] else None
        return grad_m, grad_var, grad_reading


def _gelu_higher(m: Tensor, inverse: Tensor, density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return e₂, e₃ and τq/c for 1/c and q."""
    t = (m * inverse).clamp_(-FAR, FAR)
    less = torch.mul(t, t).sub_(1)
    square = torch.mul(inverse, inverse)
    second = torch.mul(less, square).sub_(1).mul_(density).neg_()
    bend = t.mul_(inverse).mul_(density)
    return second, less.sub_(2).mul_(square).sub_(1).mul_(bend), bend


def _tails(t: Tensor, slope: Tensor, density: Tensor) -> Tensor:
    """Fill slope Φ(t) and density φ(t); return ρ(-|t|)."""
    phi = torch.addcmul(_LOG_DENSITY, t, t, value=-0.5, out=density).exp_()
    u = torch.abs(t)
    if t.numel() <= FEW:
        mills = torch.special.erfcx(u * math.sqrt(0.5)).mul_(math.sqrt(math.pi / 2))
    else:
        y = torch.add(u, MILLS_SHIFT).reciprocal_()
        mills = torch.addcmul(_COEFFICIENTS[-2], _COEFFICIENTS[-1], y)
        for coefficient in _COEFFICIENTS[-3::-1]:
            torch.addcmul(coefficient, mills, y, out=mills)
        mills.mul_(y)
    below = mills.mul_(phi)  # Φ(-u)
    torch.ge(t, 0, out=slope).sub_(below).abs_()  # below for t < 0, 1 - below otherwise; `where` is 10 times slower
    return torch.sub(phi, torch.mul(u, below, out=u), out=u)


def _onto_slope(grad_gated: Tensor, reading: Tensor | None) -> Tensor:
    if reading is None:
        return grad_gated
    if reading.shape[-1] == 1:
        return grad_gated.squeeze(-1) * reading.squeeze(-1)
    return torch.linalg.vecdot(grad_gated, reading)
