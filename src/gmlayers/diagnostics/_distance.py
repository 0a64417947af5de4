"""Wasserstein distances between mixtures, component by component."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gmlayers.diagnostics._mixture import NeuronMixture, check_neurons
from gmlayers.flows.transport import Transport, optimal_plan

_ENTRIES = 2**22
"""Components are treated in blocks whose matrices have at most this many entries, which take 32 MB."""


def component_displacements(before: NeuronMixture, after: NeuronMixture) -> Tensor:
    r"""Return how far each component moved, the Wasserstein distance of Gaussian k before and after.

    .. math:: W_2^2(N, N') = \|\mu - \mu'\|^2 + \mathrm{tr}\, S + \mathrm{tr}\, S'
        - 2\,\mathrm{tr}\,(S^{1/2} S' S^{1/2})^{1/2}

    (Dowson and Landau, 1982). It is computed as the distance of two roots :math:`S = RR^\top`, :math:`S' = R'R'^\top`
    after the best rotation, which does not cancel where the distance is small (Bhatia, Jain and Lim, *On the
    Bures–Wasserstein distance between positive definite matrices*, 2019, Theorem 1):

    .. math:: W_2^2 = \|\mu - \mu'\|^2 + \min_{O\ \mathrm{orthogonal}} \|R - R'O\|_F^2,
        \qquad O = UV^\top\ \text{for}\ R'^\top R = U \Sigma V^\top.

    - Without factors R and R' are diagonal, and the second term is :math:`\|\,|\sigma| - |\sigma'|\,\|^2`.
    - If both bases are isotropic, :math:`S = aI + FF^\top` and :math:`S' = a'I + F'F'^\top`, let the columns of Q be an
      orthonormal basis of a space of p ≤ 2r dimensions that contains those of F and F'. Both S and S' leave it and its
      complement invariant, and on the complement they are aI and a'I. So the second term is
      :math:`(d - p)(\sqrt a - \sqrt{a'})^2` plus the same distance for :math:`Q^\top S Q` and :math:`Q^\top S' Q`.
    - Otherwise R = (diag(σ), F), with a singular value decomposition of size d + r for each component: seconds at
      d = 1000.

    Args:
        before: a mixture.
        after: a mixture of as many components and dimensions; its rank may differ. Its weights do not enter.

    Returns:
        Distances, (K,).

    Raises:
        ValueError: if the numbers of components or of dimensions differ.

    Example:
        >>> import torch
        >>> from gmlayers.diagnostics import component_displacements, neurons
        >>> component_displacements(neurons(torch.zeros(2, 2)), neurons(torch.tensor([[3.0, 4.0], [0.0, 1.0]])))
        tensor([5., 1.])
    """
    _require_same_size("component_displacements", before, after)
    return _squared_distances(_parts(before), _parts(after)).sqrt().to(before.mean.dtype)


def displacement(before: NeuronMixture, after: NeuronMixture) -> Tensor:
    r"""Return how far a mixture moved if every component keeps its identity.

    .. math:: \Bigl( \sum_k w_k\, W_2^2(N_k, N_k') \Bigr)^{1/2}

    with the distances of :func:`component_displacements`. Each component is carried to its successor, which is one of
    the ways to carry the one mixture to the other: this is an upper bound of their W₂, and of :func:`transport`.

    Args:
        before: a mixture.
        after: a mixture of the same weights.

    Returns:
        A scalar.

    Raises:
        ValueError: if sizes or weights differ.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import displacement, marginal
        >>> layer = GMLayer(784, 10, 120)
        >>> start = marginal(layer)
        >>> with torch.no_grad():
        ...     layer.mean[:, 0] += 3
        >>> round(float(displacement(start, marginal(layer))), 4)
        3.0
    """
    _require_same_size("displacement", before, after)
    if not torch.allclose(before.weight, after.weight.to(before.weight), rtol=1e-4, atol=0):
        change = float((before.weight - after.weight).abs().max())
        raise ValueError(
            f"displacement: the weights of the mixtures must be equal, they differ by up to {change:g}: where mass "
            f"moves between components, no distance goes along them; use component_displacements for those of the "
            f"Gaussians"
        )
    squared = _squared_distances(_parts(before), _parts(after))
    return (before.weight.double() @ squared).sqrt().to(before.mean.dtype)


def transport(before: NeuronMixture, after: NeuronMixture) -> Transport:
    r"""Return the distance of two mixtures when whole Gaussians are carried to Gaussians, whatever their order.

    It is :func:`gmlayers.flows.transport.mixture_distance` (Delon and Desolneux 2020) with the distances of
    :func:`component_displacements`, which know of diagonals and factors: K · L of them.

    Args:
        before: a mixture.
        after: another; the numbers of components may differ.

    Raises:
        ValueError: if the dimensions differ.
        ImportError: if POT is missing.

    Example:
        >>> import torch
        >>> from gmlayers.diagnostics import neurons, transport
        >>> points = torch.randn(5, 3)
        >>> distance, plan = transport(neurons(points), neurons(points.flip(0)))
        >>> float(distance), plan.argmax(1).tolist()
        (0.0, [4, 3, 2, 1, 0])
    """
    check_neurons("transport: before", before)
    check_neurons("transport: after", after)
    if before.mean.shape[1] != after.mean.shape[1]:
        dims = f"{before.mean.shape[1]} and {after.mean.shape[1]}"
        raise ValueError(f"transport: the mixtures must have as many dimensions each, got {dims}")
    L, one, other = len(after.mean), _parts(before), _parts(after)
    rows = [_Parts(*(t[k].expand(L, *t[k].shape) for t in one)) for k in range(len(before.mean))]
    cost = torch.stack([_squared_distances(row, other) for row in rows])
    plan = optimal_plan(before.weight, after.weight, cost)
    return Transport((plan * cost).sum().sqrt().to(before.mean.dtype), plan.to(before.mean.dtype))


class _Parts(NamedTuple):
    mean: Tensor
    std: Tensor
    factor: Tensor


def _parts(mixture: NeuronMixture) -> _Parts:
    return _Parts(mixture.mean.double(), mixture.var.double().sqrt(), mixture.factor.double())


def _require_same_size(function: str, before: NeuronMixture, after: NeuronMixture) -> None:
    check_neurons(f"{function}: before", before)
    check_neurons(f"{function}: after", after)
    if before.mean.shape != after.mean.shape:
        raise ValueError(
            f"{function}: the mixtures must have as many components and dimensions each, got means of shape "
            f"{tuple(before.mean.shape)} and {tuple(after.mean.shape)}"
        )


def _squared_distances(one: _Parts, other: _Parts) -> Tensor:
    """Return W₂² of the matched components, (K,)."""
    squared = (one.mean - other.mean).square().sum(-1)
    (_, std, factor), (_, other_std, other_factor) = one, other
    d, r = std.shape[1], max(factor.shape[2], other_factor.shape[2])
    if r == 0:
        return squared + (std - other_std).square().sum(-1)
    if all(bool((s == s[:, :1]).all()) for s in (std, other_std)):
        Q, _ = torch.linalg.qr(torch.cat([factor, other_factor], -1))
        p = Q.shape[-1]
        squared = squared + (d - p) * (std[:, 0] - other_std[:, 0]).square()
        std, factor = std[:, :p], Q.mT @ factor
        other_std, other_factor = other_std[:, :p], Q.mT @ other_factor
    step = max(1, _ENTRIES // (std.shape[1] + r) ** 2)
    pairs = zip(*(t.split(step) for t in (std, factor, other_std, other_factor)))
    return squared + torch.cat([_rotated(_root(s, f, r), _root(s2, f2, r)) for s, f, s2, f2 in pairs])


def _root(std: Tensor, factor: Tensor, rank: int) -> Tensor:
    """Return (diag(std), factor), with columns of zeros up to that rank."""
    return torch.cat([torch.diag_embed(std), F.pad(factor, (0, rank - factor.shape[2]))], -1)


def _rotated(root: Tensor, other: Tensor) -> Tensor:
    """Return the squared distance of two roots after the best rotation of the second."""
    U, _, Vh = torch.linalg.svd(other.mT @ root)
    return (root - other @ (U @ Vh)).square().sum((-2, -1))
