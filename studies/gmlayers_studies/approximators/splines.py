r"""The functions on the edges of a Kolmogorov–Arnold network of pykan, and their derivatives.

From input i to node j an edge has the function

.. math:: \phi_{ji}(t) = m_{ji} \bigl(b_{ji}\,\mathrm{silu}(t) + s_{ji} \textstyle\sum_m c_{jim} B_{im}(t)\bigr),

here computed from the polynomials that the splines are in between knots: the same function as in pykan, several times
faster.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import torch
from torch import Tensor, nn

from gmlayers._names import in_a_clone
from gmlayers.solve import least_squares


def pykan() -> ModuleType:
    """Return the package pykan.

    Raises:
        ImportError: if it is not installed; the message names the extra that brings it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of string escapes in pykan and of what it imports
        try:
            import kan
        except ImportError as error:
            how = in_a_clone("peers", "./studies")
            raise ImportError(f"Kolmogorov–Arnold networks need pykan; install it {how}") from error
    return kan


@torch.no_grad()
def pieces(knots: Tensor, order: int) -> Tensor:
    r"""Return B-splines as polynomials in between knots.

    The derivative of a sum of B-splines of order k is a sum of those of order k - 1,

    .. math:: \Bigl(\sum_m c_m B_{m,k}\Bigr)'
        = \sum_m k\,\frac{c_m - c_{m-1}}{t_{m+k} - t_m}\, B_{m,k-1}

    where c is 0 beyond the first and the last (de Boor, *A Practical Guide to Splines*, chapter X). At a knot, all
    derivatives make up the Taylor polynomial.

    Args:
        knots: t, ascending, (in, K), with those that extend the grid.
        order: k.

    Returns:
        :math:`B_m^{(q)}(t_{j-1})` at [i, q, j, m], from the right, (in, k + 1, K + 1, K - k - 1): all that there is to
        know of B_m between :math:`t_{j-1}` and :math:`t_j`. It is 0 before the first knot and from the last.
    """
    splines = knots.shape[1] - order - 1
    combined = torch.eye(splines, dtype=knots.dtype).repeat(len(knots), 1, 1)  # of splines of order k - q, the B_m^(q)
    found = []
    for q in range(order + 1):
        k = order - q
        basis = pykan().spline.B_batch(knots[:, :-1].mT, knots, k)
        found.append(torch.einsum("jil,ilm->ijm", basis.to(knots), combined))
        if k > 0:
            width = (knots[:, k:] - knots[:, :-k]).unsqueeze(2)
            rise = k * nn.functional.pad(combined, (0, 0, 1, 1)).diff(dim=1)
            combined = torch.where(width > 0, rise / width, 0.0)  # a spline on no interval is 0
    return nn.functional.pad(torch.stack(found, 1), (0, 0, 1, 1))


def edges(layer: nn.Module, pieces: Tensor, h: Tensor, highest: int) -> list[Tensor]:
    """Return the functions of all edges of a layer, and their derivatives up to the highest, which is 2 at most.

    Each of them is (in, out, n), for inputs (in, n).
    """
    mask, grid = layer.get_parameter("mask"), layer.get_parameter("grid")
    base = (mask * layer.get_parameter("scale_base")).unsqueeze(2)
    scale = (mask * layer.get_parameter("scale_sp")).unsqueeze(2)
    h = h.contiguous()
    index = torch.searchsorted(grid, h.detach(), right=True)
    beyond = (h - torch.cat([grid[:, :1], grid], 1).gather(1, index)).unsqueeze(1)
    table = torch.einsum("iqjm,iom->qioj", pieces, scale * layer.get_parameter("coef"))
    taylor = torch.take_along_dim(table, index[None, :, None], 3)
    found = []
    for p, silu in enumerate(_silu(h, highest)):
        spline = taylor[-1]
        for q in reversed(range(p, len(taylor) - 1)):
            spline = taylor[q] + beyond / (q - p + 1) * spline
        found.append(base * silu.unsqueeze(1) + spline)
    return found


def curves(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the splines of all edges of a layer at its inputs, (n, in, out)."""
    return pykan().spline.coef2curve(x, layer.grid, layer.coef, layer.k)


def hold(layer: nn.Module, x: Tensor, wanted: Tensor) -> None:
    """Have the splines of a layer go through what is wanted of them, (n, in, out), at its inputs, by least squares.

    pykan does so too, by a routine that gives up, with all coefficients 0, where an interval is without points.
    """
    basis = pykan().spline.B_batch(x, layer.grid, layer.k)
    for i in range(x.shape[1]):
        layer.get_parameter("coef")[i] = least_squares([(basis[:, i], wanted[:, i])]).weight.T


def _silu(t: Tensor, highest: int) -> list[Tensor]:
    r"""Return :math:`t\,\sigma(t)` with the logistic σ, :math:`\sigma' = \sigma (1 - \sigma)`, and its derivatives."""
    σ = t.sigmoid()
    found = [t * σ]
    if highest >= 1:
        found.append(σ + t * σ * (1 - σ))
    if highest >= 2:
        found.append(σ * (1 - σ) * (2 + t * (1 - 2 * σ)))
    return found
