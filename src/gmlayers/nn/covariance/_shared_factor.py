"""Factors that all components share: the family with the lowest error at a given size so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gmlayers import ops
from gmlayers._names import whole
from gmlayers.functional import VARIANCE_FLOOR
from gmlayers.nn._reading import DENSE, Reading
from gmlayers.nn.covariance._base import Covariance, Law, Params


@dataclass(frozen=True)
class SharedFactor(Covariance):
    r"""Factors that all components share: :math:`\beta = \mu + \sigma z + F(\rho\odot w),\ \omega = \mu_\omega + C w`.

    Components differ in how far they vary along each of a few common directions, the columns of F, and in what that
    means for the output. A component costs hardly more than a ReLU neuron, in + (out + 1)(rank + 1) numbers, and
    :math:`s^2 = \sigma^2\|x\|^2 + \sum_j \rho_j^2 (F^\top x)_j^2`.

    Parameters: ``mean`` μ (K, in); ``std`` σ (K,); ``factor`` Fᵀ (rank, in); ``factor_std`` ρ (K, rank), its sign free
    with that of C; ``output_mean`` (K, out); ``output_factor`` C (K, out, rank).

    Args:
        rank: columns of F, at least 1.
    """

    rank: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", whole("SharedFactor: rank", self.rank))
        if self.rank < 1:
            raise ValueError(f"SharedFactor: rank must be at least 1, got {self.rank}")

    def shapes(self, in_features: int, out_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        K = num_components
        return {
            "mean": (K, in_features),
            "std": (K,),
            "factor": (self.rank, in_features),
            "factor_std": (K, self.rank),
            "output_mean": (K, out_features),
            "output_factor": (K, out_features, self.rank),
        }

    @property
    def default_init_scale(self) -> float:
        return 0.1

    def init(self, p: Params, init_scale: float, generator: torch.Generator | None) -> None:
        unit = 1 / math.sqrt(p["mean"].shape[1])
        for name in ("factor", "mean", "output_factor", "output_mean"):
            p[name].normal_(0, unit if name in ("mean", "factor") else init_scale, generator=generator)
        p["std"].fill_(unit)
        p["factor_std"].fill_(1 / math.sqrt(self.rank))

    def moments(self, p: Params, x: Tensor, read: Reading = DENSE) -> tuple[Tensor, Tensor, Tensor]:
        m, reading = read.project_both(x, p["mean"], p["factor"])
        floor = m.new_full((len(p["mean"]),), VARIANCE_FLOOR)
        squares = torch.cat([read.power(x), reading.square()], -1)
        return m, F.linear(squares, torch.cat([p["std"].unsqueeze(1), p["factor_std"]], 1).square(), floor), reading

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:
        return p["std"], p["factor_std"], reading

    def readout(
        self,
        p: Params,
        level: Tensor,
        gate: Tensor,
        x: Tensor,  # noqa: ARG002
        reading: Tensor,
        read: Reading = DENSE,  # noqa: ARG002
    ) -> Tensor:
        return level @ p["output_mean"] + ops.mix(gate, p["output_factor"], reading, scale=p["factor_std"])

    def law(self, p: Params) -> Law:
        factor, output_factor = p["factor"].unsqueeze(0), p["output_factor"].mT
        return Law(p["mean"], p["std"].unsqueeze(1), factor, p["output_mean"], None, output_factor, p["factor_std"])
