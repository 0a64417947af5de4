r"""ReLU and GELU in plain operations that a compiler fuses into one loop, in float32.

The closed forms of :mod:`gmlayers.functional` need ``erfcx``, which no compiler vectorises. Here

.. math:: \mathbb E f(z) = m\,\Phi(t) + s\,\varphi(t), \qquad t = m/s,

whose two terms cancel in the lower tail, is corrected by its difference to a form without cancellation, by the Mills
ratio of :mod:`gmlayers.ops._mills`. That difference is the rounding error and nothing else: its derivative is zero, and
it is left out of differentiation. The derivatives of the formula itself, of any order, do not suffer:
:math:`\Phi + t\varphi - t\varphi` is as accurate as Φ, up to a factor t². GELU is :math:`c\rho(\tau) - \varphi(\tau)/c`
with :math:`c^2 = 1 + v, \tau = m/c`, and so a ReLU of variance :math:`c^2` with a term more.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers.functional.activations import standardised
from gmlayers.ops._mills import MILLS_COEFFICIENTS, MILLS_SHIFT


def relu(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Return E f and E f' of ReLU.

    Args:
        m: (..., K), float32.
        var: (..., K), float32, positive.
    """
    s = var.sqrt()
    t = standardised(m, s)
    slope = 0.5 * torch.erfc(t * -math.sqrt(0.5))
    density = torch.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
    level = m * slope + s * density
    return level + (_level(m, s, t.abs(), density) - level).detach(), slope


def gelu(m: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Return E f and E f' of GELU.

    Args:
        m: (..., K), float32.
        var: (..., K), float32, positive.
    """
    c = (1 + var).sqrt()
    tau = standardised(m, c)
    below = 0.5 * torch.erfc(tau * -math.sqrt(0.5))
    density = torch.exp(-0.5 * tau * tau) * (1 / math.sqrt(2 * math.pi))
    level = m * below + var / c * density
    far = _level(m, c, tau.abs(), density) - density / c
    level = level + (torch.where(tau < -1, far, level) - level).detach()
    return level, below + tau * density / (c * c)


FORMS = {"relu": relu, "gelu": gelu}
"""There is a form for a compiler of these activations."""


def _level(m: Tensor, s: Tensor, u: Tensor, density: Tensor) -> Tensor:
    """Return s (φ - u Φ(-u)) + max(m, 0)."""
    y = 1 / (1 + u * (1 / MILLS_SHIFT))
    mills = torch.full_like(y, MILLS_COEFFICIENTS[-1])
    for coefficient in MILLS_COEFFICIENTS[-2::-1]:
        mills = mills * y + coefficient
    return s * (density - u * (mills * y * density)) + m.clamp(min=0)
