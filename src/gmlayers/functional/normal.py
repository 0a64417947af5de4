r"""The standard normal distribution, accurate in its tails and differentiable to any order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmlayers._arguments import check_tensor

__all__ = ["cdf", "pdf", "ramp"]

FAR = 64.0
"""The density is 0 so many standard deviations from the mean, in float64 too, and so are all of its derivatives.

Standardised numbers are cut off here before they meet a density: a power of them would be infinite, and 0 times that is
not a number.
"""


def pdf(t: Tensor) -> Tensor:
    r"""Density of the standard normal, :math:`\varphi(t) = e^{-t^2/2} / \sqrt{2\pi}`.

    Args:
        t: any shape, any floating dtype.

    Returns:
        A tensor like ``t``.

    Example:
        >>> import torch
        >>> pdf(torch.zeros(1))
        tensor([0.3989])
    """
    check_tensor("pdf: t", t)
    return torch.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


def cdf(t: Tensor) -> Tensor:
    r"""Distribution function of the standard normal, :math:`\Phi(t) = \tfrac12\,\mathrm{erfc}(-t/\sqrt2)`.

    Accurate in relative terms down to underflow. :func:`torch.special.ndtr` is not: on vectors it computes
    :math:`\tfrac12(1+\mathrm{erf}(t/\sqrt2))`, which in float32 is 0 from t = -6 on (torch 2.13, CPU).

    Args:
        t: any shape, float32 or float64.

    Returns:
        A tensor like ``t``, in [0, 1].

    Example:
        >>> import torch
        >>> cdf(torch.tensor([-10.0]))
        tensor([7.6199e-24])
    """
    check_tensor("cdf: t", t)
    return 0.5 * torch.special.erfc(t * (-1 / math.sqrt(2)))


def ramp(t: Tensor) -> Tensor:
    r"""The smoothed ramp :math:`\rho(t) = \mathbb E\,\mathrm{relu}(t + Z) = t\,\Phi(t) + \varphi(t)`.

    For :math:`t \ll 0` the two terms cancel (float32 has lost three digits at :math:`t = -8`). With the
    scaled complementary error function and :math:`u = |t|` the value is

    .. math:: \rho(t) = \max(t, 0) + \varphi(u)\,\bigl(1 - u\sqrt{\pi/2}\;\mathrm{erfcx}(u/\sqrt 2)\bigr),

    without a branch. It is not smooth as an expression, so it only supplies the *value*; the derivatives,
    of every order, are those of the plain formula, which autograd computes to full relative accuracy up to
    a factor :math:`t^2`.

    Args:
        t: any shape, float32 or float64.

    Returns:
        A non-negative tensor like ``t``. Relative error at most 4e-5 in float32 for t ≥ -13 and 1e-12 in
        float64 for t ≥ -37; below, the density underflows.

    Example:
        >>> import torch
        >>> ramp(torch.tensor([-8.0, 0.0, 8.0]))
        tensor([7.5503e-17, 3.9894e-01, 8.0000e+00])
    """
    check_tensor("ramp: t", t, full=True)
    plain = t * cdf(t) + pdf(t)
    u = t.detach().abs()
    tail = pdf(u) * (1 - u * math.sqrt(math.pi / 2) * torch.special.erfcx(u / math.sqrt(2)))
    value = t.detach().clamp(min=0) + tail.clamp(min=0)
    return plain + (value - plain.detach())
