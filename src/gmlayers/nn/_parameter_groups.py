"""Parameter groups: stds may have a rate of their own, and they have no weight decay."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from gmlayers._arguments import check_module, not_negative_number
from gmlayers.nn._attention import GMNMAttention
from gmlayers.nn._feed_forward import GMFeedForward
from gmlayers.nn._mixture import MixtureModule

_STDS = {std + suffix for std in ("std", "factor_std", "scale_tril") for suffix in ("", "_orig", "_g", "_v")}
"""These are the names of stds. Pruning and the older norms of weights give the suffixes to what they compute from."""


ParameterGroup = dict[str, Any]
"""One entry of what torch's optimizers take: parameters by the key ``"params"``, and options by their names."""


class Rates(NamedTuple):
    """Two learning rates, in the order in which :func:`parameter_groups` takes them."""

    lr: float
    """The rate of every parameter but the stds."""
    std_lr: float
    """The rate of the stds."""


PAPER_RATES = Rates(lr=0.1, std_lr=1.0)
"""Chewi, Rigollet and Yan (2025) train their layer at these fixed rates, by plain SGD."""


def parameter_groups(
    model: nn.Module, lr: float | None = None, std_lr: float | None = None, *, weight_decay: float = 0.0
) -> list[ParameterGroup]:
    r"""Split the parameters of a model for an optimizer: stds of its GM layers, biases, all the rest.

    A rate that is not given is the optimizer's: ``Adam(parameter_groups(model), lr=1e-3)`` trains everything at 1e-3.
    The paper's rates are :data:`PAPER_RATES`, as in the example.

    Weight decay applies to the rest only: decaying a std would shrink the noise that the layer averages over, and
    biases are not decayed by custom. The ``scale_tril`` of :class:`~gmlayers.Full` is a std, all of it: it has the stds
    on its diagonal, and decay of what is below would shrink the same noise.

    Args:
        model: any module; parameters of layers other than :class:`~gmlayers.GMLayer` and
            :class:`~gmlayers.GMFeedForward` count as the rest, those
            with fewer than two axes (biases, scales of norms) as biases. Frozen parameters are left out.
        lr: the rate of everything but the stds; by default the optimizer's.
        std_lr: the rate of the stds; by default the optimizer's, even if ``lr`` is given.
        weight_decay: the weight decay of the rest; biases and stds have none, whatever the optimizer's is.

    Returns:
        The groups that are not empty, in the order rest, biases, stds. A group without a rate of its own has no entry
        ``"lr"``.

    Raises:
        ValueError: for a negative rate or decay, or a model with nothing to train.

    Example:
        >>> import torch
        >>> from gmlayers import PAPER_RATES, GMLayer, parameter_groups
        >>> optimizer = torch.optim.SGD(parameter_groups(GMLayer.paper(784, 10, 20), *PAPER_RATES))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 1.0]
        >>> optimizer = torch.optim.Adam(parameter_groups(GMLayer(784, 10, 120)), lr=5e-3)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.005, 0.005, 0.005]
    """
    check_module("parameter_groups: model", model)
    for name, value in {"lr": lr, "std_lr": std_lr, "weight_decay": weight_decay}.items():
        if value is not None or name == "weight_decay":
            not_negative_number(f"parameter_groups: {name}", value)
    is_std = {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, (MixtureModule, GMFeedForward, GMNMAttention))
        for name, parameter in layer.named_parameters()
        if name.removeprefix("parametrizations.").split(".")[0] in _STDS
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    shifts = {id(layer.shift) for layer in model.modules() if isinstance(layer, GMNMAttention)}
    stds = [p for p in trained if id(p) in is_std]
    biases = [p for p in trained if (p.ndim < 2 or id(p) in shifts) and id(p) not in is_std]
    rest = [p for p in trained if p.ndim >= 2 and id(p) not in is_std | shifts]
    if not trained:
        raise ValueError("parameter_groups: the model has no parameter that requires a gradient")
    groups = [_group(rest, lr, weight_decay), _group(biases, lr, 0.0), _group(stds, std_lr, 0.0)]
    return [group for group in groups if group["params"]]


def _group(params: list[nn.Parameter], lr: float | None, weight_decay: float) -> ParameterGroup:
    group: ParameterGroup = {"params": params, "weight_decay": weight_decay}
    return group if lr is None else group | {"lr": lr}
