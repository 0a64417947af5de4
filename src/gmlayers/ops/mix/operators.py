"""The Triton kernels as operators of torch: profilers show them by name, and flop counters count them."""

# ruff: noqa: ARG001  (the counter hands over the shapes of all arguments)

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("gmlayers::mix", mutates_args=())
def forward(gate: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Return Σ_k g_nk W_k x_n, (N, out)."""
    from gmlayers.ops.mix import triton as kernels  # triton is there only where torch brings it

    return kernels.forward(gate.contiguous(), weight.contiguous(), x.contiguous())


@torch.library.custom_op("gmlayers::mix_backward", mutates_args=())
def backward(gate: Tensor, weight: Tensor, x: Tensor, grad: Tensor, needs: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of gate, weight and x, empty where they are not needed."""
    from gmlayers.ops.mix import triton as kernels

    need_gate, need_weight, need_x = needs
    inputs = gate.contiguous(), weight.contiguous(), x.contiguous(), grad.contiguous()
    of_gate, of_weight, of_x = kernels.backward(*inputs, (need_gate, need_weight, need_x))
    empty = x.new_empty(0)
    return (
        empty if of_gate is None else of_gate,
        empty.clone() if of_weight is None else of_weight,
        empty.clone() if of_x is None else of_x,
    )


@register_flop_formula(torch.ops.gmlayers.mix)
def _flops(gate_shape: torch.Size, weight_shape: torch.Size, *_: object, out_shape: object = None) -> int:
    return 2 * gate_shape[0] * math.prod(weight_shape)


@register_flop_formula(torch.ops.gmlayers.mix_backward)
def _backward_flops(
    gate_shape: torch.Size,
    weight_shape: torch.Size,
    x_shape: torch.Size,
    grad_shape: torch.Size,
    needs: list[bool],
    out_shape: object = None,
) -> int:
    need_gate, need_weight, need_x = needs
    return _flops(gate_shape, weight_shape) * ((need_gate or need_x) + need_weight)
