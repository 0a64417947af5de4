r"""Oracles: the same expectations by Gauss–Hermite quadrature and by Monte Carlo.

They know nothing of closed forms; tests and users hold the closed forms against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmlayers._arguments import called, check_callable, check_generator, check_tensors, check_values, got
from gmlayers._names import whole
from gmlayers.functional.activations import Activation, get_activation
from gmlayers.functional.gm import check_layer

__all__ = ["gate", "gauss_hermite", "gm_layer_monte_carlo", "mean"]


def gauss_hermite(order: int) -> tuple[Tensor, Tensor]:
    r"""Nodes and weights with :math:`\sum_i w_i f(x_i) \approx \mathbb E f(Z)`, :math:`Z \sim N(0, 1)`.

    Exact for polynomials of degree below ``2 * order``, up to rounding. The nodes are the eigenvalues of the
    Jacobi matrix (Golub and Welsch 1969); the weights are :math:`1/\sum_{k<n} p_k(x_i)^2` with the orthonormal
    Hermite polynomials, which keeps their relative accuracy where eigenvectors lose it.

    Args:
        order: number of nodes n, from 1 to 300 (beyond, float64 overflows at the outermost nodes).

    Returns:
        Nodes and weights, float64, (order,) each; the weights sum to 1.

    Example:
        >>> nodes, weights = gauss_hermite(8)
        >>> round(float((weights * nodes**4).sum()), 12)
        3.0
    """
    order = whole("gauss_hermite: order", order)
    if not 1 <= order <= 300:
        raise ValueError(f"gauss_hermite: order must be a whole number from 1 to 300, got {order}")
    root = torch.arange(order, dtype=torch.float64).sqrt()
    nodes = torch.linalg.eigvalsh(torch.diag(root[1:], 1) + torch.diag(root[1:], -1))
    previous, current = torch.zeros_like(nodes), torch.ones_like(nodes)
    total = torch.ones_like(nodes)
    for k in range(1, order):
        previous, current = current, (nodes * current - root[k - 1] * previous) / root[k]
        total += current.square()
    return nodes, 1 / total


def mean(f: Callable[[Tensor], Tensor], m: Tensor, var: Tensor, *, order: int = 128) -> Tensor:
    r""":math:`\mathbb E f(z)`, :math:`z \sim N(m, v)`, by quadrature; converges fast for smooth f only.

    Args:
        f: elementwise function.
        m: means, any shape.
        var: variances, the same shape, positive.
        order: number of nodes.

    Returns:
        float64, the shape of ``m``.

    Raises:
        ValueError: means and variances, or values of f, of different shapes; variances that are not positive.
        TypeError: an argument that is no tensor.

    Example:
        >>> import torch
        >>> mean(torch.square, torch.tensor(1.0), torch.tensor(4.0), order=8).round(decimals=10)
        tensor(5., dtype=torch.float64)
    """
    nodes, weights = gauss_hermite(order)
    s = _std(m, var)
    z = m.double()[..., None] + s[..., None] * nodes.to(m.device)
    return (_values(f, z) * weights.to(m.device)).sum(-1)


def gate(f: Callable[[Tensor], Tensor], m: Tensor, var: Tensor, *, order: int = 128) -> Tensor:
    r""":math:`\mathbb E f'(z)` by quadrature, as :math:`\mathbb E[(z-m) f(z)]/v` (Stein): no derivative of f.

    Arguments and result as in :func:`mean`.

    Example:
        >>> import torch
        >>> gate(torch.square, torch.tensor(1.5), torch.tensor(4.0), order=8).round(decimals=10)
        tensor(3., dtype=torch.float64)
    """
    nodes, weights = gauss_hermite(order)
    s = _std(m, var)
    z = m.double()[..., None] + s[..., None] * nodes.to(m.device)
    return (_values(f, z) * (nodes * weights).to(m.device)).sum(-1) / s


def gm_layer_monte_carlo(
    x: Tensor,
    mean: Tensor,
    root: Tensor,
    output_mean: Tensor,
    output_root: Tensor,
    activation: str | Activation = "relu",
    *,
    bias: Tensor | None = None,
    weight: Tensor | None = None,
    samples: int = 10_000,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""The average of ``samples`` sampled neurons per component, with its standard error.

    The arguments are those of :func:`gmlayers.functional.gm_layer`; ζ is drawn afresh for every component
    and shared by the inputs. Memory grows as samples · batch · K · out.

    Returns:
        Estimate and standard error, (..., out) each.

    Raises:
        ValueError: shapes that do not fit, an activation that is not known, fewer than two samples.
        TypeError: an argument that is no tensor, a number of samples that is not whole.

    Example:
        >>> import torch
        >>> layer = torch.zeros(1, 2), torch.ones(1, 2, 1), torch.ones(1, 1), torch.zeros(1, 1, 1)
        >>> estimate, error = gm_layer_monte_carlo(torch.ones(2), *layer, samples=100)
        >>> estimate.shape, error.shape
        (torch.Size([1]), torch.Size([1]))
    """
    check_layer("gm_layer_monte_carlo", x, mean, root, output_mean, output_root, bias, weight)
    samples = whole("gm_layer_monte_carlo: samples", samples)
    check_generator("gm_layer_monte_carlo: generator", generator, x.device)
    if samples < 2:
        raise ValueError(f"gm_layer_monte_carlo: samples must be at least 2, for a standard error, got {samples}")
    f = get_activation(activation).f
    components, _, columns = root.shape
    weight = torch.full_like(mean[:, 0], 1 / components) if weight is None else weight
    noise = torch.randn(samples, components, columns, generator=generator, dtype=x.dtype, device=x.device)
    beta = mean + torch.einsum("nkq,kiq->nki", noise, root)
    omega = output_mean + torch.einsum("nkq,koq->nko", noise, output_root)
    z = torch.einsum("...i,nki->...nk", x, beta)
    z = z if bias is None else z + bias
    h = torch.einsum("...nk,nko,k->...no", f(z), omega, weight)
    return h.mean(-2), h.std(-2) / math.sqrt(samples)


def _std(m: Tensor, var: Tensor) -> Tensor:
    check_tensors("quadrature", m=m, var=var, mixed=True)
    check_values("quadrature: m and var", m)
    if m.shape != var.shape:
        raise ValueError(
            f"quadrature: expected m and var of one shape, got m {tuple(m.shape)} and var {tuple(var.shape)}"
        )
    if not (var > 0).all():
        raise ValueError(f"quadrature: variances must be positive, got {var.min().item()}")
    return var.double().sqrt()


def _values(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    check_callable("quadrature: f", f, takes=1)
    values = called("quadrature", "f", f, z)
    if not isinstance(values, Tensor):
        raise TypeError(f"quadrature: f must return a tensor, got {got(values)}")
    if values.shape != z.shape:
        raise ValueError(
            f"quadrature: f must be elementwise, and made {tuple(values.shape)} of a tensor {tuple(z.shape)}"
        )
    return values
