"""The Triton kernels as operators of torch: profilers show them by name, and flop counters count them."""

# ruff: noqa: ARG001  (the counter hands over the shapes of all arguments)

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("gmlayers::bumps", mutates_args=())
def forward(x: Tensor, projection: Tensor, offset: Tensor) -> Tensor:
    """Return exp(-½ ‖A_k x_n - c_k‖²), (N, m)."""
    from gmlayers.ops.bumps import triton as kernels  # triton is there only where torch brings it

    return kernels.forward(x.contiguous(), projection.contiguous(), offset.contiguous())


@torch.library.custom_op("gmlayers::bumps_backward", mutates_args=())
def backward(
    x: Tensor, projection: Tensor, offset: Tensor, f: Tensor, grad: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, projection and offset, empty where they are not needed."""
    from gmlayers.ops.bumps import triton as kernels

    need_x, need_projection, need_offset = needs
    inputs = x.contiguous(), projection.contiguous(), offset.contiguous(), f.contiguous(), grad.contiguous()
    of_x, of_projection, of_offset = kernels.backward(*inputs, (need_x, need_projection, need_offset))
    empty = x.new_empty(0)
    return (
        empty if of_x is None else of_x,
        empty.clone() if of_projection is None else of_projection,
        empty.clone() if of_offset is None else of_offset,
    )


@register_flop_formula(torch.ops.gmlayers.bumps)
def _flops(x_shape: torch.Size, projection_shape: torch.Size, *_: object, out_shape: object = None) -> int:
    return 2 * x_shape[0] * math.prod(projection_shape)


@register_flop_formula(torch.ops.gmlayers.bumps_backward)
def _backward_flops(
    x_shape: torch.Size,
    projection_shape: torch.Size,
    offset_shape: torch.Size,
    f_shape: torch.Size,
    grad_shape: torch.Size,
    needs: list[bool],
    out_shape: object = None,
) -> int:
    """The gradient of x, and those of projection and offset, compute v anew, each a product of its own."""
    need_x, need_projection, need_offset = needs
    products = 2 * need_x + (need_projection or need_offset) + need_projection
    return _flops(x_shape, projection_shape) * products
