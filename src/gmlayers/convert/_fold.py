"""Folding prepares a trained layer for inference: everything is multiplied out."""

from __future__ import annotations

import copy
from typing import TypeVar, overload

import torch
from torch import Tensor, nn

from gmlayers._arguments import check_module
from gmlayers.nn import FoldedGMLayer, GMLayer

M = TypeVar("M", bound=nn.Module)


@overload
def fold(model: GMLayer) -> FoldedGMLayer: ...
@overload
def fold(model: M) -> M: ...
@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Return a model for inference: the same function with the parameters of its GM layers multiplied out.

    Stds are squared, factors joined to the means, component weights multiplied in, once and not at every call. The
    result is independent of the model, in evaluation mode, has no parameters to train where the GM layers were, and can
    be exported with ``torch.export``.

    Args:
        model: a GM layer, or a module that contains some; others are copied as they are.

    Raises:
        ValueError: if a layer is of a subclass of GMLayer or has forward hooks.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, convert
        >>> layer = GMLayer(4, 2, 3)
        >>> folded = convert.fold(layer)
        >>> x = torch.rand(5, 4)
        >>> torch.allclose(folded(x), layer(x), atol=1e-6)
        True
    """
    check_module("fold: model", model)
    if isinstance(model, GMLayer):
        return _folded(model).eval()
    twin = copy.deepcopy(model)
    folded: dict[nn.Module, FoldedGMLayer] = {}  # a layer that is used twice stays one
    for module in list(twin.modules()):
        for name, child in list(module._modules.items()):
            if isinstance(child, GMLayer):
                if child not in folded:
                    folded[child] = _folded(child)
                setattr(module, name, folded[child])
    return twin.eval()


def _folded(layer: GMLayer) -> FoldedGMLayer:
    if type(layer) is not GMLayer and not nn.utils.parametrize.is_parametrized(layer):
        raise ValueError(f"fold: {type(layer).__name__} may do more than GMLayer; fold its parts yourself")
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ValueError("fold: the layer has forward hooks, which would be lost; remove them first")
    law, weight, K = layer.covariance.law(layer.family_parameters()), layer.component_weight(), layer.num_components
    std = law.mean.new_zeros(K, 1) if law.diagonal is None else law.diagonal.clone()
    first, second = [law.mean], [weight[:, None] * law.output_mean]
    coupling = factor_std = None
    if law.coupling is not None:
        coupling = weight[:, None, None] * law.coupling * std[:, None, :]
    if law.factor_std is not None and law.coupling is None and len(law.factor) == 1:
        factor_std = law.factor_std.clone()
        first.append(law.factor[0])
        coupling = weight[:, None, None] * law.output_factor.mT * factor_std[:, None, :]
    elif law.factor.shape[1]:
        first.append(_by_factor(law.factors()))
        second.append(_by_factor(weight[:, None, None] * law.output_factor))
    joined = torch.cat(first)
    offset = joined.new_zeros(len(joined))
    if layer.bias is not None:
        offset[:K] = layer.bias
    return FoldedGMLayer(joined, offset, std, torch.cat(second), coupling, layer.activation, factor_std)


def _by_factor(factor: Tensor) -> Tensor:
    """(K, rank, features) -> (rank · K, features)."""
    return factor.transpose(0, 1).flatten(0, 1)
