"""Gaussian mixtures as points of a flow, in two systems of coordinates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import check_tensor, check_tensors, check_values, got
from gmlayers._shown import brief, shown
from gmlayers.functional import _roots, bures

if TYPE_CHECKING:
    from typing_extensions import Self


class Gradient(NamedTuple):
    """The partial derivatives of a functional in the coordinates of a mixture."""

    mean: Tensor
    """The derivatives in the means, (K, d)."""
    spread: Tensor
    """Those in the roots, (K, d, q), or in the covariances, (K, d, d)."""
    weight: Tensor
    """Those in the weights, (K,)."""

    __repr__ = brief


class Velocity(NamedTuple):
    """The velocity of a mixture."""

    mean: Tensor
    """Velocity of the means, (K, d)."""
    spread: Tensor
    """Velocity of the roots, (K, d, q); or the symmetric L of the velocity fields x ↦ L(x − μ), (K, d, d)."""
    log_weight: Tensor
    """Velocity of the logarithms of the weights, (K,)."""

    __repr__ = brief


class Mixture(ABC):
    """A mixture of K Gaussians in d dimensions, in the coordinates :class:`Roots` or :class:`Covariances`.

    Attributes:
        mean: (K, d).
        weight: (K,), positive and of sum 1.
        spread: what else there is in these coordinates: roots or covariances.
    """

    _spread = "spread"
    """What errors call the spread."""

    def __init__(self, mean: Tensor, spread: Tensor, weight: Tensor | None) -> None:
        tensors = {"mean": mean, self._spread: spread, "weight": weight}
        check_tensors(type(self).__name__, mixed=True, optional=("weight",), **tensors)
        check_values(f"{type(self).__name__}: mean", mean)
        self.mean, self.spread = mean, spread
        self.weight = mean.new_full(mean.shape[:1], 1 / max(1, mean.shape[:1].numel())) if weight is None else weight

    def __repr__(self) -> str:
        return shown(type(self).__name__, {"mean": self.mean, "spread": self.spread, "weight": self.weight})

    @property
    @abstractmethod
    def cov(self) -> Tensor:
        """Covariances, (K, d, d)."""

    @property
    @abstractmethod
    def root(self) -> Tensor:
        """C with CCᵀ = Σ, (K, d, q)."""

    @abstractmethod
    def velocity(self, gradient: Gradient) -> Velocity:
        """Return the velocity of the gradient flow of a functional, from its partial derivatives."""

    @abstractmethod
    def rate(self, velocity: Velocity) -> Velocity:
        """Return the time derivatives of the coordinates."""

    @abstractmethod
    def moved(self, velocity: Velocity, size: float) -> Self:
        """Return where the geodesics of that velocity are after some time."""

    def plus(self, rate: Velocity, size: float) -> Self:
        """Return the coordinates plus a multiple of their rate, for weights in the logarithm."""
        return self.like(
            self.mean + size * rate.mean,
            self.spread + size * rate.spread,
            (self.weight.log() + size * rate.log_weight).softmax(0),
        )

    def like(self, mean: Tensor, spread: Tensor, weight: Tensor) -> Self:
        """Return another mixture in the same coordinates."""
        return type(self)(mean, spread, weight)

    def _check(self, square: bool) -> None:
        name, kind, mean, shape = self._spread, type(self).__name__, tuple(self.mean.shape), tuple(self.spread.shape)
        if len(mean) != 2 or 0 in mean:
            raise ValueError(f"{kind}: mean must be (K, d) with K and d at least 1, got {mean}")
        if len(shape) != 3 or shape[:2] != mean or (square and shape[2] != mean[1]):
            expected = f"({mean[0]}, {mean[1]}, {mean[1] if square else 'any number'})"
            raise ValueError(f"{kind}: {name} must be {expected} for a mean of shape {mean}, got {shape}")
        if self.weight.shape != mean[:1]:
            raise ValueError(
                f"{kind}: weight must be {mean[:1]} for a mean of shape {mean}, got {tuple(self.weight.shape)}"
            )
        dtypes = {t.dtype for t in (self.mean, self.spread, self.weight)}
        if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
            named = {"mean": self.mean, name: self.spread, "weight": self.weight}
            found = ", ".join(f"{n} {t.dtype}" for n, t in named.items())
            raise ValueError(f"{kind}: expected float32 or float64, one for all, got {found}")
        for found, t in {"mean": self.mean, name: self.spread}.items():
            wrong = ~t.isfinite().flatten(1).all(1)
            if bool(wrong.any()):
                raise ValueError(f"{kind}: {found}[{int(wrong.nonzero()[0])}] is not finite")
        total, least = float(self.weight.detach().sum()), float(self.weight.detach().min())
        if not (abs(total - 1) <= 1e-4 and least > 0):
            raise ValueError(
                f"{kind}: weights must be positive and sum to 1, got minimum {least:g} and sum {total:g}; leave out "
                f"a component whose weight is 0"
            )


class Roots(Mixture):
    r"""A mixture in the coordinates (μ, C): :math:`\sum_k w_k N(\mu_k, C_k C_k^\top)`.

    The coordinates of Theorem 1 of Chewi, Rigollet and Yan (2025), in which the flow is Euclidean gradient descent. A
    root without columns is a particle.

    Args:
        mean: μ, (K, d).
        root: C, (K, d, q); q = d holds every covariance, q = 0 none.
        weight: w, (K,), positive and of sum 1; by default 1/K.

    Raises:
        ValueError: for other shapes or dtypes, weights out of range, numbers that are not finite.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Roots
        >>> Roots(torch.zeros(2, 3), torch.eye(3).expand(2, 3, 3)).cov.shape
        torch.Size([2, 3, 3])
    """

    _spread = "root"

    def __init__(self, mean: Tensor, root: Tensor, weight: Tensor | None = None) -> None:
        super().__init__(mean, root, weight)
        self._check(square=False)

    @classmethod
    def particles(cls, points: Tensor, weight: Tensor | None = None) -> Roots:
        """Return points as a mixture, (K, d).

        Example:
            >>> import torch
            >>> from gmlayers.flows import Roots
            >>> Roots.particles(torch.rand(5, 2)).root.shape
            torch.Size([5, 2, 0])
        """
        check_tensor("Roots.particles: points", points)
        return cls(points, points.new_empty(*points.shape, 0), weight)

    @property
    def cov(self) -> Tensor:
        return self.spread @ self.spread.mT

    @property
    def root(self) -> Tensor:
        return self.spread

    def velocity(self, gradient: Gradient) -> Velocity:
        w = self.weight
        return Velocity(-gradient.mean / w[:, None], -gradient.spread / w[:, None, None], _reaction(w, gradient.weight))

    def rate(self, velocity: Velocity) -> Velocity:
        return velocity

    def moved(self, velocity: Velocity, size: float) -> Self:
        return self.plus(velocity, size)


class Covariances(Mixture):
    r"""A mixture in the coordinates (μ, Σ): :math:`\sum_k w_k N(\mu_k, \Sigma_k)`.

    Args:
        mean: μ, (K, d).
        cov: Σ, (K, d, d), symmetric and positive semi-definite.
        weight: w, (K,), positive and of sum 1; by default 1/K.

    Raises:
        ValueError: as :class:`Roots`, and for matrices that are no covariances, by their index.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Covariances
        >>> Covariances(torch.zeros(2, 3), 4 * torch.eye(3).expand(2, 3, 3)).root[0, 0, 0]
        tensor(2.)
    """

    _spread = "cov"

    def __init__(self, mean: Tensor, cov: Tensor, weight: Tensor | None = None) -> None:
        super().__init__(mean, cov, weight)
        self._check(square=True)
        _roots.psd("Covariances: cov", cov.detach())

    @property
    def cov(self) -> Tensor:
        return self.spread

    @property
    def root(self) -> Tensor:
        return bures.sqrt(self.spread)

    def velocity(self, gradient: Gradient) -> Velocity:
        w = self.weight
        # the derivative in Σ is half of the mean Hessian, times the weight
        field = -(gradient.spread + gradient.spread.mT) / w[:, None, None]
        return Velocity(-gradient.mean / w[:, None], field, _reaction(w, gradient.weight))

    def rate(self, velocity: Velocity) -> Velocity:
        product = velocity.spread @ self.spread
        return velocity._replace(spread=product + product.mT)

    def moved(self, velocity: Velocity, size: float) -> Self:
        straight = self.plus(velocity._replace(spread=torch.zeros_like(self.spread)), size)
        return self.like(straight.mean, bures.exp(self.spread, size * velocity.spread), straight.weight)


def check_mixture(name: str, value: object) -> None:
    """Raise ``TypeError`` for what is no mixture."""
    if not isinstance(value, Mixture):
        raise TypeError(f"{name} must be a mixture, Roots or Covariances, got {got(value)}")


def _reaction(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the rate of the logarithms of the weights under which their sum stays 1."""
    return weight @ gradient - gradient
