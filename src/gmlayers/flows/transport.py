"""Optimal transport between mixtures: a small linear program over the distances of their components."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import check_tensors, check_values
from gmlayers._names import in_a_clone
from gmlayers._shown import brief
from gmlayers.flows._mixture import Mixture, check_mixture
from gmlayers.functional import bures

__all__ = ["Transport", "mixture_distance", "optimal_plan"]


class Transport(NamedTuple):
    """An optimal way to carry one mixture to another."""

    distance: Tensor
    """MW₂, a scalar."""
    plan: Tensor
    """Mass that goes from component k of the first to component l of the second, (K, L)."""

    __repr__ = brief


def optimal_plan(weight1: Tensor, weight2: Tensor, cost: Tensor) -> Tensor:
    r"""Return the plan π of least cost :math:`\sum_{kl} \pi_{kl} c_{kl}` with the given marginals, (K, L).

    By the network simplex of POT (Flamary et al., *POT: Python Optimal Transport*, JMLR 2021), in float64; the optimum
    is exact. With K = L and equal weights it is a permutation divided by K.

    Args:
        weight1: (K,), not negative.
        weight2: (L,), not negative, of the same sum up to 1e-4.
        cost: (K, L), finite.

    Raises:
        ValueError: for other shapes, weights that are negative or of unequal sums, costs that are not finite.
        ImportError: if POT is missing.
        RuntimeError: if the solver finds no optimum.

    Example:
        >>> import torch
        >>> from gmlayers.flows.transport import optimal_plan
        >>> optimal_plan(torch.tensor([0.5, 0.5]), torch.tensor([1.0]), torch.tensor([[1.0], [2.0]])).tolist()
        [[0.5], [0.5]]
    """
    return _solved(weight1, weight2, cost)[0]


def _solved(weight1: Tensor, weight2: Tensor, cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the plan and the potentials of its marginals: the derivatives of the least cost in the weights."""
    check_tensors("optimal_plan", mixed=True, weight1=weight1, weight2=weight2, cost=cost)
    check_values("optimal_plan: weight1, weight2 and cost", cost)
    if weight1.ndim != 1 or weight2.ndim != 1 or cost.shape != (len(weight1), len(weight2)) or not cost.numel():
        shapes = f"{tuple(weight1.shape)}, {tuple(weight2.shape)} and {tuple(cost.shape)}"
        raise ValueError(f"optimal_plan: weight1, weight2 and cost must be (K,), (L,) and (K, L), got {shapes}")
    if not bool(cost.isfinite().all()):
        raise ValueError("optimal_plan: the cost is not finite")
    one, two = weight1.detach().double(), weight2.detach().double()
    sums, least = (float(one.sum()), float(two.sum())), float(torch.cat([one, two]).min())
    if not (least >= 0 and max(sums) < math.inf and sums[0] > 0 and abs(sums[0] - sums[1]) <= 1e-4 * sums[0]):
        raise ValueError(
            f"optimal_plan: weight1 and weight2 must not be negative and have one sum, got minimum {least:g} and sums "
            f"{sums[0]:g} and {sums[1]:g}"
        )
    try:
        import ot
    except ImportError as error:
        raise ImportError(f"optimal transport needs POT; install it {in_a_clone('transport')}") from error
    plan, log = ot.emd(
        (one / one.sum()).cpu().numpy(),
        (two / two.sum()).cpu().numpy(),
        cost.detach().double().cpu().numpy(),
        numItermax=max(100_000, 10 * cost.numel()),
        log=True,
    )
    if log["warning"] is not None:
        raise RuntimeError(f"optimal_plan: {log['warning']}")
    found, u, v = (torch.as_tensor(t, dtype=cost.dtype, device=cost.device) for t in (plan, log["u"], log["v"]))
    return sums[0] * found, u, v


def mixture_distance(one: Mixture, other: Mixture) -> Transport:
    r"""Return the Wasserstein distance of mixtures when Gaussians are carried to Gaussians.

    .. math:: MW_2^2 = \min_{\pi \in \Pi(w, w')} \sum_{kl} \pi_{kl}\, W_2^2\bigl(N_k, N'_l\bigr)

    (Delon and Desolneux, *A Wasserstein-type distance in the space of Gaussian mixture models*, SIAM J. Imaging Sci.
    2020, Proposition 4). It is at least the :math:`W_2` of the mixtures, and equal to it for particles. The distances
    are those of :func:`gmlayers.functional.bures.distance_squared`, and the result is differentiable once in both
    mixtures: with the plan held fixed, as at an optimum it may be, and in the weights by the potentials of the dual
    program, up to a constant, which weights of fixed sum do not see. Where the distance is 0 its gradient is 0.

    Args:
        one: a mixture.
        other: another, of as many dimensions; the numbers of components may differ.

    Raises:
        ValueError: if the dimensions or the dtypes differ.
        ImportError: if POT is missing.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Roots
        >>> from gmlayers.flows.transport import mixture_distance
        >>> points = torch.tensor([[0.0], [4.0]])
        >>> mixture_distance(Roots.particles(points), Roots.particles(points.flip(0) + 1)).distance
        tensor(1.)
    """
    check_mixture("mixture_distance: one", one)
    check_mixture("mixture_distance: other", other)
    check_tensors("mixture_distance", one=one.mean, other=other.mean)
    if one.mean.shape[1] != other.mean.shape[1]:
        dims = f"{one.mean.shape[1]} and {other.mean.shape[1]}"
        raise ValueError(f"mixture_distance: the mixtures must have as many dimensions each, got {dims}")
    cost = bures.distance_squared(one.mean[:, None], one.cov[:, None], other.mean, other.cov)
    plan, u, v = _solved(one.weight, other.weight, cost)
    through_weights = (one.weight - one.weight.detach()) @ u + (other.weight - other.weight.detach()) @ v  # it is 0
    squared = (plan * cost).sum() + through_weights
    same = squared <= 0  # NaN is not
    return Transport(torch.where(same, 0.0, torch.where(same, 1.0, squared).sqrt()), plan)
