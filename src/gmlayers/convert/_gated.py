"""Gated linear units are a limit of Gaussian neurons, and convert without an error."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gmlayers._arguments import check_module, not_negative_number
from gmlayers._names import brief_value
from gmlayers.convert._fit import Shift
from gmlayers.functional import Activation, get_activation
from gmlayers.nn import GMFeedForward, GMLayer, LowRank
from gmlayers.nn._feed_forward import SLOPES

INTEGRALS = {slope: (integral, 1.0) for integral, slope in SLOPES.items()} | {
    "relu": ("relu_squared", 0.5),
    "identity": ("square", 0.5),
    "step": ("relu", 1.0),
}
"""The gate of a unit is c f' for the activation f and the factor c that stand beside it."""


@torch.no_grad()
def glu_to_gm(
    gate_proj: nn.Linear,
    up_proj: nn.Linear,
    down_proj: nn.Linear,
    activation: str | Activation = "silu",
    *,
    drop: float = 0.0,
    start: float | None = None,
) -> GMFeedForward:
    r"""Return the block of Gaussian neurons that a gated block is, exactly.

    .. math:: D\,\bigl(\phi(Gx + b) \odot Ux\bigr) + c = \sum_k \mathbb E f'(z_k)\, a_k\, D_{\cdot k} + c

    with :math:`f = \int\phi`, :math:`z_k \sim N(\langle G_k, x\rangle + b_k, 0)` and
    :math:`a_k = \langle U_k, x\rangle`: means are the rows of G, factors those of U, output factors the columns of D,
    and the neurons do not vary, which is a limit of mixtures. It covers GEGLU, SwiGLU, ReGLU, GLU and bilinear units
    (Shazeer, 2020).

    Args:
        gate_proj: G and b.
        up_proj: U, without a bias: the covariance of a Gaussian neuron with its input has none.
        down_proj: D and c.
        activation: φ; one of gelu, gelu_tanh, silu, relu, identity, sigmoid, step.
        drop: rate of the dropout before ``down_proj``.
        start: let the neurons vary, all stds being this number at first, for further training. The function is then
            another one, by terms of the order start² for a smooth φ, and by more near the kinks of relu and step.
            None: they do not vary, and the block costs what it did.

    Returns:
        A block with copies of the weights, without levels.

    Raises:
        ValueError: sizes that do not fit, a bias of ``up_proj`` that is not 0, an activation without an integral here.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> gate, up, down = nn.Linear(8, 20, bias=False), nn.Linear(8, 20, bias=False), nn.Linear(20, 8, bias=False)
        >>> block, x = convert.glu_to_gm(gate, up, down, "silu"), torch.randn(5, 8)
        >>> torch.allclose(block(x), down(torch.nn.functional.silu(gate(x)) * up(x)), atol=1e-5)
        True
    """
    for name, part in {"gate_proj": gate_proj, "up_proj": up_proj, "down_proj": down_proj}.items():
        check_module(f"glu_to_gm: {name}", part, nn.Linear)
        if type(part).forward is not nn.Linear.forward:
            raise ValueError(
                f"glu_to_gm: {name} is a {type(part).__name__}, which does more than nn.Linear; merge what it adds "
                f"into its weight first"
            )
    if gate_proj.weight.shape != up_proj.weight.shape or gate_proj.out_features != down_proj.in_features:
        raise ValueError(
            f"glu_to_gm: weights {tuple(gate_proj.weight.shape)} (gate_proj), {tuple(up_proj.weight.shape)} (up_proj) "
            f"and {tuple(down_proj.weight.shape)} (down_proj) do not fit; the first two must be alike, the third must "
            f"take what they give"
        )
    dtypes = {part.weight.dtype for part in (gate_proj, up_proj, down_proj)}
    if len(dtypes) > 1:
        raise ValueError(
            f"glu_to_gm: the weights are of {', '.join(sorted(map(str, dtypes)))}, and a block has one dtype; convert "
            f"the model first, for instance to bfloat16"
        )
    if up_proj.bias is not None and bool((up_proj.bias != 0).any()):
        raise ValueError(
            "glu_to_gm: up_proj has a bias, and the reading of a Gaussian neuron has none; this block cannot be "
            "converted"
        )
    phi = get_activation(activation)
    if not phi.in_table or phi.name not in INTEGRALS:
        raise ValueError(f"glu_to_gm: activation must be one of {', '.join(INTEGRALS)}, got {brief_value(phi.name)}")
    std = 0.0 if start is None else not_negative_number("glu_to_gm: start", start)
    if std > torch.finfo(gate_proj.weight.dtype).max:
        raise ValueError(f"glu_to_gm: start must be a number of {gate_proj.weight.dtype}, got {std:g}")
    integral, factor = INTEGRALS[phi.name]
    weight = gate_proj.weight
    block = GMFeedForward(
        gate_proj.in_features,
        out_features=down_proj.out_features,
        activation=integral,
        level=False,
        spread=start is not None,
        bias=gate_proj.bias is not None or down_proj.bias is not None,
        drop=drop,
        num_components=gate_proj.out_features,
        device="meta",
        dtype=weight.dtype,
    ).to_empty(device=weight.device)
    values = {
        "mean": weight,
        "factor": up_proj.weight.unsqueeze(1),
        "output_factor": factor * down_proj.weight.T.unsqueeze(1),
        "bias": _or_zeros(gate_proj),
        "output_bias": _or_zeros(down_proj),
    }
    for name, parameter in block.named_parameters():
        if name in ("std", "factor_std"):
            parameter.fill_(std)
        else:
            parameter.copy_(values[name])
    return block.train(gate_proj.training)


@torch.no_grad()
def to_layer(block: GMFeedForward) -> nn.Module:
    r"""Return the :class:`~gmlayers.GMLayer` that a block is, in joint coordinates.

    Its stds are :math:`\sigma/\sqrt d`, its factors :math:`\varepsilon F`, its output factors :math:`C/\varepsilon`,
    and everything that meets the output is multiplied with :math:`\sqrt K`, which the layer divides by.

    Args:
        block: one without dropout, or in evaluation mode. Where :math:`\varepsilon_k = 0` it is no mixture but a limit.

    Returns:
        The layer, with a :class:`Shift` after it if the block has a bias of the output.

    Raises:
        ValueError: if a component with a gate has :math:`\varepsilon = 0`, or there is dropout in training mode.

    Example:
        >>> import torch
        >>> from gmlayers import GMFeedForward, convert
        >>> block, x = GMFeedForward(8), torch.randn(5, 8)
        >>> torch.allclose(convert.to_layer(block)(x), block(x), atol=1e-5)
        True
    """
    check_module("to_layer: block", block, GMFeedForward)
    if block.training and block.drop.p:
        raise ValueError("to_layer: the block has dropout, for which a GM layer has no place; call block.eval() first")
    if block.gate and (not block.spread or bool((block.factor_std == 0).any())):
        raise ValueError(
            "to_layer: a component does not vary with its factor, which is a limit of mixtures and none; set "
            "factor_std to something small, which changes the function a little (start=... of glu_to_gm)"
        )
    unit = math.sqrt(block.num_components)
    silent = torch.zeros_like(block.mean[:, :1]).expand(-1, block.out_features)
    layer = GMLayer(
        block.in_features,
        block.out_features,
        block.num_components,
        covariance=LowRank(block.rank if block.gate else 0),
        activation=block.activation,
        bias=block.bias is not None,
        device="meta",
        dtype=block.mean.dtype,
    ).to_empty(device=block.mean.device)
    values = {
        "mean": block.mean,
        "std": block.std / math.sqrt(block.in_features) if block.spread else torch.zeros_like(block.mean[:, 0]),
        "output_mean": unit * block.output_mean if block.level else silent,
        "bias": block.bias,
    }
    if block.gate:
        scale = block.factor_std[:, None, None]
        values |= {"factor": scale * block.factor, "output_factor": unit / scale * block.output_factor}
    for name, parameter in layer.named_parameters():
        value = values[name]
        assert value is not None
        parameter.copy_(value)
    layer.train(block.training)
    return layer if block.output_bias is None else nn.Sequential(layer, Shift(block.output_bias.detach().clone()))


def _or_zeros(linear: nn.Linear) -> Tensor:
    return linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
