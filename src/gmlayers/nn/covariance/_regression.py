"""The coordinates of Chewi, Rigollet and Yan (2025)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers import ops
from gmlayers.nn._reading import DENSE, Reading
from gmlayers.nn.covariance._base import Covariance, Law, Params
from gmlayers.nn.covariance._low_rank import Diagonal


@dataclass(frozen=True)
class Regression(Covariance):
    r"""The paper's coordinates: :math:`\beta \sim N(\mu, \mathrm{diag}\,\sigma^2),\ E[\omega|\beta] = U\beta + v`.

    Parameters: ``mean`` μ (K, in), ``std`` σ (K, in), ``slope`` U (K, out, in), ``intercept`` v (K, out).
    It is :class:`Diagonal` in other coordinates: :math:`\mu_\omega = U\mu + v, B = U\,\mathrm{diag}\,\sigma`.
    """

    def shapes(self, in_features: int, out_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        K = num_components
        return {
            "mean": (K, in_features),
            "std": (K, in_features),
            "slope": (K, out_features, in_features),
            "intercept": (K, out_features),
        }

    @property
    def default_init_scale(self) -> float:
        return 0.5

    def init(self, p: Params, init_scale: float, generator: torch.Generator | None) -> None:
        p["std"].fill_(init_scale)
        for name in ("mean", "slope", "intercept"):
            p[name].normal_(0, init_scale, generator=generator)

    def moments(self, p: Params, x: Tensor, read: Reading = DENSE) -> tuple[Tensor, Tensor, Tensor]:
        return Diagonal().moments(p, x, read)

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:
        return Diagonal().squared(p, reading)

    def readout(
        self,
        p: Params,
        level: Tensor,
        gate: Tensor,
        x: Tensor,
        reading: Tensor,  # noqa: ARG002
        read: Reading = DENSE,
    ) -> Tensor:
        output_mean = torch.einsum("koi,ki->ko", p["slope"], p["mean"]) + p["intercept"]
        return level @ output_mean + ops.mix(gate, p["slope"], read.patches(x), scale=p["std"].square())

    def law(self, p: Params) -> Law:
        return Diagonal().law(self.joint(p))

    @staticmethod
    def joint(p: Params) -> dict[str, Tensor]:
        """Return the parameters of :class:`Diagonal` that give the same law."""
        return {
            "mean": p["mean"],
            "std": p["std"],
            "output_mean": torch.einsum("koi,ki->ko", p["slope"], p["mean"]) + p["intercept"],
            "coupling": p["slope"] * p["std"][:, None, :],
        }
