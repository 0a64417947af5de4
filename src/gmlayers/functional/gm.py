r"""The Gaussian mixture layer's formula: the one reference that every family and fast path is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.functional._shapes import require_shapes
from gmlayers.functional.activations import Activation, get_activation

__all__ = ["VARIANCE_FLOOR", "gm_layer"]

VARIANCE_FLOOR = 1e-12
r"""This is added to every variance, so that an all-zero input or a zero std gives finite values *and gradients*.

It is no approximation: the formula stays an exact expectation, with one more noise feature of size
:math:`10^{-6}` that carries no output weight. A larger floor would bend small inputs.
"""


def gm_layer(
    x: Tensor,
    mean: Tensor,
    root: Tensor,
    output_mean: Tensor,
    output_root: Tensor,
    activation: str | Activation = "relu",
    *,
    bias: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    r"""An infinitely wide two-layer network whose neurons follow a Gaussian mixture.

    A neuron :math:`(\omega, \beta)` of component :math:`k` is
    :math:`(\bar\omega_k, \bar\beta_k) + (B_k, A_k)\,\zeta` with :math:`\zeta \sim N(0, I_q)`. It reads
    :math:`z = \langle\beta, x\rangle + b_k \sim N(m_k, s_k^2)` and answers :math:`\omega f(z)`. By Stein's
    identity the average over all neurons has the closed form

    .. math::

        h(x) = \sum_k w_k \bigl[\, \mathbb E f(z_k)\; \bar\omega_k + \mathbb E f'(z_k)\; B_k a_k \,\bigr],
        \qquad a_k = A_k^\top x,\quad s_k = \|a_k\|.

    With :math:`A = \mathrm{diag}\,\sigma`, :math:`B = U\,\mathrm{diag}\,\sigma`,
    :math:`\bar\omega = U\mu + v` and :math:`w_k = 1/K` this is eq. (6) of Chewi, Rigollet and Yan,
    *Gaussian mixture layers for neural networks*, TMLR 2025.

    This function is written to be read; it builds tensors of shape (batch, K, out) and (batch, K, q).

    Args:
        x: inputs, (..., in).
        mean: means of β, (K, in).
        root: A, (K, in, q).
        output_mean: means of ω, (K, out).
        output_root: B, (K, out, q).
        activation: a name of :data:`~gmlayers.functional.activations.ACTIVATIONS` or an ``Activation``.
        bias: added to the mean of z, (K,); none by default.
        weight: weights of the components, (K,), any real numbers; ``None`` is the mean, 1/K each.

    Returns:
        (..., out), in the common dtype of the arguments: float32 or float64. It counts in float64, whose range holds
        the squares of all numbers of float32. Call it outside of autocast; :class:`~gmlayers.GMLayer` takes care of
        lower precision.

    Raises:
        ValueError: shapes that do not fit, an activation that is not known.
        TypeError: an argument that is no tensor.

    Example:
        >>> import torch
        >>> x, K, q = torch.randn(5, 3), 4, 2
        >>> y = gm_layer(x, torch.randn(K, 3), torch.randn(K, 3, q), torch.randn(K, 2), torch.randn(K, 2, q))
        >>> y.shape
        torch.Size([5, 2])
    """
    check_layer("gm_layer", x, mean, root, output_mean, output_root, bias, weight)
    act = get_activation(activation)
    dtype = torch.promote_types(x.dtype, mean.dtype)
    x, mean, root, output_mean, output_root = (t.double() for t in (x, mean, root, output_mean, output_root))
    m = torch.einsum("...i,ki->...k", x, mean)
    m = m if bias is None else m + bias
    a = torch.einsum("...i,kiq->...kq", x, root)
    var = a.square().sum(-1) + VARIANCE_FLOOR
    component = act.mean(m, var)[..., None] * output_mean + act.gate(m, var)[..., None] * torch.einsum(
        "...kq,koq->...ko", a, output_root
    )
    y = component.mean(-2) if weight is None else torch.einsum("...ko,k->...o", component, weight.double())
    return y.to(dtype)


def check_layer(
    function: str,
    x: Tensor,
    mean: Tensor,
    root: Tensor,
    output_mean: Tensor,
    output_root: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
) -> None:
    """Raise unless the arguments of :func:`gm_layer` have shapes that fit."""
    require_shapes(
        function,
        optional=("bias", "weight"),
        x=(x, "... in"),
        mean=(mean, "K in"),
        root=(root, "K in q"),
        output_mean=(output_mean, "K out"),
        output_root=(output_root, "K out q"),
        bias=(bias, "K"),
        weight=(weight, "K"),
    )
