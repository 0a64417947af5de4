"""Principal components of a mixture: where to look at it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import check_tensors, got
from gmlayers._names import whole
from gmlayers._shown import brief
from gmlayers.diagnostics._mixture import NeuronMixture, check_neurons


class PrincipalComponents(NamedTuple):
    """The axes along which a mixture varies most."""

    mean: Tensor
    """Mean of the mixture, (d,)."""
    axes: Tensor
    """Orthonormal columns, (d, k), by falling variance; the largest entry of each in modulus is positive."""
    share: Tensor
    """Share of the total variance along each axis, (k,); 0 if it varies by no more than rounding."""

    __repr__ = brief


class Projection(NamedTuple):
    """A mixture seen along k axes."""

    weight: Tensor
    """Weights of the components, (K,)."""
    mean: Tensor
    """Means, (K, k)."""
    cov: Tensor
    """Covariances, (K, k, k)."""

    __repr__ = brief


def principal_components(mixture: NeuronMixture, k: int = 2) -> PrincipalComponents:
    r"""Return the first principal components of a mixture.

    Those of its covariance, that within the components and that between them:

    .. math:: \sum_k w_k \bigl[ S_k + (\mu_k - \bar\mu)(\mu_k - \bar\mu)^\top \bigr],
        \qquad \bar\mu = \sum_k w_k \mu_k,\quad S_k = \mathrm{diag}(\mathrm{var}_k) + F_k F_k^\top.

    Chewi, Rigollet and Yan (2025) show the evolution of a layer along the two of its final state (figure 4).
    This one matrix is formed densely, (d, d): use it up to a few thousand dimensions.

    Args:
        mixture: the mixture.
        k: number of axes, from 1 to d.

    Raises:
        ValueError: for k out of range.
        TypeError: if k is not a whole number.

    Example:
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import marginal, principal_components
        >>> principal_components(marginal(GMLayer(784, 10, 5)), 2).axes.shape
        torch.Size([784, 2])
    """
    check_neurons("principal_components: mixture", mixture)
    d = mixture.mean.shape[1]
    k = whole("principal_components: k", k)
    if not 1 <= k <= d:
        raise ValueError(f"principal_components: k must be between 1 and the {d} dimensions, got {k}")
    weight = mixture.weight.double() / mixture.weight.double().sum()
    mean = weight @ mixture.mean.double()
    deviation = (mixture.mean.double() - mean)[..., None]
    root = weight.sqrt()[:, None, None] * torch.cat([deviation, mixture.factor.double()], -1)
    root = root.transpose(0, 1).flatten(1)
    cov = root @ root.T + torch.diag(weight @ mixture.var.double())
    values, vectors = torch.linalg.eigh(cov)  # rising
    axes = vectors[:, -k:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    total, rounding = cov.trace(), torch.finfo(mixture.mean.dtype).eps * mean.norm()
    share = values[-k:].flip(0).clamp(min=0) / total
    share = torch.where(total.sqrt() > rounding, share, 0.0)
    return PrincipalComponents(*(t.to(mixture.mean.dtype) for t in (mean, axes, share)))


def project(mixture: NeuronMixture, components: PrincipalComponents) -> Projection:
    r"""Return a mixture seen along principal components, its own or those of another one.

    .. math:: V^\top(\mu_k - \bar\mu), \qquad V^\top S_k V = V^\top \mathrm{diag}(\mathrm{var}_k) V
        + (V^\top F_k)(V^\top F_k)^\top

    Args:
        mixture: the mixture.
        components: the axes V and the mean that is subtracted.

    Raises:
        ValueError: if the dimensions differ.

    Example:
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import marginal, principal_components, project
        >>> mixture = marginal(GMLayer(784, 10, 5))
        >>> weight, mean, cov = project(mixture, principal_components(mixture))
        >>> mean.shape, cov.shape
        (torch.Size([5, 2]), torch.Size([5, 2, 2]))
    """
    check_neurons("project: mixture", mixture)
    if not isinstance(components, PrincipalComponents):
        raise TypeError(f"project: components must be what principal_components returns, got {got(components)}")
    check_tensors("project: components", mixed=True, axes=components.axes, mean=components.mean)
    if components.axes.shape[0] != mixture.mean.shape[1]:
        raise ValueError(
            f"project: the mixture has {mixture.mean.shape[1]} dimensions, the principal components have "
            f"{components.axes.shape[0]}"
        )
    V = components.axes.double()
    mean = (mixture.mean.double() - components.mean.double()) @ V
    seen = V.T @ mixture.factor.double()
    cov = torch.einsum("di,kd,dj->kij", V, mixture.var.double(), V) + seen @ seen.mT
    return Projection(mixture.weight, mean.to(mixture.mean.dtype), cov.to(mixture.mean.dtype))
