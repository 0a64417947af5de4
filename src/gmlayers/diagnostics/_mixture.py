"""The law of a layer's neurons as a mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers._arguments import check_tensor, check_tensors, check_values, got
from gmlayers._shown import brief
from gmlayers.nn import GMLayer
from gmlayers.nn._gm_layer import check_layer
from gmlayers.nn._precision import upcast


@dataclass(frozen=True, eq=False)
class NeuronMixture:
    r"""A mixture of K Gaussians in d dimensions whose covariances are diagonal plus low rank.

    .. math:: \sum_k w_k\, N\bigl(\mu_k,\ \mathrm{diag}(\mathrm{var}_k) + F_k F_k^\top\bigr)

    Args:
        weight: w, (K,), not negative, of sum 1 up to 1e-4.
        mean: μ, (K, d).
        var: variances, not standard deviations, (K, d), not negative.
        factor: F, (K, d, r); r may be 0.

    Raises:
        ValueError: for other shapes, several dtypes, a negative or infinite variance, weights that do not sum to 1.

    Example:
        >>> import torch
        >>> from gmlayers.diagnostics import NeuronMixture
        >>> mixture = NeuronMixture(torch.tensor([0.5, 0.5]), torch.randn(2, 3), torch.ones(2, 3), torch.randn(2, 3, 1))
        >>> mixture.mean.shape
        torch.Size([2, 3])
    """

    weight: Tensor
    mean: Tensor
    var: Tensor
    factor: Tensor

    __repr__ = brief

    def __post_init__(self) -> None:
        tensors = {name: getattr(self, name) for name in ("weight", "mean", "var", "factor")}
        check_tensors("NeuronMixture", **tensors)
        check_values("NeuronMixture: mean", self.mean)
        if self.mean.ndim != 2 or 0 in self.mean.shape:
            raise ValueError(
                f"NeuronMixture: mean must be (K, d) with K and d at least 1, got {tuple(self.mean.shape)}"
            )
        K, d = self.mean.shape
        for name, expected in (("weight", (K,)), ("var", (K, d))):
            if getattr(self, name).shape != expected:
                found = tuple(getattr(self, name).shape)
                raise ValueError(f"NeuronMixture: {name} must be {expected} for a mean of shape {(K, d)}, got {found}")
        if self.factor.ndim != 3 or self.factor.shape[:2] != (K, d):
            found = tuple(self.factor.shape)
            raise ValueError(f"NeuronMixture: factor must be ({K}, {d}, r) for a mean of shape {(K, d)}, got {found}")
        if not ((self.var >= 0) & self.var.isfinite()).all():
            raise ValueError(
                f"NeuronMixture: var must be finite and not negative, got {self.var.min()} to {self.var.max()}"
            )
        total = float(self.weight.sum())
        if not (abs(total - 1) <= 1e-4 and bool((self.weight >= 0).all())):
            low = float(self.weight.min())
            raise ValueError(
                f"NeuronMixture: weights must be at least 0 and sum to 1, got minimum {low:g} and sum {total:g}"
            )


def check_neurons(name: str, value: object) -> None:
    """Raise ``TypeError`` for what is no mixture of neurons."""
    if not isinstance(value, NeuronMixture):
        raise TypeError(f"{name} must be a NeuronMixture, as marginal and neurons return it, got {got(value)}")


@torch.no_grad()
def marginal(layer: GMLayer) -> NeuronMixture:
    r"""Return the law of β, the input weights of a layer's neurons.

    It is the :class:`~gmlayers.nn.Law` of the family: var is the square of its diagonal, and F are its factors. For
    :class:`~gmlayers.Full` and families of your own that say no more than their root, var = 0 and F is the dense root A
    of ``layer.root()``. The output weights ω and the biases are no part of it; the weights are 1/K, or the learned
    ones.

    Returns:
        A copy, without gradients; in float32 if the layer is in half precision.

    Example:
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import marginal
        >>> marginal(GMLayer(784, 10, 120)).factor.shape
        torch.Size([120, 784, 1])
    """
    check_layer("marginal", layer)
    p = {name: upcast(parameter) for name, parameter in layer.family_parameters().items()}
    K = layer.num_components
    law = layer.covariance.law(p)
    mean, factor = law.mean, law.factors().mT
    var = torch.zeros_like(mean) if law.diagonal is None else law.diagonal.square().expand_as(mean)
    logits = layer.weight_logits
    weight = mean.new_full((K,), 1 / K) if logits is None else upcast(logits).softmax(0)
    return NeuronMixture(weight, mean.clone(), var, factor.clone())


@torch.no_grad()
def neurons(weight: Tensor) -> NeuronMixture:
    """Return the neurons of a fully connected layer as a mixture of m points, each of weight 1/m.

    Args:
        weight: the weight of an ``nn.Linear``, (m, d).

    Returns:
        A copy, without gradients, of variance 0 and rank 0; in float32 if the weight is in half precision.

    Raises:
        ValueError: if ``weight`` is not a matrix.

    Example:
        >>> from torch import nn
        >>> from gmlayers.diagnostics import neurons
        >>> neurons(nn.Linear(784, 240).weight).mean.shape
        torch.Size([240, 784])
    """
    check_tensor("neurons: weight", weight)
    check_values("neurons: weight", weight)
    if weight.ndim != 2 or 0 in weight.shape:
        raise ValueError(f"neurons: expected a weight of shape (m, d), as of nn.Linear, got {tuple(weight.shape)}")
    mean = upcast(weight.detach()).clone()
    m = len(mean)
    return NeuronMixture(mean.new_full((m,), 1 / m), mean, torch.zeros_like(mean), mean.new_empty(*mean.shape, 0))


@torch.no_grad()
def log_determinants(mixture: NeuronMixture) -> Tensor:
    r"""Return the logarithms of the determinants of the covariances, (K,): how much room each component takes.

    .. math:: \log\det(D + FF^\top) = \log\det D + \log\det(I + F^\top D^{-1} F),

    the matrix determinant lemma, with r × r matrices only; where a variance of the diagonal D is 0 it is instead twice
    the sum of the logarithms of the singular values of the root :math:`(D^{1/2}, F)`. The differential entropy of a
    component is half of it plus :math:`\tfrac d2 \log 2\pi e`.

    Args:
        mixture: the mixture.

    Returns:
        Numbers of any sign; -inf for singular covariances.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import log_determinants, marginal
        >>> log_determinants(marginal(GMLayer(784, 10, 120))).shape
        torch.Size([120])
    """
    check_neurons("log_determinants: mixture", mixture)
    var, factor = mixture.var.double(), mixture.factor.double()
    if bool((var > 0).all()):
        inner = factor.mT @ (factor / var[..., None])
        found = var.log().sum(1) + torch.linalg.slogdet(torch.eye(inner.shape[1]).to(inner) + inner)[1]
    else:
        root = torch.cat([torch.diag_embed(var.sqrt()), factor], -1)
        s = torch.linalg.svdvals(root)
        rounding = root.shape[-1] * torch.finfo(s.dtype).eps * s[:, :1]
        found = 2 * torch.where(s > rounding, s, 0.0).log().sum(1)
    return found.to(mixture.mean.dtype)
