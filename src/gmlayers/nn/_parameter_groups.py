"""Parameter groups: stds have a rate of their own and no weight decay."""

from __future__ import annotations

from typing import TypedDict

from torch import nn

from gmlayers.nn._gm_layer import GMLayer

_STDS = ("std", "factor_std", "scale_tril")


class ParameterGroup(TypedDict):
    """One entry of what torch's optimizers take."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_groups(
    model: nn.Module, lr: float = 0.1, std_lr: float = 1.0, *, weight_decay: float = 0.0
) -> list[ParameterGroup]:
    r"""Split the parameters of a model for an optimizer: stds of its GM layers, biases, all the rest.

    The defaults are the fixed rates of Chewi, Rigollet and Yan (2025) for plain SGD, 1 for σ and 0.1 for the
    rest. Weight decay applies to the rest only: decaying a std would shrink the noise that the layer averages
    over, and biases are not decayed by custom. The ``scale_tril`` of :class:`~gmlayers.Full` is a std, all of it: it
    has the stds on its diagonal, and decay of what is below would shrink the same noise.

    Args:
        model: any module; parameters of layers other than :class:`~gmlayers.GMLayer` count as the rest, those
            with fewer than two axes (biases, scales of norms) as biases. Frozen parameters are left out.
        lr: rate of everything but the stds.
        std_lr: rate of the stds.
        weight_decay: of the rest.

    Returns:
        The groups that are not empty, in the order rest, biases, stds.

    Raises:
        ValueError: for a negative rate or decay, or a model with nothing to train.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, parameter_groups
        >>> optimizer = torch.optim.SGD(parameter_groups(GMLayer.paper(784, 10, 20)))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 1.0]
    """
    for name, value in {"lr": lr, "std_lr": std_lr, "weight_decay": weight_decay}.items():
        if not value >= 0:
            raise ValueError(f"parameter_groups: {name} must not be negative, got {value}")
    is_std = {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, GMLayer)
        for name, parameter in layer.named_parameters()
        if name in _STDS or name.startswith(tuple(f"parametrizations.{std}." for std in _STDS))
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    stds = [p for p in trained if id(p) in is_std]
    biases = [p for p in trained if p.ndim < 2 and id(p) not in is_std]
    rest = [p for p in trained if p.ndim >= 2 and id(p) not in is_std]
    if not trained:
        raise ValueError("parameter_groups: the model has no parameter that requires a gradient")
    groups = [
        ParameterGroup(params=rest, lr=lr, weight_decay=weight_decay),
        ParameterGroup(params=biases, lr=lr, weight_decay=0.0),
        ParameterGroup(params=stds, lr=std_lr, weight_decay=0.0),
    ]
    return [group for group in groups if group["params"]]
