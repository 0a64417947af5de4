r"""Covariance families: structured roots of the joint Gaussian law of a neuron (ω, β).

A neuron is :math:`(\omega, \beta) = (\bar\omega, \bar\beta) + (B, A)\,\zeta`. A family says which parameters
make up the root (B, A), and how to read an input through it without building it. Families are stateless
values: the parameters live on the layer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gmlayers import ops
from gmlayers._names import brief_value, flag, look_up, whole
from gmlayers._shown import brief
from gmlayers.functional import VARIANCE_FLOOR

Params = Mapping[str, Tensor]


class Root(NamedTuple):
    """The law of the neurons, in the order of the arguments of :func:`gmlayers.functional.gm_layer`."""

    mean: Tensor
    """Means of β, (K, in)."""
    root: Tensor
    """A, (K, in, q)."""
    output_mean: Tensor
    """Means of ω, (K, out)."""
    output_root: Tensor
    """B, (K, out, q)."""

    __repr__ = brief


class Covariance(ABC):
    """A covariance family; every method takes the layer's parameters by name."""

    @abstractmethod
    def shapes(self, in_features: int, out_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the family."""

    @property
    @abstractmethod
    def default_init_scale(self) -> float:
        """Return the ``init_scale`` that is used when none is given."""

    @abstractmethod
    def init(self, p: Params, init_scale: float, generator: torch.Generator | None) -> None:
        """Fill the parameters in place."""

    @abstractmethod
    def moments(self, p: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of z, (..., K) each, and what the readout needs of Aᵀx."""

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return what :meth:`moments` squares, beside the input, before it is multiplied with other squares."""
        return ()

    @property
    def gates_reading(self) -> bool:
        """Return whether the gate only ever meets the reading, so that the readout is given their product."""
        return False

    @abstractmethod
    def readout(self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:
        """Return Σ_k level_k · E ω_k + gate_k · B_k A_kᵀ x, (..., out).

        The gate is (..., K), or with :attr:`gates_reading` the gate times the reading, (..., K, r).
        """

    @abstractmethod
    def root(self, p: Params) -> Root:
        """Return the law as dense matrices."""


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

    def moments(self, p: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m = F.linear(x, p["mean"])
        square = x.square() if self.base == "diagonal" else torch.linalg.vecdot(x, x).unsqueeze(-1)
        floor = m.new_full((len(p["mean"]),), VARIANCE_FLOOR)
        var = F.linear(square, self._std(p).square(), floor)
        if not self.rank:
            return m, var, x
        reading = F.linear(x, p["factor"].flatten(0, 1)).unflatten(-1, p["factor"].shape[:2])
        if self.rank == 1:
            return m, torch.addcmul(var, reading[..., 0], reading[..., 0]), reading
        return m, var + reading.square().sum(-1), reading

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        return (p["std"],)

    @property
    def gates_reading(self) -> bool:
        return self.rank > 0 and not self.coupling

    def readout(self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:
        y = level @ p["output_mean"]
        if self.rank:
            gated = gate if self.gates_reading else gate[..., None] * reading
            y = y + gated.flatten(-2) @ p["output_factor"].flatten(0, 1)
        if self.coupling:
            y = y + ops.mix(gate, p["coupling"], x, scale=self._std(p).expand_as(p["mean"]))
        return y

    def root(self, p: Params) -> Root:
        std = self._std(p).expand_as(p["mean"])
        base = torch.diag_embed(std)
        output_base = p["coupling"] if self.coupling else base.new_zeros(*p["output_mean"].shape, std.shape[1])
        if not self.rank:
            return Root(p["mean"], base, p["output_mean"], output_base)
        return Root(
            p["mean"],
            torch.cat([base, p["factor"].mT], -1),
            p["output_mean"],
            torch.cat([output_base, p["output_factor"].mT], -1),
        )

    def _std(self, p: Params) -> Tensor:
        """Std as (K, in) or (K, 1)."""
        return p["std"] if self.base == "diagonal" else p["std"][:, None]


@dataclass(frozen=True)
class Diagonal(LowRank):
    r"""Diagonal covariance of β, free coupling to ω: the paper's function class in joint coordinates.

    :math:`\beta = \mu + \sigma\odot z,\ \omega = \mu_\omega + B z`: ``LowRank(0, "diagonal", coupling=True)``.
    Parameters: ``mean`` (K, in), ``std`` (K, in), ``output_mean`` (K, out), ``coupling`` (K, out, in).
    """

    rank: int = field(default=0, init=False, repr=False)
    base: Literal["isotropic", "diagonal"] = field(default="diagonal", init=False, repr=False)
    coupling: bool = field(default=True, init=False, repr=False)


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

    def moments(self, p: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, reading = F.linear(x, p["mean"]), F.linear(x, p["factor"])
        floor = m.new_full((len(p["mean"]),), VARIANCE_FLOOR)
        squares = torch.cat([torch.linalg.vecdot(x, x).unsqueeze(-1), reading.square()], -1)
        return m, F.linear(squares, torch.cat([p["std"].unsqueeze(1), p["factor_std"]], 1).square(), floor), reading

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:
        return p["std"], p["factor_std"], reading

    def readout(self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:  # noqa: ARG002
        return level @ p["output_mean"] + ops.mix(gate, p["output_factor"], reading, scale=p["factor_std"])

    def root(self, p: Params) -> Root:
        base = torch.diag_embed(p["std"].unsqueeze(1).expand_as(p["mean"]))
        root = torch.cat([base, p["factor"].T * p["factor_std"].unsqueeze(1)], -1)
        output_root = torch.cat([base.new_zeros(*p["output_mean"].shape, base.shape[1]), p["output_factor"]], -1)
        return Root(p["mean"], root, p["output_mean"], output_root)


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

    def moments(self, p: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return Diagonal().moments(p, x)

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:
        return Diagonal().squared(p, reading)

    def readout(self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:  # noqa: ARG002
        output_mean = torch.einsum("koi,ki->ko", p["slope"], p["mean"]) + p["intercept"]
        return level @ output_mean + ops.mix(gate, p["slope"], x, scale=p["std"].square())

    def root(self, p: Params) -> Root:
        return Diagonal().root(self.joint(p))

    @staticmethod
    def joint(p: Params) -> dict[str, Tensor]:
        """Return the parameters of :class:`Diagonal` that give the same law."""
        return {
            "mean": p["mean"],
            "std": p["std"],
            "output_mean": torch.einsum("koi,ki->ko", p["slope"], p["mean"]) + p["intercept"],
            "coupling": p["slope"] * p["std"][:, None, :],
        }


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

    def moments(self, p: Params, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, rows = F.linear(x, p["mean"]), x.reshape(-1, x.shape[-1])
        reading = _times_lower(rows, p["scale_tril"]).transpose(0, 1).reshape(*x.shape[:-1], *p["mean"].shape)
        return m, reading.square().sum(-1) + VARIANCE_FLOOR, reading

    @property
    def gates_reading(self) -> bool:
        return True

    def readout(self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:  # noqa: ARG002
        return level @ p["output_mean"] + gate.flatten(-2) @ p["coupling"].mT.flatten(0, 1)

    def root(self, p: Params) -> Root:
        return Root(p["mean"], p["scale_tril"].tril(), p["output_mean"], p["coupling"])

    @staticmethod
    def low_rank(p: Params) -> tuple[LowRank, dict[str, Tensor]]:
        """Return the low-rank family, of as many factors as there are inputs and no base, with the same law."""
        return LowRank(p["mean"].shape[1]), {
            "mean": p["mean"],
            "std": p["mean"].new_zeros(len(p["mean"])),
            "factor": p["scale_tril"].tril().mT,
            "output_mean": p["output_mean"],
            "output_factor": p["coupling"].mT,
        }


def _times_lower(x: Tensor, matrices: Tensor, width: int = 196) -> Tensor:
    """Return x times the lower triangle of every matrix, (K, batch, d): by blocks of columns, half of the work."""
    products = []
    for start, columns in zip(range(0, matrices.shape[-1], width), matrices.split(width, -1)):
        corner, below = columns[:, start:].tensor_split([columns.shape[-1]], 1)
        here, rest = x[:, start:].tensor_split([columns.shape[-1]], 1)
        products.append(here @ corner.tril() + rest @ below)
    return torch.cat(products, -1)


FAMILIES: dict[str, Covariance] = {
    "low_rank": LowRank(),
    "shared_factor": SharedFactor(),
    "diagonal": Diagonal(),
    "full": Full(),
    "regression": Regression(),
}


def get_covariance(covariance: str | Covariance) -> Covariance:
    """Return the family of that name; a descriptor is returned as it is."""
    if isinstance(covariance, Covariance):
        return covariance
    if not isinstance(covariance, str):
        raise TypeError(f"covariance must be a name or a family, like LowRank(4), got {brief_value(covariance)}")
    return look_up("covariance", covariance, FAMILIES)
