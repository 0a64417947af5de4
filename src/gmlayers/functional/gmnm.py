r"""The Gaussian mixture module: Gaussian bumps with free weights, and their derivatives in closed form.

.. math:: G(x) = b + \sum_k \pi_k f_k(x), \qquad f_k(x) = \exp\bigl(-\tfrac12 \|A_k (x - \mu_k)\|^2\bigr)

after Lu, Yuan, Zhang and Li, *Rethinking Nonlinearity: Trainable Gaussian Mixture Modules for Modern Neural
Architectures* (arXiv 2510.06660, 2025). With :math:`v_k = A_k (x - \mu_k)`,

.. math::
    \nabla f_k = -A_k^\top v_k f_k, \qquad
    \nabla^2 f_k = \bigl(A_k^\top v_k v_k^\top A_k - A_k^\top A_k\bigr) f_k, \qquad
    \Delta f_k = \bigl(\|A_k^\top v_k\|^2 - \|A_k\|_F^2\bigr) f_k.

All functions take

- ``x``: (..., d);
- ``mean`` μ: (m, d);
- ``projection`` A: (m, p, d), of any rank: the precision :math:`A^\top A` is positive semi-definite by construction;
- ``weight`` π: (m, out), and ``bias`` b: (out,) or None.

Partial derivatives of a bump of any order are those of :func:`derivative`, by a recurrence.

The literal reading of the paper, in which a Gaussian sees the *sum* of its projections, is the case p = 1: see
:func:`ridge`. Far from all means G is its bias: there is no extrapolation. The projection is applied before the mean is
subtracted, by one matrix product, so v carries an absolute rounding error of about eps · ‖A‖ · ‖x‖: keep the inputs of
unit scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import check_tensor
from gmlayers._names import brief_value, whole
from gmlayers._shown import brief
from gmlayers.functional._shapes import require_shapes
from gmlayers.functional.normal import FAR

__all__ = [
    "Derivatives",
    "bumps",
    "bumps_laplacian",
    "derivative",
    "gmnm",
    "gradient",
    "hessian",
    "laplacian",
    "ridge",
    "value_gradient_laplacian",
]


class Derivatives(NamedTuple):
    """Value (..., out), gradient (..., out, d) and Laplacian (..., out)."""

    value: Tensor
    gradient: Tensor
    laplacian: Tensor

    __repr__ = brief


def ridge(projection: Tensor) -> Tensor:
    r"""Return the projections summed, (m, 1, d): :math:`\|w^\top z\|^2` with :math:`w = \sum_j a_j` as the exponent.

    Raises:
        ValueError: a projection that is not (m, p, d).

    Example:
        >>> import torch
        >>> ridge(torch.ones(3, 4, 2)).shape
        torch.Size([3, 1, 2])
    """
    check_tensor("gmnm: projection", projection)
    if projection.ndim != 3:
        raise ValueError(f"gmnm: expected projection (m, p, d), got {tuple(projection.shape)}")
    return projection.sum(-2, keepdim=True)


def bumps(x: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    r"""Return :math:`f_k(x)`, (..., m), in [0, 1].

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> bumps(torch.zeros(1, 2), torch.zeros(3, 2), torch.ones(3, 2, 2))
        tensor([[1., 1., 1.]])
    """
    _check(x, mean, projection)
    return _bumps(_projected(x, mean, projection))


def bumps_laplacian(x: Tensor, mean: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`f_k(x)` and :math:`\Delta f_k(x)`, (..., m) each.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> bumps_laplacian(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None])
        (tensor([[1.]]), tensor([[-2.]]))
    """
    _check(x, mean, projection)
    v = _projected(x, mean, projection)
    f = _bumps(v)
    return f, _curved(v, f, projection)


def derivative(x: Tensor, mean: Tensor, projection: Tensor, axes: Sequence[int]) -> Tensor:
    r"""Return the partial derivative :math:`\partial_{i_1} \cdots \partial_{i_n} f_k(x)`, (..., m), of any order.

    With the slope :math:`s = A^\top v` and :math:`G = A^\top A` it is :math:`(-1)^n P_{i_1 \dots i_n}\, f`, where the
    polynomials are those of Hermite in several variables and follow from the recurrence

    .. math:: P = 1, \qquad P_{i\, i_1 \dots i_n} = s_i\, P_{i_1 \dots i_n}
        - \sum_{j=1}^n G_{i\, i_j}\, P_{i_1 \dots \hat{i_j} \dots i_n}

    (Grad, *Note on N-dimensional Hermite polynomials*, Communications on Pure and Applied Mathematics 2, 1949; in one
    dimension and for A = 1 it is :math:`He_{n+1} = x\, He_n - n\, He_{n-1}`, Abramowitz and Stegun, 22.7.14). The hat
    marks the index that is left out. The recurrence starts from f in place of 1, so that far from all means, where f is
    0, no power overflows.

    This function is the reference for all code that differentiates bumps: it is written for clarity, at about
    :math:`\prod_i (n_i + 1)` products of tensors where axis i occurs :math:`n_i` times.

    Args:
        x: points, (..., d), of any floating dtype.
        mean: μ, (m, d).
        projection: A, (m, p, d).
        axes: the axes by which to differentiate, one for each order; their order does not matter. None of them gives
            the bumps themselves.

    Raises:
        ValueError: shapes that do not fit, and an axis that x does not have.
        TypeError: an axis that is not a whole number.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> bump = torch.zeros(1, 2), torch.eye(2)[None]
        >>> derivative(x, *bump, (0, 0, 0)) / bumps(x, *bump)  # 3x - x³, at x = 1
        tensor([[2.]])
    """
    _check(x, mean, projection)
    d = projection.shape[2]
    if not isinstance(axes, Sequence) or isinstance(axes, str):
        raise TypeError(f"gmnm: axes must be whole numbers in a sequence, like (0, 1), got {brief_value(axes)}")
    axes = tuple(sorted(whole("gmnm: an axis", axis) for axis in axes))
    if not all(0 <= axis < d for axis in axes):
        raise ValueError(f"gmnm: expected axes from 0 to {d - 1}, got {axes}")
    v = _projected(x, mean, projection)
    slope = torch.einsum("...kp,kpd->...kd", v, projection)
    gram = projection.mT @ projection
    known: dict[tuple[int, ...], Tensor] = {(): _bumps(v)}  # P f by its axes, so that none is computed twice

    def hermite(axes: tuple[int, ...]) -> Tensor:
        if axes not in known:
            i, rest = axes[0], axes[1:]
            total = slope[..., i] * hermite(rest)
            for j, other in enumerate(rest):
                total = total - gram[:, i, other] * hermite(rest[:j] + rest[j + 1 :])
            known[axes] = total
        return known[axes]

    return (-1) ** len(axes) * hermite(axes)


def gmnm(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Return the module's value G(x), (..., out); arguments as above.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> gmnm(torch.rand(5, 2), torch.rand(7, 2), torch.rand(7, 3, 2), torch.rand(7, 4)).shape
        torch.Size([5, 4])
    """
    _check_weighted(x, mean, projection, weight, bias)
    value = bumps(x, mean, projection) @ weight
    return value if bias is None else value + bias


def gradient(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    r"""Return the Jacobian :math:`-\sum_k \pi_k \otimes A_k^\top v_k f_k`, (..., out, d).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> gradient(torch.rand(5, 2), torch.rand(7, 2), torch.rand(7, 3, 2), torch.rand(7, 4)).shape
        torch.Size([5, 4, 2])
    """
    _check_weighted(x, mean, projection, weight)
    v = _projected(x, mean, projection)
    return _gradient(v, _bumps(v), projection, weight)


def laplacian(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    r"""Return :math:`\Delta G = \sum_k \pi_k (\|A_k^\top v_k\|^2 - \|A_k\|_F^2) f_k`, (..., out).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> laplacian(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None], torch.ones(1, 1))
        tensor([[-2.]])
    """
    _check_weighted(x, mean, projection, weight)
    return bumps_laplacian(x, mean, projection)[1] @ weight


def hessian(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    r"""Return :math:`\sum_k \pi_k \otimes (A_k^\top v_k v_k^\top A_k - A_k^\top A_k) f_k`, (..., out, d, d).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> hessian(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None], torch.ones(1, 1)).shape
        torch.Size([1, 1, 2, 2])
    """
    _check_weighted(x, mean, projection, weight)
    v = _projected(x, mean, projection)
    f = _bumps(v)
    slope = torch.einsum("...kp,kpd->...kd", v, projection)
    outer = torch.einsum("...k,ko,...kd,...ke->...ode", f, weight, slope, slope)
    return outer - torch.einsum("...k,ko,kpd,kpe->...ode", f, weight, projection, projection)


def value_gradient_laplacian(
    x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Derivatives:
    """Return value, gradient and Laplacian, sharing the work.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> value_gradient_laplacian(torch.rand(5, 2), torch.rand(7, 2), torch.rand(7, 3, 2), torch.rand(7, 4))[2].shape
        torch.Size([5, 4])
    """
    _check_weighted(x, mean, projection, weight, bias)
    v = _projected(x, mean, projection)
    f = _bumps(v)
    value = f @ weight if bias is None else f @ weight + bias
    return Derivatives(value, _gradient(v, f, projection, weight), _curved(v, f, projection) @ weight)


def _projected(x: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    """Return v, (..., m, p), by one matrix product; no tensor of shape (..., m, d) is made.

    It is cut off where the bump is 0, and so are all of its derivatives, so that 0 does not meet an infinite power.
    """
    offset = torch.einsum("kpd,kd->kp", projection, mean)
    return ((x @ projection.flatten(0, 1).mT).unflatten(-1, offset.shape) - offset).clamp(-FAR, FAR)


def _bumps(v: Tensor) -> Tensor:
    return torch.exp(-0.5 * v.square().sum(-1))


def _gradient(v: Tensor, f: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    onto = torch.einsum("ko,kpd->kpod", weight, projection)  # first, so that the batch meets one matrix product
    return -((v * f[..., None]).flatten(-2) @ onto.flatten(2).flatten(0, 1)).unflatten(-1, onto.shape[2:])


def _curved(v: Tensor, f: Tensor, projection: Tensor) -> Tensor:
    gram = projection @ projection.mT  # ‖Aᵀv‖² = vᵀ(AAᵀ)v, with p × p matrices in place of d
    slope = torch.einsum("...kp,kpq,...kq->...k", v, gram, v)
    return f * (slope - projection.square().sum((-2, -1)))


def _check(x: Tensor, mean: Tensor, projection: Tensor) -> None:
    """Raise unless the arguments have shapes that fit."""
    require_shapes("gmnm", x=(x, "... d"), mean=(mean, "m d"), projection=(projection, "m p d"))


def _check_weighted(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    require_shapes(
        "gmnm",
        optional=("bias",),
        x=(x, "... d"),
        mean=(mean, "m d"),
        projection=(projection, "m p d"),
        weight=(weight, "m out"),
        bias=(bias, "out"),
    )
