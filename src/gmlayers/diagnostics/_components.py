"""Measures of how the components of a layer differ, and of how many of them work."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers._shown import brief
from gmlayers.diagnostics._mixture import NeuronMixture, check_neurons
from gmlayers.nn import GMLayer
from gmlayers.nn._gm_layer import check_layer
from gmlayers.nn._precision import autocast_off, check_input


class Clustering(NamedTuple):
    """A measure of how near the nearest direction is, and its value at random; both are scalars."""

    nearest_cosine: Tensor
    """Mean over directions of the cosine to the nearest other one."""
    at_random: Tensor
    """Its expectation for as many independent directions that are uniform on the sphere."""

    __repr__ = brief


def clustering(mixture: NeuronMixture) -> Clustering:
    r"""Return how strongly the means of a mixture, or the neurons of a layer, cluster in direction.

    With the directions :math:`u_k = \mu_k/\|\mu_k\|`,

    .. math:: \frac1K \sum_k \max_{j \ne k} \langle u_k, u_j \rangle,

    1 if every neuron has a double. Beside it stands what to compare it with. Given :math:`u_k`, the cosines to K - 1
    independent uniform directions are independent, of density proportional to :math:`(1 - t^2)^{(d-3)/2}` (Cai, Fan
    and Jiang, *Distributions of angles in random packing on spheres*, 2013), so with its distribution function G

    .. math:: \mathbb E \max_{j \ne k} \langle u_k, u_j \rangle = 1 - \int_{-1}^1 G(t)^{K-1}\, dt.

    Weights and covariances do not enter. Means that are exactly 0 have no direction and are left out.

    Args:
        mixture: what :func:`marginal` or :func:`neurons` returns.

    Raises:
        ValueError: if fewer than two means differ from 0.

    Example:
        >>> import torch
        >>> from gmlayers.diagnostics import clustering, neurons
        >>> clustering(neurons(torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])))
        Clustering(nearest_cosine=0.6667, at_random=0.3333)
    """
    check_neurons("clustering: mixture", mixture)
    mean = mixture.mean.double()
    mean = mean[(mean != 0).any(1)]
    if len(mean) < 2:
        raise ValueError(f"clustering: at least two means must differ from 0, got {len(mean)} of {len(mixture.mean)}")
    direction = mean / mean.abs().amax(1, keepdim=True)  # so that no square is lost below
    direction = direction / direction.norm(dim=1, keepdim=True)
    cosine = (direction @ direction.T).clamp(-1, 1).fill_diagonal_(-math.inf)
    found = cosine.amax(1).mean()
    expected = found.new_tensor(_nearest_at_random(mean.shape[1], len(mean) - 1))
    return Clustering(found.to(mixture.mean.dtype), expected.to(mixture.mean.dtype))


@torch.no_grad()
def effective_components(layer: GMLayer, x: Tensor) -> Tensor:
    r"""Return how many components of a layer carry its output on data.

    With :math:`h = \sum_k h_k` the contributions of the components, weights included,

    .. math:: \Bigl( \sum_k p_k^2 \Bigr)^{-1}, \qquad
        p_k = \frac{\sum_i \|h_k(x_i)\|^2}{\sum_j \sum_i \|h_j(x_i)\|^2},

    the participation ratio, or Hill number of order 2 (Hill, 1973): K if all contribute alike, 1 if only one does.
    It is taken on data, because only there can it be seen that a component is silent, or that large output weights
    meet a small activation; it does not depend on how the layer is parametrised. Contributions that cancel count.

    Args:
        layer: a GM layer.
        x: inputs of the layer, (..., in_features), at least one; standardised like those it was trained on.

    Returns:
        A scalar from 1 to K; NaN if every contribution is 0.

    Raises:
        ValueError: for an empty batch, and as the layer.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import effective_components
        >>> layer = GMLayer(4, 2, 3)
        >>> with torch.no_grad():
        ...     _ = layer.output_mean[1:].zero_(), layer.output_factor[1:].zero_()
        >>> round(float(effective_components(layer, torch.randn(8, 4))), 4)
        1.0
    """
    check_layer("effective_components", layer)
    check_input("effective_components", x, layer.in_features, layer.mean)
    if x.numel() == 0:
        raise ValueError(f"effective_components: expected at least one input, got shape {tuple(x.shape)}")
    K = layer.num_components
    with autocast_off(x.device.type):
        energy = torch.stack([_contribution(layer, x.double(), k).square().sum() for k in range(K)])
    share = energy / energy.sum()
    return (1 / share.square().sum()).to(layer.mean.dtype)


def _contribution(layer: GMLayer, x: Tensor, k: int) -> Tensor:
    """Return what component k adds to the output, in float64: no tensor holds all of them at once."""
    family = layer.covariance
    one, two = (family.shapes(layer.in_features, layer.out_features, K) for K in (1, 2))
    p = {  # what all components share has one shape for any number of them
        name: (parameter if one[name] == two[name] else parameter[k : k + 1]).double()
        for name, parameter in layer.family_parameters().items()
    }
    m, var, reading = family.moments(p, x)
    m = m if layer.bias is None else m + layer.bias[k]
    level, gate = layer.activation.mean(m, var), layer.activation.gate(m, var)
    if family.gates_reading:
        y = family.readout_gated(p, level, gate[..., None] * reading)
    else:
        y = family.readout(p, level, gate, x, reading)
    return layer.component_weight()[k] * y


def _nearest_at_random(d: int, n: int) -> float:
    """Return the expected largest cosine of a fixed direction in d dimensions to n uniform ones.

    With t = sin φ the density of φ is proportional to cos(φ)^(d - 2), which is below e⁻⁷² of its maximum beyond 12/√d.
    """
    if d == 1:
        return 1 - 2.0 ** (1 - n)  # the cosines are signs
    edge = min(math.pi / 2, 12 / math.sqrt(d))
    angle = torch.linspace(-edge, edge, 8193, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(angle.cos().clamp(min=0) ** (d - 2), angle)
    below = torch.cat([mass.new_zeros(1), mass / mass[-1]])
    return math.sin(edge) - float(torch.trapezoid(below**n * angle.cos(), angle))
