r"""What expressions make of bumps: the one place of the solvers in which derivatives of a bump are written.

A bump is :math:`f = \exp(-\tfrac12 \|v\|^2)` with :math:`v = A(x - \mu)`. With its slope :math:`s = A^\top v` and
:math:`G = A^\top A` its derivatives up to the second are

.. math:: \partial_i f = -s_i f, \qquad \partial_i \partial_j f = (s_i s_j - G_{ij}) f,

so a row of the expression :math:`\sum_\alpha c_\alpha \partial^\alpha u` is a polynomial in s times f, and f is
computed once for all terms. :func:`gmlayers.functional.gmnm.derivative` has derivatives of any order, one by one: it is
the reference that both functions here are tested against. There are two because of what they are for: the first one
makes millions of numbers in place, of bumps along the axes; the second one is differentiated by the parameters of bumps
of any form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gmlayers.solve.domains import Points
from gmlayers.solve.equations import Expression, coefficients

Axes = tuple[int, ...]
"""A derivative is named by its axes in order; the value has none."""


def rows(expression: Expression, points: Points, mean: Tensor, scale: Tensor, name: str) -> Tensor:
    """Return what the expression makes of every bump along the axes at every point, (n, m).

    Args:
        expression: the sum of derivatives.
        points: n points.
        mean: the centres of the bumps, (m, d).
        scale: their reciprocal widths along the axes, (m, d).
        name: says in errors whose coefficients are wrong.
    """
    return along_axes(points.x, dict(coefficients(expression, points, name)), mean, scale)


def along_axes(x: Tensor, coefficients: Mapping[Axes, Tensor], mean: Tensor, scale: Tensor) -> Tensor:
    r"""Return a sum of derivatives of bumps with A = diag(scale), (n, m).

    Args:
        x: points, (n, d).
        coefficients: by the axes, (n, 1) or (1, 1), of order two at most.
        mean: the centres of the bumps, (m, d).
        scale: their reciprocal widths along the axes, (m, d).
    """
    v = [(x[:, i : i + 1] - mean[:, i]).mul_(scale[:, i]) for i in range(x.shape[1])]
    total = torch.zeros_like(v[0])
    for axes, coefficient in coefficients.items():
        if len(axes) == 0:
            total += coefficient
        elif len(axes) == 1:
            (i,) = axes
            total.addcmul_(coefficient * scale[:, i], v[i], value=-1)
        else:
            i, j = axes
            outer = coefficient * (scale[:, i] * scale[:, j])
            total.add_(torch.mul(v[i], v[j]).sub_(float(i == j)).mul_(outer))
    square = torch.zeros_like(total)
    for w in v:
        square.addcmul_(w, w)
    return total.mul_(square.mul_(-0.5).exp_())


def differentiable(
    all_axes: Sequence[Axes], x: Tensor, coefficients: Tensor, mean: Tensor, projection: Tensor
) -> Tensor:
    """Return a sum of derivatives of bumps of any form, (..., m), differentiable in everything that is a tensor.

    Args:
        all_axes: the derivatives that are summed, of order two at most.
        x: points, (..., d).
        coefficients: those of the derivatives in the same order, (..., c).
        mean: the centres of the bumps, (m, d).
        projection: their projections A, (m, p, d).
    """
    v = torch.einsum("kpd,...kd->...kp", projection, x.unsqueeze(-2) - mean)
    slope = torch.einsum("kpd,...kp->...kd", projection, v)
    total = torch.zeros_like(slope[..., 0])
    for axes, c in zip(all_axes, coefficients.unsqueeze(-2).unbind(-1)):
        if len(axes) == 0:
            total = total + c
        elif len(axes) == 1:
            total = total - c * slope[..., axes[0]]
        else:
            i, j = axes
            gram = (projection[..., i] * projection[..., j]).sum(-1)
            total = total + c * (slope[..., i] * slope[..., j] - gram)
    return total * torch.exp(-0.5 * v.square().sum(-1))
