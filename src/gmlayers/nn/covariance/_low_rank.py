"""Low rank on a diagonal base: the family of the library's default, and of the paper's functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gmlayers import ops
from gmlayers._names import flag, look_up, whole
from gmlayers.functional import VARIANCE_FLOOR
from gmlayers.nn._reading import DENSE, Reading
from gmlayers.nn.covariance._base import Covariance, Law, OneFactor, Params


@dataclass(frozen=True)
class LowRank(Covariance):
    r"""Joint low rank: :math:`\beta = \mu + \sigma\odot z + F w,\ \omega = \mu_\omega + B z + C w`.

    Parameters: ``mean`` μ (K, in); ``std`` σ (K,) or (K, in); ``factor`` Fᵀ (K, rank, in); ``output_mean``
    (K, out); ``output_factor`` Cᵀ (K, rank, out); with full coupling also ``coupling`` B (K, out, in).

    Args:
        rank: columns of the factor, at least 0.
        base: one ``"isotropic"`` std per component, or a ``"diagonal"`` of them.
        coupling: whether ω and z are coupled as well (out · in more parameters per component).
    """

    rank: int = 1
    base: Literal["isotropic", "diagonal"] = "isotropic"
    coupling: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", whole("LowRank: rank", self.rank))
        if self.rank < 0:
            raise ValueError(f"LowRank: rank must be at least 0, got {self.rank}")
        object.__setattr__(self, "coupling", flag("LowRank: coupling", self.coupling))
        look_up("base", self.base, {"isotropic": None, "diagonal": None})

    def shapes(self, in_features: int, out_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        K = num_components
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (K, in_features),
            "std": (K,) if self.base == "isotropic" else (K, in_features),
            "output_mean": (K, out_features),
        }
        if self.rank:
            shapes |= {"factor": (K, self.rank, in_features), "output_factor": (K, self.rank, out_features)}
        if self.coupling:
            shapes |= {"coupling": (K, out_features, in_features)}
        return shapes

    @property
    def default_init_scale(self) -> float:
        return 0.1

    def init(self, p: Params, init_scale: float, generator: torch.Generator | None) -> None:
        unit = 1 / math.sqrt(p["mean"].shape[1])
        for name in sorted(p):
            p[name].normal_(0, unit if name in ("mean", "factor") else init_scale, generator=generator)
        p["std"].fill_(unit)  # drawn like the rest and then set: the recorded runs rest on this order of draws

    def moments(self, p: Params, x: Tensor, read: Reading = DENSE) -> tuple[Tensor, Tensor, Tensor]:
        floor, squares = p["mean"].new_full((len(p["mean"]),), VARIANCE_FLOOR), self._std(p).square()
        var = read.power(x, squares, floor) if self.base == "diagonal" else F.linear(read.power(x), squares, floor)
        if not self.rank:
            return read.project(x, p["mean"]), var, x
        m, reading = read.project_both(x, p["mean"], p["factor"].flatten(0, 1))
        reading = reading.unflatten(-1, p["factor"].shape[:2])
        if self.rank == 1:
            return m, torch.addcmul(var, reading[..., 0], reading[..., 0]), reading
        return m, var + reading.square().sum(-1), reading

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        return (p["std"],)

    @property
    def gates_reading(self) -> bool:
        return self.rank > 0 and not self.coupling

    def readout(
        self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor, read: Reading = DENSE
    ) -> Tensor:
        y = level @ p["output_mean"]
        if self.rank:
            y = y + _per_factor(p, gate[..., None] * reading)
        if self.coupling:
            y = y + ops.mix(gate, p["coupling"], read.patches(x), scale=self._std(p).expand_as(p["mean"]))
        return y

    def readout_gated(self, p: Params, level: Tensor, gated: Tensor) -> Tensor:
        return level @ p["output_mean"] + _per_factor(p, gated)

    def one_factor(self, p: Params) -> OneFactor | None:
        if self.rank != 1 or self.base != "isotropic" or self.coupling:
            return None
        return OneFactor(p["mean"], p["factor"][:, 0], p["output_mean"], p["output_factor"][:, 0], p["std"])

    def law(self, p: Params) -> Law:
        mean, output_mean = p["mean"], p["output_mean"]
        factor = p["factor"] if self.rank else mean.new_empty(len(mean), 0, mean.shape[1])
        output_factor = p["output_factor"] if self.rank else mean.new_empty(len(mean), 0, output_mean.shape[1])
        coupling = p["coupling"] if self.coupling else None
        return Law(mean, self._std(p), factor, output_mean, coupling, output_factor)

    def _std(self, p: Params) -> Tensor:
        """Std as (K, in) or (K, 1)."""
        return p["std"] if self.base == "diagonal" else p["std"][:, None]


def _per_factor(p: Params, gated: Tensor) -> Tensor:
    """Return Σ_k Σ_j gated_kj C_kj, (..., out)."""
    return gated.flatten(-2) @ p["output_factor"].flatten(0, 1)


@dataclass(frozen=True)
class Diagonal(LowRank):
    r"""Diagonal covariance of β, free coupling to ω: the paper's function class in joint coordinates.

    :math:`\beta = \mu + \sigma\odot z,\ \omega = \mu_\omega + B z`: ``LowRank(0, "diagonal", coupling=True)``.
    Parameters: ``mean`` (K, in), ``std`` (K, in), ``output_mean`` (K, out), ``coupling`` (K, out, in).
    """

    rank: int = field(default=0, init=False, repr=False)
    base: Literal["isotropic", "diagonal"] = field(default="diagonal", init=False, repr=False)
    coupling: bool = field(default=True, init=False, repr=False)
