"""The plain forms that every implementation is held against."""

from __future__ import annotations

from torch import Tensor

from gmlayers.functional import gmnm


def bumps(x: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    r"""Return :math:`f_k = \exp(-\tfrac12\|A_k(x - \mu_k)\|^2)`, (..., m).

    Args:
        x: (..., d).
        mean: μ, (m, d).
        projection: A, (m, p, d).
    """
    return gmnm.bumps(x, mean, projection)


def bumps_laplacian(x: Tensor, mean: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return f_k and :math:`\Delta f_k = (\|A_k^\top v_k\|^2 - \|A_k\|_F^2) f_k`, (..., m) each.

    Args:
        x: (..., d).
        mean: μ, (m, d).
        projection: A, (m, p, d).
    """
    return gmnm.bumps_laplacian(x, mean, projection)
