r"""Covariance families: structured roots of the joint Gaussian law of a neuron (ω, β).

A neuron is :math:`(\omega, \beta) = (\bar\omega, \bar\beta) + (B, A)\,\zeta`. A family says which parameters
make up the root (B, A), and how to read an input through it without building it. Families are stateless
values: the parameters live on the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._shown import brief
from gmlayers.nn._reading import DENSE, Reading

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


class Law(NamedTuple):
    r"""The law of the neurons in parts: what is not dense in it stays apart.

    .. math:: A = (\mathrm{diag}(\text{diagonal}) \mid F^\top), \qquad B = (\text{coupling} \mid C^\top)

    Sampling, folding, conversion and diagnostics are made from it, so that they take every family.
    """

    mean: Tensor
    """Means of β, (K, in)."""
    diagonal: Tensor | None
    """Stds of the diagonal part, (K, in), or (K, 1) where they are equal; None if there is none."""
    factor: Tensor
    """F, (K, r, in), or (1, r, in) if the components share it up to :attr:`factor_std`."""
    output_mean: Tensor
    """Means of ω, (K, out)."""
    coupling: Tensor | None
    """Columns of B for the diagonal part, (K, out, in); None stands for zeros."""
    output_factor: Tensor
    """C, (K, r, out)."""
    factor_std: Tensor | None = None
    """What multiplies each factor, (K, r); None stands for ones."""

    __repr__ = brief

    def factors(self) -> Tensor:
        """Return the factors of every component, (K, r, in), each with its std."""
        return self.factor if self.factor_std is None else self.factor * self.factor_std.unsqueeze(-1)

    def dense(self) -> Root:
        """Return the law as dense matrices."""
        root, output_root = self.factors().mT, self.output_factor.mT
        if self.diagonal is not None:
            base = torch.diag_embed(self.diagonal.expand_as(self.mean))
            shape = *self.output_mean.shape, self.mean.shape[1]
            output_base = base.new_zeros(shape) if self.coupling is None else self.coupling
            root, output_root = torch.cat([base, root], -1), torch.cat([output_base, output_root], -1)
        return Root(self.mean, root, self.output_mean, output_root)


class OneFactor(NamedTuple):
    """The parameters of neurons that vary along one factor each, on an isotropic base."""

    mean: Tensor
    """Means of β, (K, in)."""
    factor: Tensor
    """Factors, (K, in)."""
    output_mean: Tensor
    """Means of ω, (K, out)."""
    output_factor: Tensor
    """What ω has of the factors, (K, out)."""
    std: Tensor
    """Stds of the base, (K,)."""


class Covariance(ABC):
    """A covariance family; every method takes the layer's parameters by name.

    A family of your own defines :meth:`shapes`, :attr:`default_init_scale`, :meth:`init`, :meth:`moments`,
    :meth:`readout` or :meth:`readout_gated`, and one of :meth:`law` and :meth:`root`. In a convolution it must heed
    the argument ``read``, which says how an input is read; in a :class:`~gmlayers.GMLayer` it may do without.
    """

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
    def moments(self, p: Params, x: Tensor, read: Reading = DENSE) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of z, (..., K) each, and what the readout needs of Aᵀx."""

    def squared(self, p: Params, reading: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return what :meth:`moments` squares, beside the input, before it is multiplied with other squares."""
        return ()

    @property
    def gates_reading(self) -> bool:
        """Return whether the gate only ever meets the reading: then their product is what is read out."""
        return False

    def readout(
        self, p: Params, level: Tensor, gate: Tensor, x: Tensor, reading: Tensor, read: Reading = DENSE
    ) -> Tensor:
        """Return Σ_k level_k · E ω_k + gate_k · B_k A_kᵀ x, (..., out); the gate is (..., K)."""
        raise NotImplementedError(f"{type(self).__name__} has neither readout nor gates_reading with readout_gated")

    def readout_gated(self, p: Params, level: Tensor, gated: Tensor) -> Tensor:
        """Return the same of a family that :attr:`gates_reading`, from the gate times the reading, (..., K, r).

        A family that was written for version 0.2 has this in ``readout``, with the product in the place of the gate.
        """
        return self.readout(p, level, gated, level.new_empty(0), level.new_empty(0))

    def one_factor(self, p: Params) -> OneFactor | None:  # noqa: ARG002
        """Return the parameters of neurons that vary along one factor and equally in all directions, if these are so.

        Such layers are one operation, which keeps little for the backward.
        """
        return None

    def law(self, p: Params) -> Law:
        """Return the law of the neurons in parts."""
        if type(self).root is Covariance.root:
            raise NotImplementedError(f"{type(self).__name__} defines neither law nor root")
        mean, root, output_mean, output_root = self.root(p)
        return Law(mean, None, root.mT, output_mean, None, output_root.mT)

    def root(self, p: Params) -> Root:
        """Return the law as dense matrices."""
        return self.law(p).dense()
