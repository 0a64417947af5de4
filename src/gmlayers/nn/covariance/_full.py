"""Any joint Gaussian law, by a triangular root."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers.functional import VARIANCE_FLOOR
from gmlayers.nn._reading import DENSE, Reading
from gmlayers.nn.covariance._base import Covariance, Law, Params


@dataclass(frozen=True)
class Full(Covariance):
    r"""Any joint Gaussian: :math:`\beta = \mu + A\zeta,\ \omega = \mu_\omega + B\zeta` with A lower triangular.

    Every covariance of β and every one of ω with β has such a root. The noise that ω has of its own is no parameter,
    since the layer does not depend on it. The family is for small inputs: a component has about in · (in + out)
    numbers, and the reading is (batch, K, in). (The gradient flow in (B, A) is the Bures–Wasserstein flow of Theorem 1
    of Chewi, Rigollet and Yan, 2025, only if A may be any square matrix: held triangular, it gives the same laws
    another metric.)

    Parameters: ``mean`` μ (K, in); ``scale_tril`` A (K, in, in), of which the lower triangle alone is read: the entries
    above the diagonal start at 0, get gradients of 0, and do not matter; ``output_mean`` (K, out); ``coupling`` B
    (K, out, in). The sign of a column of A is free with that of the column of B.
    """

    def shapes(self, in_features: int, out_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        K = num_components
        return {
            "mean": (K, in_features),
            "scale_tril": (K, in_features, in_features),
            "output_mean": (K, out_features),
            "coupling": (K, out_features, in_features),
        }

    @property
    def default_init_scale(self) -> float:
        return 0.1

    def init(self, p: Params, init_scale: float, generator: torch.Generator | None) -> None:
        unit = 1 / math.sqrt(p["mean"].shape[1])
        for name in ("coupling", "mean", "output_mean"):  # the draws of Diagonal, of which this is a copy at the start
            p[name].normal_(0, unit if name == "mean" else init_scale, generator=generator)
        p["scale_tril"].zero_().diagonal(dim1=-2, dim2=-1).fill_(unit)

    def moments(self, p: Params, x: Tensor, read: Reading = DENSE) -> tuple[Tensor, Tensor, Tensor]:
        m, u = read.project(x, p["mean"]), read.patches(x)
        reading = _times_lower(u.reshape(-1, u.shape[-1]), p["scale_tril"]).transpose(0, 1)
        reading = reading.reshape(*u.shape[:-1], *p["mean"].shape)
        return m, reading.square().sum(-1) + VARIANCE_FLOOR, reading

    @property
    def gates_reading(self) -> bool:
        return True

    def readout_gated(self, p: Params, level: Tensor, gated: Tensor) -> Tensor:
        return level @ p["output_mean"] + gated.flatten(-2) @ p["coupling"].mT.flatten(0, 1)

    def law(self, p: Params) -> Law:
        return Law(p["mean"], None, p["scale_tril"].tril().mT, p["output_mean"], None, p["coupling"].mT)


def _times_lower(x: Tensor, matrices: Tensor, width: int = 196) -> Tensor:
    """Return x times the lower triangle of every matrix, (K, batch, d): by blocks of columns, half of the work."""
    products = []
    for start, columns in zip(range(0, matrices.shape[-1], width), matrices.split(width, -1)):
        corner, below = columns[:, start:].tensor_split([columns.shape[-1]], 1)
        here, rest = x[:, start:].tensor_split([columns.shape[-1]], 1)
        products.append(here @ corner.tril() + rest @ below)
    return torch.cat(products, -1)
