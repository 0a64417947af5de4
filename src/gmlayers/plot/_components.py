"""A mixture of Gaussians on its two principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.colors import to_rgba
from torch import Tensor

from gmlayers.diagnostics import NeuronMixture, PrincipalComponents, marginal, principal_components, project
from gmlayers.flows import Covariances, Roots
from gmlayers.nn import GMLayer
from gmlayers.plot._style import COLOURS, ellipses, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@torch.no_grad()
def components(
    mixture: GMLayer | NeuronMixture | Roots | Covariances,
    *,
    on: PrincipalComponents | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the Gaussians of a layer or of a mixture on two principal components, one standard deviation around each.

    The fainter, the smaller the weight of a component.

    Args:
        mixture: a layer, whose law of input weights is drawn, or a mixture of two or more dimensions.
        on: the axes of another mixture, as of the same layer before training; by default its own.
        ax: the axes to draw in; by default those of a new figure.

    Returns:
        The axes. Mixtures in the plane are drawn in their own coordinates.

    Raises:
        ValueError: if the mixture has one dimension, or the axes are not two or of another dimension.
        TypeError: if it is no layer and no mixture.

    Example:
        >>> from gmlayers import GMLayer, plot
        >>> ax = plot.components(GMLayer(20, 3, 8))
        >>> ax.get_title()
        '8 components'
    """
    mean, cov, weight, labels = _seen(mixture, on)
    ax = new_axes()[0] if ax is None else ax
    strength = (weight / weight.amax()).sqrt()
    colours = [to_rgba(COLOURS[k % len(COLOURS)], 0.15 + 0.85 * float(s)) for k, s in enumerate(strength)]
    ellipses(ax, mean, cov, colours=colours)
    ax.scatter(*mean.T.numpy(), c=colours, marker="+", s=20, linewidths=1)
    reach = torch.diagonal(cov, dim1=1, dim2=2).clamp(min=0).sqrt()
    ax.update_datalim(torch.cat([mean - reach, mean + reach]).numpy())  # a collection of ellipses does not
    ax.autoscale_view()
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xlabel=labels[0], ylabel=labels[1])
    K = len(mean)
    ax.set_title(f"{K} component{'s' * (K > 1)}")
    return ax


def _seen(
    mixture: GMLayer | NeuronMixture | Roots | Covariances, on: PrincipalComponents | None
) -> tuple[Tensor, Tensor, Tensor, tuple[str, str]]:
    """Return means, covariances and weights in the plane, in float64, and what its axes are called."""
    if isinstance(mixture, (Roots, Covariances)):
        K, d = mixture.mean.shape
        if d == 2 and on is None:
            names = ("x", "y")
            return mixture.mean.double().cpu(), mixture.cov.double().cpu(), mixture.weight.double().cpu(), names
        mean = mixture.mean.double().cpu()
        weight = mixture.weight.double().cpu()
        held = NeuronMixture(weight, mean, torch.zeros(K, d, dtype=torch.float64), mixture.root.double().cpu())
    elif isinstance(mixture, GMLayer):
        held = marginal(mixture)
    elif isinstance(mixture, NeuronMixture):
        held = mixture
    else:
        raise TypeError(
            f"plot.components: expected a GMLayer or a mixture of gmlayers.diagnostics or gmlayers.flows, got "
            f"{type(mixture).__name__}"
        )
    if held.mean.shape[1] < 2:
        raise ValueError("plot.components: the mixture has one dimension, and a plane has two")
    own = principal_components(held, 2) if on is None else on
    if own.axes.shape[1] != 2:
        raise ValueError(f"plot.components: on must be two principal components, got {own.axes.shape[1]}")
    weight, mean, cov = (t.double().cpu() for t in project(held, own))
    shares = [f", {100 * float(share):.0f} % of the variance" for share in own.share] if on is None else ["", ""]
    return mean, cov, weight, (f"first principal component{shares[0]}", f"second principal component{shares[1]}")
